"""What every forensic tool keeps to: its planted case is found, the clean one is silent, and any picture is
answered.

A tool joins by a line in PLANTED.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from c2pa_files import changed, with_manifest
from camera_photos import copied, pasted, scaled, untouched
from drawn_faces import DrawnFace, DrawnMesh, portrait, warped
from hostile_pictures import zipped
from jpeg_edits import spliced
from metadata_files import camera_file, scene, thumbnail_of
from photos import ellipse, jpeg, noisy, photo, png

from dfd.forensics import TOOLS, Catalogue, Tool, examine
from dfd.forensics.face import face_tools
from dfd.forensics.finding import STATUSES
from dfd.media.decode import decode


class Case(NamedTuple):
    """Files of a tool's contract; None where it only describes, and never says "found"."""

    planted: Callable[[], bytes] | None
    clean: Callable[[], bytes]


PLANTED: dict[str, Case] = {
    "provenance": Case(lambda: changed(with_manifest(jpeg(photo(1)))), lambda: jpeg(photo(1))),
    "cfa": Case(lambda: png(pasted(untouched(1, 320), scale=1.3)), lambda: png(untouched(1, 320))),
    "metadata": Case(lambda: camera_file(thumbnail=thumbnail_of(scene(4))), camera_file),
    "file_structure": Case(lambda: jpeg(photo(1)) + zipped(), lambda: jpeg(photo(1))),
    "double_compression": Case(lambda: jpeg(decode(jpeg(photo(1), 70)), 90), lambda: jpeg(photo(1), 90)),
    "hashes": Case(None, lambda: jpeg(photo(1))),
    "double_compression_map": Case(
        lambda: jpeg(spliced(70, None, shift=3)[0], 92), lambda: jpeg(decode(jpeg(photo(1), 70)), 92)
    ),
    "error_level": Case(None, lambda: jpeg(photo(1))),
    "jpeg_ghosts": Case(lambda: jpeg(spliced(92, 60)[0], 95), lambda: jpeg(photo(1))),
    "jpeg_grid": Case(lambda: png(spliced(85, 80, shift=3)[0]), lambda: jpeg(photo(1))),
    "jpeg_quality": Case(None, lambda: jpeg(photo(1))),
    "copy_move_blocks": Case(lambda: png(copied(untouched(3, 320))), lambda: png(untouched(3, 320))),
    "copy_move_keypoints": Case(
        lambda: png(copied(untouched(3, 320), angle=20)), lambda: png(untouched(3, 320))
    ),
    "median_filter": Case(lambda: png(cv2.medianBlur(untouched(4, 320), 7)), lambda: png(untouched(4, 320))),
    "splice": Case(None, lambda: png(untouched(5, 320))),
    "resampling": Case(lambda: png(scaled(untouched(2, 320), 1.5)), lambda: png(untouched(2, 320))),
    "noise_residual": Case(None, lambda: jpeg(photo(1))),
    "noise_level": Case(lambda: jpeg(noisy(photo(1), ellipse(512))), lambda: jpeg(photo(1))),
    "spectrum": Case(None, lambda: jpeg(photo(1))),
    "upsampling_peaks": Case(lambda: jpeg(photo(1, 256).repeat(2, 0).repeat(2, 1)), lambda: jpeg(photo(1))),
}

# of the face: on drawn portraits, whose faces are where the drawing has them
PLANTED |= {
    "faces": Case(None, lambda: png(portrait().picture)),
    "face_boundary": Case(lambda: png(warped(portrait(2).picture)), lambda: png(portrait(2).picture)),
    "face_eyes": Case(None, lambda: png(portrait().picture)),
    "face_teeth": Case(None, lambda: png(portrait(mouth_open=0.6).picture)),
    "face_symmetry": Case(None, lambda: png(portrait().picture)),
    "face_light": Case(None, lambda: png(portrait().picture)),
}
EVERY = (*TOOLS, *face_tools(DrawnFace(), DrawnMesh()))


@pytest.fixture(params=EVERY, ids=lambda tool: tool.name)
def tool(request) -> Tool:
    return request.param


def test_a_tool_that_finds_has_something_to_find(tool):
    assert (PLANTED[tool.name].planted is not None) == (tool.method.kind == "finds")


def test_every_tool_has_a_planted_case():
    assert set(PLANTED) == {tool.name for tool in EVERY}


def test_the_planted_case_is_found_and_the_clean_one_is_silent(tool):
    case = PLANTED[tool.name]
    assert examine(case.clean(), [tool]).findings[0].status in ("clear", "absent")
    if case.planted:
        found = examine(case.planted(), [tool]).findings[0]
        assert found.status == "found", found


ODD = {
    "one pixel": lambda: png(np.zeros((1, 1, 3), np.uint8)),
    "a line": lambda: png(np.arange(3 * 900, dtype=np.uint8).reshape(1, 900, 3)),
    "8 x 8": lambda: jpeg(np.full((8, 8, 3), 90, np.uint8)),
    "black": lambda: jpeg(np.zeros((300, 200, 3), np.uint8)),
    "white": lambda: png(np.full((257, 131, 3), 255, np.uint8)),
    "noise": lambda: png(np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)),
    "gray": lambda: jpeg(photo(3, 128)[..., 0]),
    "4:4:4": lambda: jpeg(photo(4, 129), subsampling=0),
    "progressive": lambda: jpeg(photo(5, 200), progressive=True),
    "turned": lambda: jpeg(
        photo(6, 200)[:120], exif=b"Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    ),
    "cut off": lambda: jpeg(photo(7, 200))[:-900],
    "nothing": lambda: b"",
    "text": lambda: b"no picture at all",
}


@pytest.mark.parametrize("kind", ODD)
def test_any_file_is_answered_in_words_and_in_json(tool, kind):
    data = ODD[kind]()
    examined = examine(data, [tool])
    finding = examined.findings[0]
    assert finding.status in STATUSES and finding.status != "failed", finding
    assert finding.tool == tool.name and finding.source and finding.version >= 1
    assert Catalogue().answer(finding)
    json.dumps(finding.plain(), allow_nan=False)
    if finding.map is not None:
        values = finding.map.values
        assert values.ndim == 2 and values.dtype == np.float32 and np.isfinite(values).all()
        assert finding.map.low < finding.map.high
        if finding.map.overlay and examined.pixels is not None and min(values.shape) > 1:
            height, width = examined.pixels.shape[:2]
            # blocks may leave out a rim of less than a block; a map of a turned picture is turned with it
            assert abs(np.log(values.shape[1] / values.shape[0] * height / width)) < 0.35


def test_the_same_bytes_give_the_same_finding(tool):
    data = PLANTED[tool.name].clean()
    first, again = (examine(data, [tool]).findings[0] for _ in range(2))
    assert first.plain() == again.plain()
    if first.map is not None:
        assert np.array_equal(first.map.values, again.map.values)


def test_every_tool_has_its_words(tool):
    words = Catalogue()
    assert words.knows(tool.name), f"{tool.name} lacks its section in dfd/forensics/words/en.toml"
    for sentence in (words.look(tool.name), words.ignore(tool.name)):
        assert sentence.endswith(".") and len(sentence) < 240
