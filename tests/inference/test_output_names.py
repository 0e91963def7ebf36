"""Each verb that writes to a name of the user's: whatever lies there, nothing of anybody's is lost."""

import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from killing import killed_at
from output_kinds import TAKEN, THEIRS, everything, made
from PIL import Image

from dfd.cli import main
from dfd.commands.detect import export
from dfd.inference.score import COLUMNS, score_files
from dfd.models.safetensors_export import beside
from dfd.shards.samples import NewSample, write_samples

HEAD = ",".join(COLUMNS)
SWEEP = "program: x\nmethod: random\nmetric: {name: val/auroc, goal: maximize}\nparameters: {lr: {min: 0.1, max: 1.0}}"


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A picture, shards, class folders, the two sets that dfd combine takes, a sweep."""
    here = tmp_path_factory.mktemp("sources")
    (here / "photo.jpg").write_bytes(jpeg(0))
    samples = [NewSample(f"s{at}", jpeg(at), at % 2, "train", "drawn") for at in range(8)]
    write_samples(samples, here / "shards", {"what": "test"})
    ciplab, faces = here / "ciplab/real_and_fake_face", here / "140k/real_vs_fake/real-vs-fake/train"
    folders = (here / "set/real", here / "set/fake", faces / "real", faces / "fake")
    for folder in (*folders, ciplab / "training_real", ciplab / "training_fake"):
        folder.mkdir(parents=True)
        name = "real_00001.jpg" if folder.name == "training_real" else "easy_1_1100.jpg"
        (folder / name).write_bytes(jpeg(len(folder.name)))
    (here / "plan.yaml").write_text(SWEEP)
    return here


def command(verb: str, out: Path, sources: Path, checkpoint: Path) -> list[str]:
    words = {
        "score": [checkpoint, sources / "photo.jpg", "--whole", "--csv", out],
        "export": [checkpoint, "--out", out],
        "prepare": [sources / "set", "--out", out],
        "reencode": [sources / "shards", "--jpeg", 90, "--size", 32, "--out", out],
        "generate": [checkpoint, "--num", 1, "--like", sources / "shards", "--out", out],
        "combine": [sources / "140k", sources / "ciplab", "--out", out],
        "audit": [sources / "shards", "--out", out],
        "sweep": [sources / "plan.yaml", "--trials", 1, "--study", out],
    }
    return [verb, *map(str, words[verb])]


OF_FILES, OF_FOLDERS = (
    ("score", "export"),
    ("prepare", "reencode", "generate", "combine", "audit", "sweep"),
)
# pipes and devices get the table of dfd score
KINDS = [
    *(("score", kind) for kind in ("socket", "loop", "somebody's file", "link to somebody's file", "folder")),
    *(("export", kind) for kind in (*TAKEN, "folder", "link to a folder")),
    *((verb, kind) for verb in OF_FOLDERS for kind in TAKEN),
]


@pytest.mark.parametrize(("verb", "kind"), KINDS)
def test_what_is_no_place_for_an_output_is_refused_and_stays(
    verb, kind, sources, checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    path = made(kind, tmp_path)
    if verb == "export":
        path = path.rename(tmp_path / "name.safetensors")
        if kind == "loop":
            path.unlink()
            path.symlink_to(path)
    before = everything(tmp_path)
    assert main(command(verb, path, sources, checkpoint)) == 1
    assert everything(tmp_path) == before
    said = capsys.readouterr().err
    assert said.startswith(f"dfd {verb}: ") and str(path) in said and said.count("\n") <= 2


FOREIGN = {
    "prepare": "thesis.docx",
    "reencode": "thesis.docx",
    "generate": "thesis.docx",
    "combine": "thesis.docx",
    "audit": "audit.html",
    "sweep": "sweep.html",
}


@pytest.mark.parametrize("verb", FOREIGN)
def test_a_folder_with_somebodys_files_is_left_alone(
    verb, sources, checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / FOREIGN[verb]).write_text(THEIRS)
    before = everything(tmp_path)
    assert main(command(verb, tmp_path / "mine", sources, checkpoint)) == 1
    after = everything(tmp_path)
    assert {name: after[name] for name in before if name != "mine"} == {
        name: before[name] for name in before if name != "mine"
    }
    assert "mine" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["link to own file", "link to nothing", "own file", "empty file"])
def test_a_table_is_written_behind_a_link(kind, sources, checkpoint, tmp_path):
    path = made(kind, tmp_path, own=f"{HEAD}\n")
    assert score_files(checkpoint, [sources / "photo.jpg"], whole=True, csv=path) == 0
    assert path.read_text().startswith(HEAD) and path.is_symlink() == kind.startswith("link")


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a device")
def test_a_device_stays_a_device(sources, checkpoint, tmp_path):
    path = made("device", tmp_path)
    assert score_files(checkpoint, [sources / "photo.jpg"], whole=True, csv=path) == 0
    assert stat.S_ISCHR(path.lstat().st_mode) and os.listdir(tmp_path) == ["name"]


def test_a_pipe_gets_the_table(sources, checkpoint, tmp_path):
    path = made("pipe", tmp_path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert score_files(checkpoint, [sources / "photo.jpg"], whole=True, csv=path) == 0
    assert os.read(reader, 1 << 16).startswith(HEAD.encode()) and stat.S_ISFIFO(path.stat().st_mode)
    os.close(reader)


@pytest.mark.slow
def test_an_export_that_is_killed_at_any_call_is_made_by_the_same_command(checkpoint, tmp_path):
    out = tmp_path / "new" / "best.safetensors"
    for number in range(100):
        dies = killed_at(number, lambda: export(checkpoint, out=out))
        if beside(out).exists():
            assert out.exists(), "the page comes after what it describes"
        else:
            export(checkpoint, out=out)
        assert {path.name for path in out.parent.iterdir()} == {out.name, beside(out).name}
        for path in out.parent.iterdir():
            path.unlink()
        out.parent.rmdir()
        if not dies:
            break
    assert 6 < number < 99
