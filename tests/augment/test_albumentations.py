import pickle
import random
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest
import yaml

from dfd.augment import Albumentations
from dfd.batch import FAKE
from dfd.cli import main

NESTED = [
    {"name": "HorizontalFlip", "p": 0.5},
    {
        "name": "OneOf",
        "p": 0.7,
        "transforms": [
            {"name": "GaussianBlur", "sigma_limit": [0.5, 2.0]},
            {"name": "Sequential", "transforms": [{"name": "GaussNoise"}, {"name": "ImageCompression"}]},
        ],
    },
    {"name": "Affine", "rotate": [-20, 20], "border_mode": cv2.BORDER_REFLECT},
]
# what the transforms that have no defaults want
NEEDED = {
    "AtLeastOneBBoxRandomCrop": {"height": 60, "width": 60},
    "CenterCrop": {"height": 60, "width": 60},
    "Crop": {"x_max": 60, "y_max": 50},
    "CropAndPad": {"px": 4},
    "CropNonEmptyMaskIfExists": {"height": 60, "width": 60},
    "GridElasticDeform": {"num_grid_xy": (4, 4), "magnitude": 5},
    "LongestMaxSize": {"max_size": 60},
    "RandomCrop": {"height": 60, "width": 60},
    "RandomResizedCrop": {"size": (60, 60)},
    "RandomSizedCrop": {"min_max_height": (40, 60), "size": (48, 48)},
    "Resize": {"height": 61, "width": 62},
    "SmallestMaxSize": {"max_size": 60},
}
# of videos, volumes, boxes and further images, and what makes other things than pixels
UNFIT = {
    "BBoxSafeRandomCrop", "CenterCrop3D", "CoarseDropout3D", "CubicSymmetry", "FDA", "FromFloat",
    "HistogramMatching", "Mosaic", "Normalize", "OverlayElements", "Pad3D", "PadIfNeeded3D",
    "PixelDistributionAdaptation", "RandomCrop3D", "RandomCropNearBBox", "RandomSizedBBoxSafeCrop",
    "TextImage", "ToFloat", "ToTensorV2",
}  # fmt: skip
BASES = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"}
SLOW = {"PiecewiseAffine"}  # a second an image, as it warns
ALL = sorted(
    name
    for name, cls in vars(albumentations).items()
    if isinstance(cls, type) and issubclass(cls, albumentations.BasicTransform)
)
SMALL = ["--data.num_images=120", "--data.picture=64", "--data.view.size=32", "--data.view.longest=64"]


def picture(height=80, width=96, seed=0):
    rough = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def sample(**more):
    mask = np.zeros((80, 96), np.uint8)
    mask[20:50, 30:70] = 255
    return {"image": picture(), "mask": mask, "label": FAKE, "row": 3, **more}


def draws(transform, num=12):
    return [transform(sample(), np.random.default_rng((5, seed))) for seed in range(num)]


def drawn_elsewhere(num):
    return [made["image"].tobytes() for made in draws(Albumentations(NESTED), num)]


def test_the_list_of_what_is_unfit_is_albumentations_own():
    assert {*ALL} >= UNFIT | BASES | SLOW


@pytest.mark.parametrize("name", sorted({*ALL} - UNFIT - BASES - SLOW))
@pytest.mark.filterwarnings("ignore")
def test_each_makes_a_picture_and_its_mask_out_of_the_samples_generator_alone(name):
    transform = Albumentations([{"name": name, "p": 1.0, **NEEDED.get(name, {})}])
    first = draws(transform, 3)
    np.random.seed(1)
    random.seed(1)
    cv2.setRNGSeed(1)
    again = draws(pickle.loads(pickle.dumps(transform)), 3)
    for one, other in zip(first, again, strict=True):
        assert one["image"].dtype == np.uint8 and one["image"].shape == (*one["mask"].shape, 3)
        assert set(np.unique(one["mask"])) <= {0, 255}
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["mask"], other["mask"])


@pytest.mark.parametrize("name", sorted(UNFIT | BASES))
def test_what_is_not_for_single_pictures_is_refused(name):
    with pytest.raises(ValueError, match=name):
        Albumentations([{"name": name}])


@pytest.mark.slow
def test_other_processes_draw_the_same_and_samples_differ():
    here = drawn_elsewhere(8)
    assert len(set(here)) > 4
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(drawn_elsewhere, 8).result() == here


def test_what_is_nested_is_drawn_independently():
    """albumentations' own seeding gives every transform the same stream, and all of them fire together."""
    transform = Albumentations(
        [{"name": "HorizontalFlip"}, {"name": "OneOf", "transforms": [{"name": "InvertImg"}]}]
    )
    image, seen = picture(), np.zeros((2, 2), int)
    choices = [image, image[:, ::-1], 255 - image, 255 - image[:, ::-1]]
    for seed in range(200):
        changed = transform({"image": image}, np.random.default_rng(seed))["image"]
        (at,) = (at for at, choice in enumerate(choices) if np.array_equal(changed, choice))
        seen[divmod(at, 2)] += 1
    assert seen.min() > 25


def test_the_mask_moves_with_its_image_and_the_rest_stays():
    before = sample()
    made = Albumentations([{"name": "HorizontalFlip", "p": 1}])(before, np.random.default_rng(0))
    np.testing.assert_array_equal(made["image"], before["image"][:, ::-1])
    np.testing.assert_array_equal(made["mask"], before["mask"][:, ::-1])
    assert (made["label"], made["row"]) == (FAKE, 3) and made["image"].flags.c_contiguous
    np.testing.assert_array_equal(before["image"], picture())


def test_albumentations_own_dictionary_is_read():
    A = albumentations
    pipeline = A.Compose([A.HorizontalFlip(p=0.5), A.OneOf([A.Solarize(), A.InvertImg()], p=0.9)])
    plain = [
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "OneOf", "p": 0.9, "transforms": [{"name": "Solarize"}, {"name": "InvertImg"}]},
    ]
    whole, inner, listed = A.to_dict(pipeline), A.to_dict(pipeline)["transform"], A.to_dict(pipeline)
    wanted = draws(Albumentations([{"name": "Compose", "transforms": plain}]))
    for stored in (whole, inner, [listed["transform"]], yaml.safe_load(yaml.safe_dump(_lists(whole)))):
        for one, other in zip(draws(Albumentations(stored)), wanted, strict=True):
            np.testing.assert_array_equal(one["image"], other["image"])


def _lists(value):
    """As JSON and YAML keep it."""
    if isinstance(value, dict):
        return {name: _lists(each) for name, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([], "transforms is empty"),
        ([{"name": "HorizontallFlip"}], "no transform 'HorizontallFlip'. Did you mean HorizontalFlip"),
        ([{"name": "os.system"}], "no transform 'os.system'"),
        ([{"name": "core.composition.Compose"}], "no transform 'core.composition.Compose'"),
        ([{"name": "from_dict"}], "no transform 'from_dict'"),
        ([{"__class_fullname__": "builtins.eval"}], "no transform 'builtins.eval'"),
        ([{"p": 0.5}], "names no transform"),
        (["HorizontalFlip"], r"HorizontalFlip, which names no transform. Write {name: HorizontalFlip"),
        ([{"name": "GaussianBlur", "sigma": 2}], "no argument 'sigma'.*It takes: blur_limit, sigma_limit, p"),
        ([{"name": "GaussianBlur", "sigma_limits": 2}], "Did you mean sigma_limit"),
        ([{"name": "GaussianBlur", "sigma_limit": "much"}], "GaussianBlur was not made: sigma_limit: Input"),
        ([{"name": "GaussianBlur", "p": 3}], "GaussianBlur was not made: p: Input should be less than"),
        ([{"name": "LongestMaxSize"}], "LongestMaxSize was not made: Value error, Either max_size"),
        ([{"name": "OneOf"}], "OneOf was not made: .*transforms"),
        ([{"name": "OneOf", "transforms": {"name": "Blur"}}], "OneOf needs a list of transforms"),
        ([{"name": "OneOf", "transforms": [{"name": "Blurr"}]}], "no transform 'Blurr'. Did you mean Blur"),
        ([{"name": "Normalize"}], "Normalize gives float32 .*nets take pixels and normalize by themselves"),
        ([{"name": "Lambda", "image": "os.system"}], "Lambda cannot be applied"),
        ([{"name": "RandomCrop", "height": 9000, "width": 9000}], "RandomCrop cannot be applied"),
    ],
)
def test_what_cannot_be_made_is_named_at_once(transforms, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=words):
            Albumentations(transforms)


def test_an_image_that_is_too_small_for_a_transform_is_named_with_its_size():
    crop = Albumentations([{"name": "RandomCrop", "height": 70, "width": 300}])
    with pytest.raises(
        ValueError, match=r"Albumentations\(RandomCrop\) failed on an image of 96 x 80 pixels \(row 3"
    ):
        crop(sample(), np.random.default_rng(0))


def config(path: Path, **data) -> Path:
    path.write_text(yaml.safe_dump({"data": {"init_args": data}}))
    return path


def as_yaml(transforms) -> dict:
    return {"class_path": "dfd.augment.Albumentations", "init_args": {"transforms": transforms}}


@pytest.mark.slow
def test_a_run_takes_a_pipeline_from_its_yaml_and_writes_it_down(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    # smaller than the net's crop: the crop that follows mirrors what is missing
    smaller = as_yaml([{"name": "Resize", "height": 20, "width": 50}])
    mine = config(tmp_path / "mine.yaml", augment=[as_yaml(NESTED), smaller], val_augment=as_yaml(NESTED))
    args = ["--config", "small_cnn", "--config", str(mine), "--config", "overlay/smoke", *SMALL]
    assert main(["fit", *args, "--run_folder", "run", "--data.num_workers=1"]) == 0
    written = yaml.safe_load(Path("run/config.yaml").read_text())["data"]["init_args"]
    assert [each["init_args"]["transforms"] for each in written["augment"]] == [
        NESTED, smaller["init_args"]["transforms"],
    ]  # fmt: skip

    capsys.readouterr()
    assert main(["fit", "--config", "run/config.yaml", "--print_config"]) == 0
    again = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    assert again["augment"] == written["augment"] and again["val_augment"] == written["val_augment"]
    assert main(["fit", "--config", "run/config.yaml", "--run_folder", "again"]) == 0
    for name in ("metrics.csv", "summary.yaml"):
        assert _numbers(Path("run") / name) == _numbers(Path("again") / name)

    # judging takes data and val_augment from the checkpoint, and a corruption from the command line
    checkpoint = "run/checkpoints/last.ckpt"
    assert main(["validate", checkpoint, "--run_folder", "val"]) == 0
    corruption = ["--data.corruption=dfd.augment.Albumentations"]
    corruption += ["--data.corruption.transforms=[{name: GaussianBlur, p: 1.0}]"]
    assert main(["test", checkpoint, *corruption, "--run_folder", "test"]) == 0
    assert "Albumentations(GaussianBlur)" in capsys.readouterr().out


def _numbers(path: Path):
    if path.suffix == ".csv":
        return path.read_text()
    kept = ("epochs", "steps", "best", "metrics")
    return {name: value for name, value in yaml.safe_load(path.read_text()).items() if name in kept}


def test_a_wrong_pipeline_ends_a_run_before_it_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    wrong = config(tmp_path / "wrong.yaml", augment=as_yaml([{"name": "HorizontallFlip"}]))
    assert main(["fit", "--config", "small_cnn", "--config", str(wrong), *SMALL]) == 1
    assert "Did you mean HorizontalFlip" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
