import io

import numpy as np
import pytest
from photos import jpeg, photo, png
from PIL import Image, JpegPresets

from dfd.forensics import Catalogue
from dfd.forensics.jpeg.headers import LUMINANCE, nearest_quality, scaled
from dfd.forensics.jpeg.programs import MOZJPEG
from dfd.forensics.jpeg.quality import jpeg_coding, jpeg_quality, thumbnail_facts

SMALL = photo(1, 32)


@pytest.mark.parametrize("quality", range(1, 101))
def test_every_libjpeg_quality_is_read_within_2(quality):
    facts = jpeg_quality(jpeg(SMALL, quality)).facts
    assert abs(facts["quality"] - quality) <= 2 and facts["standard"]


@pytest.mark.parametrize("quality", range(2, 25, 3))
def test_steps_above_255_of_16_bit_tables_are_read_too(quality):
    steps = tuple(int(step) for step in scaled(LUMINANCE, 32767)[quality - 1])
    assert nearest_quality(steps) == (quality, True)


@pytest.mark.parametrize("quality", [30, 60, 85, 97])
def test_a_table_between_two_of_libjpegs_has_a_quality_near_them(quality):
    between = scaled(LUMINANCE)[quality - 1 : quality + 1].mean(axis=0)
    between[5] += 1
    nearest, standard = nearest_quality(tuple(int(step) for step in between))
    assert abs(nearest - quality) <= 2 and not standard


def test_tables_of_known_programs_are_named():
    found = jpeg_quality(jpeg(SMALL, "high"))
    assert found.answer == "known_program" and "Photoshop" in found.facts["program"]
    assert "Photoshop" in Catalogue().answer(found)
    table = [int(step) for step in scaled(MOZJPEG)[74]]
    assert jpeg_quality(jpeg(SMALL, 50, qtables=[table, table])).facts["program"] == "mozjpeg, quality 75"
    assert jpeg_quality(jpeg(SMALL, 75)).facts["program"] == ""
    odd = jpeg_quality(jpeg(SMALL, 50, qtables=[list(range(10, 74))] * 2))
    assert odd.answer == "own_tables" and odd.facts["program"] == ""


def test_every_preset_of_photoshop_is_told_from_libjpegs_tables():
    for preset in JpegPresets.presets.values():
        assert not nearest_quality(tuple(preset["quantization"][0]))[1]


def test_the_coding_is_read():
    plain = jpeg_coding(jpeg(SMALL))
    assert plain == ("standard", 1, 0)
    assert jpeg_coding(jpeg(SMALL, optimize=True)).huffman == "optimized"
    progressive = jpeg_coding(jpeg(SMALL, progressive=True))
    assert progressive.huffman == "optimized" and progressive.scans > 5
    assert jpeg_coding(jpeg(SMALL, restart_marker_blocks=2)).restart_interval == 2
    assert jpeg_coding(b"\xff\xd8") == ("optimized", 0, 0)


def test_the_tables_of_a_thumbnail_are_read_beside_the_pictures():
    exif = Image.Exif()
    small = jpeg(SMALL[:16, :16], 50)
    tiff = exif.tobytes()
    with_thumbnail = jpeg(SMALL, 90, exif=(tiff or b"Exif\0\0II*\0\10\0\0\0\0\0\0\0\0\0") + small)
    assert thumbnail_facts(with_thumbnail).quality == 50
    found = jpeg_quality(with_thumbnail)
    assert found.facts["quality"] == 90 and found.facts["thumbnail_quality"] == 50
    assert [row[0] for row in found.table.rows] == ["picture"] * 2 + ["thumbnail"] * 2
    assert thumbnail_facts(jpeg(SMALL)) is None and thumbnail_facts(png(SMALL)) is None


def test_it_says_nothing_of_other_files():
    assert jpeg_quality(png(SMALL)).status == "absent"


def test_cameras_tables_are_read(real_data):
    folder = real_data / "exif-samples"
    paths = sorted(folder.glob("*.jpg"))
    assert len(paths) > 30
    found = {path.name: jpeg_quality(path.read_bytes()) for path in paths}
    assert all(each.status == "clear" for each in found.values())
    assert "Sanyo" in found["exif-samples__jpg__exif-org__sanyo-vpcsx550.jpg"].facts["program"]
    for name, each in found.items():
        with Image.open(io.BytesIO((folder / name).read_bytes())) as image:
            assert each.facts["progressive"] == bool(image.info.get("progressive")), name
            steps = np.array(each.table.rows[0][-1].split(), int)
            assert (steps == image.quantization[min(image.quantization)]).all()
