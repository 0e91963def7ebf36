import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.cli import main
from dfd.forensics import jpeg_facts
from dfd.inference.generate import generate
from dfd.inference.reconstruct import with_detail
from dfd.media.decode import decode
from dfd.models import Autoencoder, recipe
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_bytes, read_index


def photo(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (7, 9, 3), np.uint8)
    smooth = cv2.resize(small, (70 + seed, 52), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def file(seed: int, kind: str = "JPEG", **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(photo(seed)).save(data, kind, **options)
    return data.getvalue()


@pytest.fixture(scope="module")
def like(tmp_path_factory):
    """Thirty reals of several settings; two of one person, a fake, a PNG, and one file twice."""
    root = tmp_path_factory.mktemp("set") / "shards"
    made = [
        NewSample(
            f"r{at}",
            file(at, quality=(75, 90, 95)[at % 3], subsampling=at % 2 * 2),
            REAL,
            ("train", "val")[at % 5 == 4],
            ("one", "two")[at % 2],
            "",
            (f"z{at // 2}",) if at in (2, 3) else (),
        )
        for at in range(30)
    ]
    made += [
        NewSample("png", file(40, "PNG"), REAL, "train", "one"),
        NewSample("twice", made[0].image_bytes, REAL, "train", "one"),
        NewSample("f", file(50), FAKE, "train", "one", "swap"),
    ]
    write_samples(made, root, {"what": "test"})
    return root


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Checkpoints as `dfd fit --config reconstruct` lays them out, by kind."""
    folder, paths = tmp_path_factory.mktemp("nets"), {}
    for decoder, stride in (("transposed", 8), ("nearest", 4)):
        torch.manual_seed(0)
        net = Autoencoder(decoder, stride, width=4)
        weights = {f"average.module.{name}": value for name, value in net.state_dict().items()}
        paths[net.kind] = folder / f"{net.kind}.ckpt"
        torch.save(
            {"dfd": {"version": "0", "net": recipe(net), "view": None}, "state_dict": weights},
            paths[net.kind],
        )
    return paths


def lines(root):
    return {line["key"]: line for line in load_table(root).to_pylist()}


def reals(like, *splits):
    rows = [
        line for line in load_table(like).to_pylist() if line["label"] == REAL and line["split"] in splits
    ]
    return {line["sha256"]: line for line in rows if line["format"] == "JPEG"}


@pytest.fixture(scope="module")
def made(nets, like, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "shards"
    said = generate(list(nets.values()), out, like, splits=("train", "val"), seed=3)
    assert (
        said.startswith("60 reconstructions (transposed8, nearest4) of the 32 reals of")
        and "(1 of no JPEG" in said
    )
    return out


def test_each_real_has_one_of_each_kind_that_names_it(made, like):
    table, originals = lines(made), reals(like, "train", "val")
    assert len(table) == 2 * len(originals) == 60
    for sha256, real in originals.items():
        for kind in ("transposed8", "nearest4"):
            line = table[f"{kind}/{sha256[:20]}"]
            assert line["groups"] == [*real["groups"], f"of:{sha256}"]
            for name in ("split", "source", "family", "width", "height"):
                assert line[name] == real[name], name
            assert line["label"] == FAKE and line["method"] == f"reconstruction-{kind}"
    made_by = read_index(made)["made_by"]
    assert len(made_by["checkpoints"]) == 2 and made_by["splits"] == ["train", "val"] and made_by["seed"] == 3


def test_their_files_have_the_real_s_own_settings(made, like):
    table = lines(made)
    for sha256, real in reals(like, "train", "val").items():
        line = table[f"nearest4/{sha256[:20]}"]
        data, original = read_bytes(made, line), read_bytes(like, real)
        assert jpeg_facts(data) == jpeg_facts(original)
        assert data[: data.index(b"\xff\xda")][:200] == original[: original.index(b"\xff\xda")][:200]
        assert decode(data).shape == decode(original).shape and data != original


def test_the_same_seed_gives_the_same_bytes_whatever_stands_beside(made, nets, like, tmp_path):
    generate([nets["nearest4"]], tmp_path / "again", like, splits=("val",), seed=3)
    generate([nets["nearest4"]], tmp_path / "other", like, splits=("val",), seed=4)
    before, again, other = lines(made), lines(tmp_path / "again"), lines(tmp_path / "other")
    assert again.keys() == other.keys() and {line["split"] for line in again.values()} == {"val"}
    assert all(line["sha256"] == before[key]["sha256"] for key, line in again.items())
    assert all(line["sha256"] != before[key]["sha256"] for key, line in other.items())


def test_detail_is_the_real_s_and_leaves_the_rest():
    real, made = photo(1), cv2.GaussianBlur(photo(1), (0, 0), 2.0).astype(np.float32) + 5

    def fine(image):
        return image - cv2.GaussianBlur(image, (0, 0), 1.0)

    errors = []
    for share in (0.0, 0.5, 1.0):
        out = with_detail(made, real, share).astype(np.float32)
        assert (cv2.GaussianBlur(out, (0, 0), 6) - cv2.GaussianBlur(made, (0, 0), 6)).mean() == pytest.approx(
            0, abs=0.3
        )
        errors.append(np.abs(fine(out) - fine(real.astype(np.float32))).mean())
    assert errors[0] > 1.7 * errors[1] and errors[2] < 0.35 * errors[0]


def test_the_command_takes_several_and_names_what_does_not_fit(nets, like, tmp_path, capsys):
    both = [str(path) for path in nets.values()]
    out = ["--like", str(like), "--out", str(tmp_path / "out")]
    for options, words in (
        (["--num", "3"], "an autoencoder makes one picture of each real"),
        (["--splits", "train", "test"], "no real picture in the test split"),
        (["--detail", "0.5", "0.1"], "--detail 0.5 0.1 is not a range"),
    ):
        assert main(["generate", *both, *out, *options]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert main(["generate", both[0], both[0], *out]) == 1
    assert "is the second transposed8 decoder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["generate", *both, *out, "--splits", "val", "--detail", "0", "0"]) == 0
    assert "12 reconstructions (transposed8, nearest4)" in capsys.readouterr().out
