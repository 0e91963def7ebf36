import subprocess
import sys
import tracemalloc

import jpeglib
import numpy as np
import pytest
from photos import jpeg, photo
from PIL import Image

from dfd.forensics import TOOLS, examine
from dfd.forensics.jpeg import dct_coefficients as module
from dfd.forensics.jpeg.dct_coefficients import block_dct, coefficients
from dfd.media.decode import decode
from dfd.media.formats import Undecodable


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_coefficients_are_those_that_jpeglib_reads(tmp_path, subsampling, progressive):
    pytest.importorskip("jpegio")
    data = jpeg(photo(1, 200)[:133], 80, subsampling=subsampling, progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data)
    second = jpeglib.read_dct(str(tmp_path / "a.jpg"))
    read = coefficients(data)
    assert read.exact and read.size == (133, 200)
    for component, other in zip(read.components, (second.Y, second.Cb, second.Cr), strict=True):
        assert component.plane.dtype == np.int16
        assert np.array_equal(component.blocks, other)
        assert np.array_equal(component.mode(2, 1), other[:, :, 2, 1])
    assert np.array_equal(read.luma.table, second.qt[0])


def test_tables_are_told_by_their_numbers_not_by_their_order():
    pytest.importorskip("jpegio")
    data = bytearray(jpeg(photo(1, 64), 50, qtables=[[9] * 64, [7] * 64]))
    frame = data.index(b"\xff\xc0")
    tables = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xdb"]
    assert len(tables) == 2
    data[tables[1] + 4] = 3  # the second table is number 3
    data[frame + 10 + 5] = data[frame + 10 + 8] = 3
    read = coefficients(bytes(data))
    assert [int(part.table[0, 0]) for part in read.components] == [9, 7, 7]


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_without_pyjpegio_they_are_made_of_decoded_luma_and_nearly_the_same(monkeypatch, quality):
    data = jpeg(photo(2, 203), quality)
    exact = coefficients(data)
    monkeypatch.setitem(sys.modules, "jpegio", None)
    coefficients.cache_clear()
    made = coefficients(data)
    coefficients.cache_clear()
    assert exact.exact and not made.exact and len(made.components) == 1
    assert np.array_equal(made.luma.table, exact.luma.table)
    # libjpeg pads the right and lower rim of what is decoded with nothing
    inside = (slice(200), slice(200))
    assert (made.luma.plane[inside] != exact.luma.plane[inside]).mean() < 0.002


def test_the_dct_is_jpegs():
    flat = np.full((8, 16), 228, np.uint8)
    assert block_dct(flat)[0, 0] == pytest.approx(800, abs=0.01)
    assert np.abs(block_dct(flat)).sum() == pytest.approx(1600, abs=0.1)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff", jpeg(photo(3, 64))[:-300]])
def test_what_decode_refuses_is_refused_before_any_other_reader(data, monkeypatch):
    monkeypatch.setattr(module, "_stored", lambda *_: pytest.fail("it reached pyjpegio"))
    with pytest.raises(Undecodable):
        coefficients(data)


def test_the_last_file_is_read_once(monkeypatch):
    data = jpeg(photo(4, 64))
    assert coefficients(data) is coefficients(data)


def test_a_large_picture_of_full_chroma_is_read_by_luma_alone():
    image = Image.new("RGB", (5000, 3600), (90, 30, 200))
    data = jpeg(np.asarray(image), 30, subsampling=0)
    tracemalloc.start()
    assert not coefficients(data).exact
    assert tracemalloc.get_traced_memory()[1] < 12 * 18e6 + 100e6
    tracemalloc.stop()
    coefficients.cache_clear()


MUTATED = """
import io, random, sys
from PIL import Image
from dfd.forensics.jpeg.dct_coefficients import coefficients
from dfd.media.formats import Undecodable

import numpy as np
draw = random.Random(7)
noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8))
models = []
for options in ({}, {"progressive": True}, {"subsampling": 0, "optimize": True}, {"restart_marker_blocks": 2}):
    file = io.BytesIO()
    noise.save(file, "JPEG", **options)
    models.append(file.getvalue())
read = refused = 0
for _ in range(int(sys.argv[1])):
    data = bytearray(draw.choice(models))
    head = data.index(b"\\xff\\xda") + 20
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(2, head if draw.random() < .7 else len(data))
        kind = draw.random()
        if kind < .6:
            data[at] = draw.randrange(256)
        elif kind < .8:
            del data[at : at + draw.randint(1, 40)]
        else:
            data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 20)))
    try:
        coefficients(bytes(data))
        read += 1
    except Undecodable:
        refused += 1
print(read, refused)
"""


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.slow)])
def test_no_mutated_file_ends_the_process(count):
    ended = subprocess.run([sys.executable, "-c", MUTATED, str(count)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-800:]
    read, refused = map(int, ended.stdout.split())
    assert read > count / 50 and refused > count / 50


def test_decoded_pixels_belong_to_the_coefficients():
    data = jpeg(photo(5, 64)[..., 0], 70)
    luma = coefficients(data).luma
    steps = np.tile(luma.table, (8, 8))
    dct = block_dct(decode(data)[..., 0])
    assert np.abs(dct - luma.plane * steps).mean() < 0.6


@pytest.mark.parametrize("has_jpegio", [True, False])
def test_a_step_of_zero_is_refused_and_no_tool_breaks_on_it(monkeypatch, has_jpegio):
    """Found by tests/test_hostile_pictures.py: a tool divided by it."""
    if not has_jpegio:
        monkeypatch.setitem(sys.modules, "jpegio", None)
    data = bytearray(jpeg(photo(2, 96), 80))
    at = data.index(b"\xff\xdb") + 5
    data[at + 3] = 0
    with pytest.raises(Undecodable, match="a step of 0"):
        coefficients(bytes(data))
    tools = [tool for tool in TOOLS if tool.takes == "file"]
    assert not [each for each in examine(bytes(data), tools).findings if each.status == "failed"]
