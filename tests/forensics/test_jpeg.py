import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfd.forensics import jpeg_facts

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 40, 3), dtype=np.uint8))


def encoded(image=NOISE, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@given(quality=st.integers(1, 100), subsampling=st.sampled_from([0, 1, 2]), progressive=st.booleans())
@settings(max_examples=40, deadline=None)
def test_libjpegs_settings_are_read_back(quality, subsampling, progressive):
    facts = jpeg_facts(encoded(quality=quality, subsampling=subsampling, progressive=progressive))
    assert (facts.quality, facts.standard) == (quality, True)
    assert facts.subsampling == ("4:4:4", "4:2:2", "4:2:0")[subsampling]
    assert facts.progressive == progressive and len(facts.tables) == 2


def test_tables_of_another_maker_are_no_libjpeg_setting_and_have_a_name_of_their_own():
    mine = [list(range(10, 74)), [33] * 64]
    facts = jpeg_facts(encoded(qtables=mine))
    assert not facts.standard and 1 <= facts.quality <= 100
    assert sorted(facts.tables[0]) == mine[0]
    assert facts.table_id == jpeg_facts(encoded(NOISE.rotate(90), qtables=mine)).table_id
    assert facts.table_id != jpeg_facts(encoded(quality=facts.quality)).table_id


def test_a_gray_jpeg_has_one_table():
    facts = jpeg_facts(encoded(NOISE.convert("L"), quality=80))
    assert facts.subsampling == "gray" and len(facts.tables) == 1 and facts.quality == 80


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"no picture", encoded()[:30]])
def test_what_is_no_jpeg_has_no_facts(data):
    assert jpeg_facts(data) is None


def test_a_png_has_no_facts():
    buffer = io.BytesIO()
    NOISE.save(buffer, "PNG")
    assert jpeg_facts(buffer.getvalue()) is None
