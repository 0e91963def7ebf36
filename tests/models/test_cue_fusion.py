"""A net that reads the cues of the file beside the picture."""

import numpy as np
import pytest
import torch
from pictures import patches

from dfd.data import ShardDataModule, View
from dfd.detector import Card, Detector
from dfd.forensics.cues import CUES, CUES_VERSION, describe
from dfd.media.decode import decode
from dfd.models import CueFusion, SmallCNN, build, recipe
from dfd.models.cues import STRIPPED
from dfd.prepare.cues import add_cues
from dfd.shards.samples import NewSample, write_samples


def net_of(**options):
    torch.manual_seed(0)
    return CueFusion(SmallCNN(8), **options)


def test_the_logit_is_what_the_picture_says_and_what_the_file_says():
    net = net_of().eval()
    image, cues = torch.rand(3, 3, 32, 32), torch.randn(3, len(CUES)) * 100
    parts = net.streams(image, cues)
    assert torch.allclose(net(image, cues), net.judge(**parts))
    assert torch.allclose(net(image), net.judge(parts["rgb"]))
    alone = net.judge(**parts) - net.judge(parts["rgb"])
    assert torch.allclose(net(torch.rand(3, 3, 32, 32), cues) - net(image, cues) + alone, alone, atol=10)
    assert net(image, cues.double().float() * 1e4).isfinite().all()


def test_it_is_rebuilt_with_the_cues_that_it_was_made_with():
    made = recipe(net_of())
    assert made["init_args"]["cues"] == list(CUES) and made["init_args"]["version"] == CUES_VERSION
    some = build(recipe(net_of(cues=["noise.level", CUES[3]] if "noise.level" in CUES else list(CUES[:2]))))
    assert len(some.cue_names) == 2


def test_in_training_metadata_are_stripped_and_cues_left_out_for_some():
    net = net_of(drop_cues=0.5, strip=1.0, dropout=0.0).train()
    image, cues = torch.rand(64, 3, 16, 16), torch.ones(64, len(CUES))
    seen = {}
    net.standardize.register_forward_hook(lambda _, given, __: seen.update(x=given[0]))
    picture = net.head(net.backbone(image)).squeeze(1)
    with torch.random.fork_rng():
        torch.nn.init.ones_(net.cue_head.weight)
        logit = net(image, cues)
    stripped = [CUES.index(name) for name in STRIPPED]
    assert not seen["x"][:, stripped].any()
    others = np.setdiff1d(np.arange(len(CUES)), stripped)
    assert (seen["x"][:, others] != 0).all()
    without = (logit - picture).abs() < 1e-4
    assert 10 < without.sum() < 54


def test_what_it_is_stripped_of_is_what_stripping_takes_out():
    """A file and the same without its metadata: the cues that differ are those that training strips."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F] = "Maker"
    plain, full = patches(3), patches(3, exif=exif, comment=b"hello")
    changed = {name for name, a, b in zip(CUES, describe(plain), describe(full), strict=True) if a != b}
    assert {"file.exif", "file.comment", "file.metadata_bytes"} <= changed
    assert changed <= {*STRIPPED, "file.num_segments", "file.jfif", "file.log_bits_per_pixel"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cues") / "root"
    made = [
        NewSample(f"{split}-{i}", patches(100 * len(split) + i), i % 2, split, "s")
        for split in ("train", "val")
        for i in range(4)
    ]
    write_samples(made, folder, {"test": "cues"})
    return folder


def test_batches_have_the_cues_of_their_rows_in_the_order_that_the_net_asks_for(root):
    data = ShardDataModule(str(root), View(size=32, crops=1), batch_size=4, num_workers=0)
    with pytest.raises(ValueError, match=r"has no cues\. `dfd cues"):
        data.deliver_cues(CUES, CUES_VERSION)
    add_cues(root, workers=1)
    names = [CUES[5], CUES[60]]
    with pytest.raises(ValueError, match="reads version 99"):
        data.deliver_cues(names, 99)
    data.deliver_cues(names, CUES_VERSION)
    data.setup("fit")
    for batch in (*data.train_dataloader(), *data.val_dataloader()):
        for row, cues in zip(batch["row"].tolist(), batch["cues"], strict=True):
            key = data.describe(np.array([row]))["key"][0]
            split, number = key.split("-")
            wanted = describe(patches(100 * len(split) + int(number)))[[5, 60]]
            assert cues.numpy() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cues": ["file.exfi"]}, "names 'file.exfi'"),
        ({"cues": []}, "nothing to fuse"),
        ({"drop_cues": 1.0}, "shares"),
    ],
)
def test_what_it_cannot_read_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        net_of(**options)


def test_a_detector_reads_the_cues_of_a_whole_file_and_does_without_them_elsewhere(tmp_path):
    net = net_of().eval()
    torch.nn.init.ones_(net.cue_head.weight)
    card = Card(
        net=recipe(net),
        view={"size": 32, "crops": 1, "longest": None},
        calibrated_on={"split": "val", "images": 9, "groups": 9},
    )
    detector = Detector(net, card)
    data = patches(7)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    pixels = torch.from_numpy(detector.crop_faces(data, whole=True)[0].crops).movedim(-1, -3) / 255
    with torch.inference_mode():
        cues = torch.from_numpy(describe(data))[None]
        wanted, without = float(net(pixels, cues)), float(net(pixels))
    assert detector.score(path, whole=True)[0].logit == pytest.approx(wanted, abs=1e-4)
    assert detector.score(data, whole=True)[0].logit == pytest.approx(wanted, abs=1e-4)
    assert detector.score(decode(data), whole=True)[0].logit == pytest.approx(without, abs=1e-4)
    assert abs(wanted - without) > 1e-3
