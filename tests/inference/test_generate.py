import io
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dfd.audit.pictures import read_pictures
from dfd.audit.shortcuts import ask, file_facts
from dfd.batch import FAKE, REAL
from dfd.cli import main
from dfd.detector import load_net
from dfd.forensics import jpeg_facts
from dfd.inference.generate import Fakes, generate
from dfd.media.decode import decode
from dfd.models import Generator, recipe
from dfd.shards.samples import NewSample, write_samples
from dfd.shards.table import load_table, read_bytes, read_index


def photo(seed: int, side: int = 80) -> np.ndarray:
    """Something with detail at every scale, more in some pictures than in others."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
        )
        for n in (4, 16, side)
    ]
    fine = rng.uniform(0.05, 0.2)
    return (layers[0] * 0.6 + layers[1] * (0.4 - fine) + layers[2] * fine).astype(np.uint8)


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo(seed, 80 + 16 * (seed % 2))).save(file, "JPEG", quality=(75, 90, 95)[seed % 3])
    return file.getvalue()


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo(seed)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def like(tmp_path_factory):
    root = tmp_path_factory.mktemp("set") / "shards"
    reals = [
        NewSample(f"r{at}", jpeg(at), REAL, ("train", "val")[at % 8 == 7], "set", "", (f"p{at}",))
        for at in range(80)
    ]
    fakes = [NewSample(f"f{at}", png(at), FAKE, "train", "set", "swap", (f"q{at}",)) for at in range(5)]
    write_samples([*reals, *fakes], root, {"what": "test"})
    return root


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """A checkpoint as `dfd fit --config gan` lays it out, whose pictures are smooth and of many kinds."""
    torch.manual_seed(0)
    net = Generator(64, width=2, latent=8)
    torch.nn.init.normal_(net.paint.weight, std=0.3)
    for _ in range(20):  # for BatchNorm's statistics
        net(torch.randn(32, 8))
    path = tmp_path_factory.mktemp("gan") / "last.ckpt"
    weights = {f"average.module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": {"version": "0", "net": recipe(net), "view": None}, "state_dict": weights}, path)
    return path


def files(root):
    return {line["key"]: read_bytes(root, line) for line in load_table(root).to_pylist()}


def test_a_picture_depends_on_seed_and_index_alone(gan, like, tmp_path):
    generate([gan], tmp_path / "five", like, num=5, seed=3)
    generate([gan], tmp_path / "two", like, num=2, seed=3)
    generate([gan], tmp_path / "other", like, num=2, seed=4)
    five, two, other = (files(tmp_path / name) for name in ("five", "two", "other"))
    assert len(five) == 5 and len(set(five.values())) == 5
    assert two == {key: five[key] for key in two}
    assert not set(other.values()) & set(five.values())


def test_the_shards_say_what_they_are(gan, like, tmp_path, capsys):
    command = ["generate", str(gan), "--num", "3", "--like", str(like), "--out", str(tmp_path / "fakes")]
    assert main([*command, "--source", "ours", "--method", "small"]) == 0
    assert "3 fakes (ours, small) in the train split" in capsys.readouterr().out
    for line in load_table(tmp_path / "fakes").to_pylist():
        assert (line["label"], line["split"], line["source"], line["method"]) == (
            FAKE,
            "train",
            "ours",
            "small",
        )
    made_by = read_index(tmp_path / "fakes")["made_by"]
    assert made_by["command"] == "generate" and made_by["checkpoint"] == str(gan) and made_by["seed"] == 0
    assert main(command) == 1 and "exists and is not empty" in capsys.readouterr().err


def test_each_file_is_written_as_a_real_of_the_split_was(gan, like):
    net, _ = load_net(gan, role="generator")
    fakes = Fakes(net, like)
    reals = [
        line for line in load_table(like).to_pylist() if line["label"] == REAL and line["split"] == "train"
    ]
    styles = {}
    for line in reals:
        data = read_bytes(like, line)
        styles.setdefault((jpeg_facts(data), decode(data).shape), []).append(len(data))
    made = [fakes[index] for index in range(len(reals))]
    for data in made:
        lengths = styles[jpeg_facts(data), decode(data).shape]
        assert 0.9 * min(lengths) < len(data) < 1.1 * max(lengths)
    drawn = sorted((jpeg_facts(data).table_id, decode(data).shape) for data in made)
    assert drawn == sorted(
        (jpeg_facts(read_bytes(like, line)).table_id, (line["height"], line["width"], 3)) for line in reals
    ), "each real is drawn once before one comes twice"


@pytest.mark.slow
def test_the_audit_finds_nothing_in_the_files(gan, like, tmp_path):
    net, _ = load_net(gan, role="generator")
    fakes = Fakes(net, like)
    reals = [
        line for line in load_table(like).to_pylist() if line["label"] == REAL and line["split"] == "train"
    ]
    samples = [
        NewSample(f"real-{at}", read_bytes(like, line), REAL, "train", "set") for at, line in enumerate(reals)
    ]
    samples += [NewSample(f"fake-{at}", fakes[at], FAKE, "train", "gan", "gan") for at in range(len(reals))]
    write_samples(samples, tmp_path / "both", {"what": "test"})
    table = load_table(tmp_path / "both")
    pictures = read_pictures(tmp_path / "both", table, 1, lambda count: None)
    family = table["family"].to_numpy(zero_copy_only=False).astype(str)
    found = ask("File facts", file_facts(table, pictures), table["label"].to_numpy(), family)
    assert found.word in ("none", "unclear") and found.auroc < 0.6, found


def test_what_is_added_shows_nothing_of_the_real(gan, like):
    """Of its detail only the spectrum is taken: the fakes' has nothing in common with it, place by place."""
    net, _ = load_net(gan, role="generator")
    fakes = Fakes(net, like)
    for index in range(5):
        model, made = (decode(data).astype(float).mean(2) for data in (fakes._model(index)[0], fakes[index]))
        fine = [each - _blurred(each) for each in (model, made)]
        assert abs(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]) < 0.1


def _blurred(image):
    return cv2.GaussianBlur(image, (0, 0), 1.5)


class Noise(torch.nn.Module):
    """A generator of nothing but detail."""

    latent = 8

    def forward(self, latent):
        return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_what_has_more_detail_than_the_reals_goes_out_of_focus(tmp_path):
    smooth = [cv2.imencode(".jpg", cv2.GaussianBlur(photo(at), (0, 0), 3))[1].tobytes() for at in range(10)]
    write_samples(
        [NewSample(f"r{at}", data, REAL, "train", "set") for at, data in enumerate(smooth)],
        tmp_path / "set",
        {},
    )
    fakes = Fakes(Noise(), tmp_path / "set")
    for index in range(5):
        assert len(fakes[index]) == pytest.approx(len(fakes._model(index)[0]), rel=0.1)


def test_reals_that_cannot_be_imitated_are_passed_over_or_refused(gan, tmp_path):
    net, _ = load_net(gan, role="generator")
    reals = [NewSample(f"r{at}", png(at) if at == 3 else jpeg(at), REAL, "train", "set") for at in range(30)]
    write_samples(reals, tmp_path / "one", {"what": "test"})
    fakes = Fakes(net, tmp_path / "one")
    assert all(jpeg_facts(fakes[index]) for index in range(30))
    write_samples(
        [NewSample(made.key, png(at), REAL, "train", "set") for at, made in enumerate(reals)],
        tmp_path / "all",
        {},
    )
    with pytest.raises(ValueError, match=r"30 of 30 reals are no JPEGs.*dfd reencode .* --jpeg 90"):
        Fakes(net, tmp_path / "all")


def test_interrupted_it_leaves_nothing(gan, like, tmp_path, monkeypatch):
    whole = Fakes.__getitem__

    def stopped(self, index):
        if index == 2:
            raise KeyboardInterrupt
        return whole(self, index)

    monkeypatch.setattr(Fakes, "__getitem__", stopped)
    with pytest.raises(KeyboardInterrupt):
        generate([gan], tmp_path / "fakes", like, num=4)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    generate([gan], tmp_path / "fakes", like, num=4)
    assert json.loads((tmp_path / "fakes" / "index.json").read_text())["images"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num": 0}, "--num 0"),
        ({"seed": -1}, "--seed -1 is negative"),
        ({"splits": "dev"}, "splits are train, val, test"),
        ({"splits": "test"}, "no real picture in the test split"),
        ({"like": "nowhere"}, "nowhere: no such folder"),
        ({"checkpoint": "nowhere.ckpt"}, "There is no checkpoint nowhere.ckpt"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(gan, like, tmp_path, capsys, changes, words):
    given = {"checkpoint": gan, "num": 2, "like": like, "out": tmp_path / "out", **changes}
    options = [
        part for name, value in given.items() if name != "checkpoint" for part in (f"--{name}", str(value))
    ]
    assert main(["generate", str(given["checkpoint"]), *options]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_detector_generates_nothing(checkpoint, like, tmp_path, capsys):
    assert (
        main(["generate", str(checkpoint), "--num", "2", "--like", str(like), "--out", str(tmp_path / "out")])
        == 1
    )
    assert "holds a detector (SingleStream), where a generator is needed" in capsys.readouterr().err
