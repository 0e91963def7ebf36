"""HEIC pictures among others become shards, and come out of them."""

import io

import numpy as np
import pytest
from PIL import Image

from dfd.media.decode import decode
from dfd.prepare.pipeline import prepare
from dfd.shards.table import load_table


def heic(seed: int) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="dfd[heif] is not installed")
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=50)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path):
    for number, (label, suffix) in enumerate(
        (a, b) for a in ("real", "fake") for b in (".heic", ".HEIF") * 4
    ):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}{suffix}").write_bytes(heic(number))
    return tmp_path / "pictures"


def test_they_become_shards(source, tmp_path):
    prepare(source, tmp_path / "shards", workers=1)
    table = load_table(tmp_path / "shards")
    assert table["format"].to_pylist() == ["HEIF"] * 16
    row = table.slice(0, 1).to_pylist()[0]
    with open(tmp_path / "shards" / row["shard"], "rb") as file:
        file.seek(row["offset"])
        assert decode(file.read(row["length"])).shape == (64, 64, 3)
