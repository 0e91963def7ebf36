"""The figures that a page prints beside a finding."""

import json
import math
from dataclasses import replace

import pytest

from dfd.forensics.measured import FILE, Figure, Measured, all_measured, measured, read_measured

ELA = Measured(
    "ela",
    2,
    trust="weak",
    trust_jpeg75="none",
    trusted_on=("splice",),
    false_alarm_rate=Figure(0.04, 0.0, 0.12, 25, 20),
    auroc={"casia": {"as found": Figure(0.75, 0.6, 0.85, 80, 80)}},
    pixel_auc={"splice": {"PNG": Figure(0.625, math.nan, math.nan, 1, 1)}},
    seconds=0.2,
)


def test_a_tool_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"tools": {"ela": ELA.plain()}}, allow_nan=False), encoding="utf-8")
    read = read_measured(path)["ela"]
    alone = read.pixel_auc["splice"]["PNG"]
    assert math.isnan(alone.low) and alone.value == 0.625 and alone.num_images == 1
    assert replace(read, pixel_auc={}) == replace(ELA, pixel_auc={})


def test_what_was_not_measured_has_no_figures():
    assert measured("no such tool") is None
    known = measured("jpeg_quality")
    assert known is not None and known.trust == "describes"
    assert measured("jpeg_quality", known.version) is known
    assert measured("jpeg_quality", known.version + 1) is None


def test_the_figures_that_are_shipped_are_possible():
    assert all_measured()
    for tool in all_measured().values():
        rows = [
            each
            for by_set in (tool.auroc, tool.pixel_auc, tool.hit_rate, tool.false_alarms)
            for each in by_set.values()
        ]
        figures = [figure for row in rows for figure in row.values()]
        figures += [figure for figure in (tool.false_alarm_rate, tool.coverage) if figure is not None]
        for each in figures:
            assert 0 <= each.value <= 1 and 0 < each.num_families <= each.num_images
            assert math.isnan(each.low) or each.low - 1e-9 <= each.value <= each.high + 1e-9


@pytest.mark.parametrize("text", ["", "[]", '{"tools": {"ela": {"trust": "weak"}}}', '{"tools": []}'])
def test_another_file_is_refused_with_the_command_that_makes_one(tmp_path, text):
    path = tmp_path / "measured.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="bench-forensics"):
        read_measured(path)


def test_the_shipped_file_is_read_from_the_package():
    assert FILE.is_file()
