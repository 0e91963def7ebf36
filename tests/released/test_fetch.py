"""A detector is fetched whole or not at all: killed and resumed, by mirrors that lie, fail or stop, without a network."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from released_lists import entry, listed, write_list
from web_server import Site, serving

import dfd
from dfd.cli import main
from dfd.detector import Card, Detector
from dfd.media.crops import View
from dfd.models import SingleStream, SmallCNN, recipe
from dfd.released.download import fetch_file
from dfd.released.entry import ListedFile
from dfd.released.store import held

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A detector in the layout of the Hub."""
    torch.manual_seed(0)
    net = SingleStream(SmallCNN(width=8))
    torch.nn.init.normal_(net.head.weight, std=2.0)
    card = Card(
        recipe(net),
        view=dict(vars(View(size=64, crops=5, longest=256, margin=1.35))),
        thresholds={"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3},
        calibrated_on={"split": "val", "images": 300, "groups": 120},
    )
    folder = tmp_path_factory.mktemp("made") / "faces-small"
    Detector(net, card).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture
def blob(site) -> Path:
    """A file of a few hundred kilobytes that the server has."""
    path = site.folder / f"{time.time_ns()}.ckpt"
    path.write_bytes(np.random.default_rng(0).bytes(600_000))
    return path


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def fetched(folder: Path, file: dict, site: Site, **options) -> list[str]:
    """What is said while a file is fetched."""
    said: list[str] = []
    of = ListedFile(**{**file, "mirrors": tuple(file["mirrors"])})
    fetch_file(of, folder, f"{site.url}/list.yaml", said.append, **options)
    assert (folder / file["name"]).read_bytes() == (site.folder / file["name"]).read_bytes()
    assert os.listdir(folder) == [file["name"]]
    return said


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_a_fetched_detector_is_known_by_its_name_without_list_and_network(
    site, made, key, picture, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = [WEIGHTS, "config.json", "README.md"]
    for name in names:
        (site.folder / name).write_bytes((made / name).read_bytes())
    write_list(site.folder / "list.yaml", key, entry(*(listed(site.folder / name) for name in names)))
    of = ["--list", f"{site.url}/list.yaml", "--trust", str(key.with_suffix(".pub"))]
    assert main(["models", *of]) == 0
    out = capsys.readouterr().out
    assert "faces-small 1: to fetch, 0.1 MB" in out and "made of faces: CC0" in out
    assert "auroc .900 (.850, .950) of faces, clean: 340 images in 339 families, 3 seeds" in out
    assert "auroc .500 (.400, .600) of others" in out
    assert main(["models", "fetch", "faces-small", *of]) == 0
    assert "faces-small 1 is here: dfd score faces-small PICTURES" in capsys.readouterr().out
    assert main(["models", "fetch", "faces-small", *of]) == 0
    assert [site.asked()[name] for name in names] == [1, 1, 1]
    assert main(["models", "show", "faces-small", *of]) == 0
    shown = capsys.readouterr().out
    assert "SingleStream, 1,000 parameters" in shown and "does not hold for\n  other sources" in shown
    assert f"{WEIGHTS} sha256 {listed(made / WEIGHTS)['sha256']}" in shown and "fetched on 20" in shown
    # the package's list knows nothing of it
    assert main(["models"]) == 0 and "dfd's list does not have it" in capsys.readouterr().out
    (expected,) = dfd.load(made).score(picture, whole=True)
    for one in (dfd.load("faces-small"), dfd.Predictor("faces-small").detector):
        assert one.score(picture, whole=True) == [expected]
    assert main(["score", "faces-small", str(picture), "--whole", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logit"] == expected.logit
    assert main(["export", "faces-small", "--out", "again.safetensors"]) == 0
    assert dfd.load("again.safetensors").score(picture, whole=True) == [expected]
    assert main(["models", "verify"]) == 0 and "faces-small 1: whole, 3 files" in capsys.readouterr().out
    # what lies in the current folder has its own name
    Path("faces-small").mkdir()
    assert main(["score", "faces-small", str(picture), "--whole"]) == 1
    assert "There is no detector faces-small. That is a folder." in capsys.readouterr().err
    Path("faces-small").rmdir()
    data = bytearray(held("faces-small").path.read_bytes())
    data[-1] ^= 1
    held("faces-small").path.write_bytes(data)
    assert main(["models", "verify", "faces-small"]) == 1
    assert f"{WEIGHTS}: its sha256 is" in capsys.readouterr().out
    assert main(["score", "faces-small", str(picture), "--whole"]) == 1
    assert "faces-small is damaged" in (said := capsys.readouterr().err) and said.count("\n") == 1
    # fetched again, it is whole
    assert main(["models", "fetch", "faces-small", *of]) == 0 and not held("faces-small").faults()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models", "fetch", "dual-stream-140"], "Did you mean dual-stream-140k?"),
        (["models", "show", "zzz"], "dfd's list has no 'zzz'. It has: dual-stream-140k."),
        (["models", "show"], "name a detector: dfd models show dual-stream-140k."),
        (["models", "list", "dual-stream-140k"], "dfd models show dual-stream-140k"),
        (["models", "fetch", "dual-stream-140k"], "hosted nowhere. `dfd reproduce dual-stream-140k"),
        (["models", "verify", "dual-stream-140k"], "/models. `dfd reproduce dual-stream-140k --data"),
        (["models", "verify", "nope"], "dfd's list has no 'nope'. It has: dual-stream-140k."),
        (
            ["score", "dual-stream-140k", "photo.png"],
            "is a released detector that is not here. `dfd reproduce",
        ),
        (["test", "dual-stream-140k"], "is a released detector that is not here. `dfd reproduce"),
        (
            ["score", "dual-stream-140", "photo.png"],
            "no file dual-stream-140, and no released detector of this name. Did",
        ),
        (["score", "zzz", "photo.png"], "There is no detector zzz. A detector is a checkpoint of `dfd fit`"),
    ],
)
def test_what_is_not_here_is_said_in_one_line(words, said, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not captured.out, captured.err


@pytest.mark.slow
def test_a_killed_fetch_goes_on_where_it_was(site, blob, key, tmp_path, cache):
    write_list(site.folder / "big.yaml", key, entry(listed(blob)))
    site.fail_files({blob.name: ("slow", 1)})
    words = [
        sys.executable,
        "-m",
        "dfd.cli",
        "models",
        "fetch",
        "faces-small",
        "--list",
        f"{site.url}/big.yaml",
    ]
    words += ["--trust", str(key.with_suffix(".pub"))]
    first = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    folder = cache / "models" / "faces-small" / "1"
    part: list[Path] = []
    while not part or part[0].stat().st_size < 300_000:
        assert first.poll() is None
        time.sleep(0.02)
        part = list(folder.glob("*.unfinished"))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    came = part[0].stat().st_size
    assert held("faces-small") is None and not (folder / blob.name).exists()
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode == 0 and f"goes on at {came} of 600000 bytes" in again.stderr
    assert site.starts(blob.name) == [0, came]
    assert (folder / blob.name).read_bytes() == blob.read_bytes() and not held("faces-small").faults()
    assert not list(folder.glob("*.unfinished"))


def test_a_mirror_that_lies_or_fails_gives_way_to_the_next(site, blob, folder, tmp_path):
    site.fail_files({"damaged.ckpt": ("damage", 9), "broken.ckpt": ("503", 9)})
    for name in ("damaged.ckpt", "broken.ckpt"):
        (site.folder / name).write_bytes(blob.read_bytes())
    short = tmp_path / "short.ckpt"
    short.write_bytes(blob.read_bytes()[:-1])
    bad = [f"{site.url}/{name}" for name in ("damaged.ckpt", "broken.ckpt", "nowhere.ckpt")]
    said = fetched(folder, listed(blob, *bad, str(short), blob.name), site)
    assert [re.search(r"(other bytes|HTTP \d+|599999 bytes, where the list says 600000)", line)[1] for line in said] == [
        "other bytes", "HTTP 503", "HTTP 404", "599999 bytes, where the list says 600000",
    ]  # fmt: skip
    assert site.starts(blob.name) == [0]
    # from a disk, such as a share of the house
    (folder / blob.name).unlink()
    assert len(fetched(folder, listed(blob, "/nowhere/x.ckpt", str(blob)), site)) == 1


def test_where_all_mirrors_fail_nothing_has_the_file_s_name(site, blob, folder):
    site.fail_files({"damaged.ckpt": ("damage", 9), "long.ckpt": ("long", 9)})
    for name in ("damaged.ckpt", "long.ckpt"):
        (site.folder / name).write_bytes(blob.read_bytes())
    with pytest.raises(ValueError, match="could not be fetched") as error:
        fetched(folder, listed(blob, f"{site.url}/damaged.ckpt", f"{site.url}/long.ckpt"), site)
    assert "damaged.ckpt: other bytes than the list's" in str(error.value) and "\n" not in str(error.value)
    assert "long.ckpt: 6000000 bytes, where the list says 600000" in str(error.value)
    assert os.listdir(folder) == [] and site.asked()["damaged.ckpt"] >= 1


@pytest.mark.parametrize(
    ("fault", "starts"),
    [("truncate", [0, 300_000]), ("stall", [0, 300_000]), ("503", [0, 0]), ("whole", [300_000])],
)
def test_an_interrupted_answer_is_taken_up_again(site, blob, folder, fault, starts):
    site.fail_files({blob.name: (fault, 1)})
    file = listed(blob)
    if fault == "whole":  # a server without ranges sends all of it once more
        (folder / f"{file['name']}.{file['sha256'][:16]}.unfinished").write_bytes(blob.read_bytes()[:300_000])
    fetched(folder, file, site, timeout=0.5)
    assert site.starts(blob.name) == starts


@pytest.mark.parametrize("left", [b"x" * 300_000, b"x" * 600_000, b"x" * 700_000])
def test_what_lay_here_of_other_bytes_is_fetched_anew(site, blob, folder, left):
    file = listed(blob)
    (folder / f"{file['name']}.{file['sha256'][:16]}.unfinished").write_bytes(left)
    fetched(folder, file, site)
    assert site.starts(blob.name)[-1] == 0


def test_a_file_that_is_whole_but_unnamed_is_not_asked_for_again(site, blob, folder):
    file = listed(blob)
    (folder / f"{file['name']}.{file['sha256'][:16]}.unfinished").write_bytes(blob.read_bytes())
    fetched(folder, file, site)
    assert site.asked()[blob.name] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said_and_no_mirror_blamed(site, blob, folder):
    file = listed(blob)
    (folder / f"{file['name']}.{file['sha256'][:16]}.unfinished").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"no space left for .* Free some and run the same command again"):
        fetched(folder, file, site)
    assert not (folder / blob.name).exists()


def test_without_a_network_it_says_so_and_keeps_what_came(site, blob, folder, key, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    file = listed(blob, f"{nobody}/{blob.name}")
    (folder / f"{file['name']}.{file['sha256'][:16]}.unfinished").write_bytes(blob.read_bytes()[:1000])
    with pytest.raises(
        ValueError, match=r"Connection refused. 1000 of 600000 bytes are here.* network there\?"
    ):
        fetched(folder, file, site, rounds=1)
    assert main(["models", "--list", f"{nobody}/list.yaml", "--trust", str(key.with_suffix(".pub"))]) == 1
    said = capsys.readouterr().err
    assert "cannot be read: Connection refused" in said and said.count("\n") == 1
