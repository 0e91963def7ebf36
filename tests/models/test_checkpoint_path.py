"""A path that is no detector: one sentence for each verb, before torch or onnxruntime is asked for."""

import subprocess
import sys

import pytest

from dfd.cli import main
from dfd.models.checkpoint_path import DETECTORS, check_detector_path

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
FILES = {
    "nope.onnx": (None, "There is no detector nope.onnx. "),
    "nope.ckpt": (None, "There is no detector nope.ckpt. "),
    "photo.ckpt": (PNG, "photo.ckpt is a picture, and no detector, which comes first. "),
    "photo.onnx": (PNG, "photo.onnx is a picture, and no detector, which comes first. "),
    "text.jpg": (b"hello", "text.jpg is no file that dfd wrote, and no detector. "),
    "page.ckpt": (b"<html></html>", "page.ckpt is a web page, not the file itself, and no detector. "),
    "empty.ckpt": (b"", "empty.ckpt is empty, and no detector. "),
    "text.safetensors": (b"hello", "text.safetensors is no file that dfd wrote, and no detector. "),
}
VERBS = (
    ["score", "DETECTOR", "photo.png"],
    ["explain", "DETECTOR", "photo.png", "--out", "out"],
    ["export", "DETECTOR", "--out", "out.onnx"],
    ["watch", "DETECTOR", "folder"],
    ["inspect", "photo.png", "--checkpoint", "DETECTOR", "--out", "out"],
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (content, _) in FILES.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "photo.png").write_bytes(PNG)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
def test_each_verb_says_the_same_sentence(words, place, capsys):
    before = sorted(place.rglob("*"))
    for name, (_, said) in FILES.items():
        assert main([name if word == "DETECTOR" else word for word in words]) == 1
        assert capsys.readouterr().err == f"dfd {words[0]}: {said}{DETECTORS}\n"
    assert sorted(place.rglob("*")) == before


def test_a_folder_or_an_address_says_what_to_name(place):
    for path, said in (
        ("folder", rf"There is no detector .*folder\. That is a folder\. {DETECTORS[:20]}"),
        ("https://host/best.ckpt", r"no detector https://host/best\.ckpt\. Addresses are not opened"),
    ):
        with pytest.raises(ValueError, match=said):
            check_detector_path(place / path if path == "folder" else type(place)(path))
    (place / "folder/checkpoints").mkdir()
    (place / "folder/checkpoints/best.ckpt").touch()
    with pytest.raises(ValueError, match=r"the folder of a run: give folder/checkpoints/best\.ckpt\.$"):
        check_detector_path(type(place)("folder"))


def test_a_file_that_is_no_detector_asks_for_no_package(place):
    for suffix in ("onnx", "xml"):
        (place / f"text.{suffix}").write_bytes(b"hello")
    code = (
        "import sys\n"
        "for name in ('torch', 'onnxruntime', 'openvino'): sys.modules[name] = None\n"
        "import dfd\n"
        "for name in sys.argv[1:]:\n"
        "    try: dfd.load(name)\n"
        "    except ValueError as error: print(str(error))\n"
    )
    names = [*FILES, "text.onnx", "text.xml"]
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names) and "file that `dfd export` wrote" in done.stdout
