"""The tool on what lies where: what phones and cameras add is no find, what people add is."""

import io

import numpy as np
import pytest
from hostile_pictures import zipped
from photos import jpeg, photo, png
from PIL import Image

from dfd.forensics import Catalogue
from dfd.forensics.file_structure import file_structure
from dfd.media.structure import structure


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return photo(11, 160)


def test_a_preview_that_is_listed_nowhere_is_no_find_and_a_stranger_is(picture):
    preview = jpeg(np.asarray(Image.fromarray(picture).resize((64, 64))), 70)
    assert file_structure(jpeg(picture) + preview).status == "clear"
    found = file_structure(jpeg(picture) + jpeg(photo(12, 64)))
    assert found.status == "found" and found.facts["what"] == "jpeg"


@pytest.mark.parametrize("length", [1, 4000])
def test_padding_behind_the_picture_is_said(picture, length):
    for data, filling in ((jpeg(picture), b"\0"), (png(picture), b"\0"), (jpeg(picture), b"\xff")):
        finding = file_structure(data + filling * length)
        assert (finding.status, finding.answer, finding.facts["behind"]) == ("clear", "padded", length)
        assert f"lie {length} bytes of padding" in Catalogue().answer(finding)
        assert file_structure(data).answer == "whole" and file_structure(data).facts["behind"] == 0


def test_a_second_copy_of_the_picture_is_said_and_hides_nothing(picture):
    data = jpeg(picture)
    finding = file_structure(data + data)
    assert (finding.status, finding.answer, finding.score) == ("clear", "second", 0)
    assert f"shows the same at a glance ({len(data)} bytes)" in Catalogue().answer(finding)
    assert file_structure(data + b"\0" * 4000 + data).answer == "second"
    # a stranger behind the copy is found all the same
    finding = file_structure(data + data + b"\x8f\x9e" * 500)
    assert (finding.status, finding.answer, finding.facts["strange_bytes"]) == ("found", "appended", 1000)


def test_the_sentence_says_what_lies_there(picture):
    hidden = b"\x8f\x9e" * 500
    finding = file_structure(png(picture) + hidden)
    sentence = Catalogue().answer(finding)
    assert finding.score == 1 and finding.answer == "appended" and "1000 bytes" in sentence
    assert file_structure(png(picture) + zipped()).answer == "polyglot"
    assert finding.table is not None and ("appended", "data") in {row[:2] for row in finding.table.rows}


def test_several_pictures_are_named_and_stay_clear(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(
        buffer, "MPO", save_all=True, append_images=[Image.fromarray(picture[::-1].copy())]
    )
    finding = file_structure(buffer.getvalue())
    assert (finding.status, finding.answer, finding.facts["pictures"]) == ("clear", "beside", 2)


def test_what_is_between_segments_is_found(picture):
    data = jpeg(picture)
    assert file_structure(data[:20] + b"secret words, hidden" + data[20:]).answer == "between"


def test_an_older_picture_under_a_cropped_one_is_found(picture):
    small, large = png(picture[:40, :40]), png(picture)
    assert file_structure(small + large[len(small) :]).answer == "cropped"


def test_camera_originals_stay_silent(real_data):
    files = [path for folder in ("exif-samples", "c2pa-samples") for path in (real_data / folder).iterdir()]
    pictures = [path for path in files if structure(path.read_bytes()).format]
    found = [path.name for path in pictures if file_structure(path.read_bytes()).status == "found"]
    assert len(pictures) > 55 and not found


def test_pictures_of_data_sets_stay_silent(real_data):
    for folder in ("140k-real-and-fake-faces", "casia1", "deepfake-faces", "real-and-fake-face-detection"):
        files = sorted(path for path in (real_data / folder).rglob("*") if path.suffix in (".jpg", ".png"))
        step = max(1, len(files) // 60)
        found = [path.name for path in files[::step] if file_structure(path.read_bytes()).status == "found"]
        assert len(found) <= 0.02 * len(files[::step]), found


def test_many_comments_hide_nothing_that_is_appended():
    data = jpeg(photo(1, 64))
    comments = b"".join(b"\xff\xfe\x00\x04ab" for _ in range(1500))
    hidden = data[:2] + comments + data[2:] + b"PK\x03\x04" + bytes(range(256)) * 20
    found = file_structure(hidden)
    assert found.status == "found" and "zip" in str(found.facts["what"])
