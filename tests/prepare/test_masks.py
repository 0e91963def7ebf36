"""Of a source whose fakes have masks, the reals get black ones; of fakes without a mask none is made up."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfd.batch import FAKE, REAL
from dfd.prepare import pipeline as module
from dfd.prepare.masks import black_mask
from dfd.prepare.pipeline import prepare
from dfd.shards.table import load_table

WIDTHS = (24, 31)


def encoded(pixels: np.ndarray, name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name)
    return buffer.getvalue()


def write_source(folder: Path, masked: Iterable[int], count: int = 60) -> Path:
    """Pictures of two widths, odd ones fake; those in `masked` have a mask, white in its upper half."""
    folder.mkdir(parents=True)
    masked, lines = set(masked), ["path,label,split,method,mask"]
    for n in range(count):
        shape = (20, WIDTHS[n // 2 % 2])
        pixels = np.random.default_rng(n).integers(0, 255, (*shape, 3), dtype=np.uint8)
        (folder / f"{n}.jpg").write_bytes(encoded(pixels, "JPEG"))
        if n in masked:
            mask = np.zeros(shape, np.uint8)
            mask[:10] = 255
            (folder / f"{n}.mask.png").write_bytes(encoded(mask, "PNG"))
        split = ("train", "train", "val", "test")[n // 2 % 4]
        lines.append(
            f"{n}.jpg,{n % 2},{split},{'swap' if n % 2 else ''},{f'{n}.mask.png' if n in masked else ''}"
        )
    (folder / "list.csv").write_text("\n".join(lines))
    return folder


def masks(out: Path) -> dict[int, bytes | None]:
    """Of each picture's number, the bytes at the place that the table names."""
    found = {}
    for row in load_table(out).to_pylist():
        data = (out / row["shard"]).read_bytes()
        has = row["mask_offset"] >= 0
        number = int(row["path"].removesuffix(".jpg"))
        found[number] = data[row["mask_offset"] :][: row["mask_length"]] if has else None
    return found


def tars(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.tar")}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (31, 20), (1024, 768)])
def test_a_black_mask_is_small_gray_and_black(width, height):
    with Image.open(io.BytesIO(black_mask(width, height))) as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (width, height))
        assert not np.asarray(mask).any()
    assert len(black_mask(width, height)) < 80 + width * height / 500


def test_reals_get_a_black_mask_where_fakes_have_masks(tmp_path):
    source = write_source(tmp_path / "set", range(1, 60, 2))
    report = prepare(source, tmp_path / "out", workers=1)
    found = masks(tmp_path / "out")
    assert len(found) == 60 and report.unmasked_fakes == 0
    for n, mask in found.items():
        stored = (source / f"{n}.mask.png").read_bytes() if n % 2 else black_mask(WIDTHS[n // 2 % 2], 20)
        assert mask == stored
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            names = [member.name.split(".", 1) for member in tar]
        extensions = {key: sorted(each for name, each in names if name == key) for key, _ in names}
        assert set(map(tuple, extensions.values())) == {("jpg", "json", "mask.png")}

    prepare(source, tmp_path / "again", workers=2)
    assert tars(tmp_path / "again") == tars(tmp_path / "out")


def test_a_source_without_masks_gets_none(tmp_path):
    prepare(write_source(tmp_path / "set", []), tmp_path / "out", workers=1)
    assert set(masks(tmp_path / "out").values()) == {None}
    assert not any(b"mask.png" in data for data in tars(tmp_path / "out").values())


def test_a_real_keeps_a_mask_of_its_own(tmp_path):
    source = write_source(tmp_path / "set", [0, 1])
    prepare(source, tmp_path / "out", workers=1)
    found = masks(tmp_path / "out")
    assert found[0] == (source / "0.mask.png").read_bytes() and found[2] == black_mask(31, 20)


def test_fakes_without_a_mask_get_none_and_the_report_says_so(tmp_path):
    source = write_source(tmp_path / "set", range(1, 60, 4))
    report = prepare(source, tmp_path / "out", workers=1)
    assert "\n15 fakes have no mask while other pictures have one. They got none, since" in str(report)
    assert 'Hugging Face\'s load_dataset("webdataset") may refuse such shards' in str(report)
    found = masks(tmp_path / "out")
    assert all((mask is None) == (n % 4 == 3) for n, mask in found.items())


def test_finished_shards_with_black_masks_are_left_as_they_are(tmp_path):
    source = write_source(tmp_path / "set", range(1, 60, 2))
    prepare(source, tmp_path / "out", workers=1)
    assert "the source is as it was" in str(prepare(source, tmp_path / "out", workers=1))
    own = encoded(np.full((20, 24), 255, np.uint8), "PNG")
    (source / "0.mask.png").write_bytes(own)
    lines = (source / "list.csv").read_text().replace("0.jpg,0,train,,\n", "0.jpg,0,train,,0.mask.png\n", 1)
    (source / "list.csv").write_text(lines)
    with pytest.raises(ValueError, match=rf"0\.jpg: mask_length was 71, is {len(own)}"):
        prepare(source, tmp_path / "out", workers=1)


RUN = """
from pathlib import Path
import sys
from dfd.prepare.pipeline import prepare

if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]), workers=2, shard_bytes=80_000)
"""


@pytest.mark.slow
def test_killed_while_it_writes_it_goes_on_with_the_same_masks(tmp_path):
    source, out = write_source(tmp_path / "set", range(1, 900, 2), 900), tmp_path / "out"
    (tmp_path / "run.py").write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "run.py", source, out], env=environment, stderr=subprocess.DEVNULL
    )
    while not list(out.glob(".prepare/*.tar.parquet")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "index.json").exists(), "killed too late to show anything"
    time.sleep(0.5)  # its workers end with it
    prepare(source, out, workers=2, shard_bytes=80_000)
    prepare(source, tmp_path / "whole", workers=2, shard_bytes=80_000)
    assert load_table(out).equals(load_table(tmp_path / "whole")) and tars(out) == tars(tmp_path / "whole")
    assert None not in masks(out).values()


LOADS = """
import json, sys
import datasets
import numpy as np

data = datasets.load_dataset("webdataset", data_files={"train": sys.argv[1]}, split="train", streaming=True)
for sample in data:
    mask, image, facts = np.asarray(sample["mask.png"]), np.asarray(sample["jpg"]), sample["json"]
    print(json.dumps([facts["path"], facts["label"], int(mask.max()), mask.shape == image.shape[:2]]))
"""


def load(pattern: str, cache: Path) -> subprocess.CompletedProcess:
    pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed: pip install 'dfd[dev]'")
    offline = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-c", LOADS, pattern]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, timeout=120)


@pytest.mark.slow
def test_hugging_faces_datasets_loads_them(tmp_path):
    prepare(write_source(tmp_path / "set", range(1, 60, 2)), tmp_path / "out", workers=1)
    done = load(str(tmp_path / "out" / "train-*.tar"), tmp_path / "hf")
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    train = [row for row in load_table(tmp_path / "out").to_pylist() if row["split"] == "train"]
    assert sorted(path for path, *_ in seen) == sorted(row["path"] for row in train)
    assert all(shapes_agree and (peak == 255) == (label == FAKE) for _, label, peak, shapes_agree in seen)
    assert {label for _, label, _, _ in seen} == {REAL, FAKE}


@pytest.mark.slow
def test_hugging_faces_datasets_refuses_what_the_report_warns_of(tmp_path):
    prepare(write_source(tmp_path / "set", range(1, 60, 4)), tmp_path / "out", workers=1)
    done = load(str(tmp_path / "out" / "train-*.tar"), tmp_path / "hf")
    assert done.returncode and "don't share the same prefix or the same types" in done.stderr
