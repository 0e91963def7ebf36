"""Conditions: a stranger's YAML becomes known corruptions, or one error that lists what is known."""

import math

import pytest

from dfd.augment.corruption import CORRUPTIONS
from dfd.evaluate.conditions import load_conditions, parse_conditions


def titles(conditions):
    return [each.title for each in conditions]


def test_the_shipped_files_are_the_protocol():
    assert titles(load_conditions()) == ["clean", "jpeg@75", "delivery@75"]
    curves = load_conditions("conditions/corruptions")
    for name in ("jpeg", "blur", "resize", "noise"):
        found = [each.severity for each in curves if each.name == name]
        assert found == list(CORRUPTIONS[name].severities)
    assert "delivery@75" in titles(curves) and titles(curves)[0] == "clean"
    assert len(load_conditions("conditions/deliveries")) == 8


def test_clean_pictures_are_judged_whether_named_or_not():
    assert titles(parse_conditions({"conditions": []})) == ["clean"]
    assert titles(parse_conditions({"conditions": [{"name": "clean"}]})) == ["clean"]
    assert math.isnan(parse_conditions({"conditions": []})[0].severity)


def test_a_condition_may_bear_a_corruptions_name_or_its_own():
    found = parse_conditions(
        {"conditions": [{"name": "blur"}, {"name": "sent", "corruption": "jpeg", "severities": 30}]}
    )
    assert titles(found) == ["clean", "blur@0.5", "blur@1", "blur@1.5", "blur@2", "blur@3", "sent@30"]
    assert found[-1].what == "Corruption('jpeg', 30)"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([], "no list of conditions"),
        ({"conditions": {"jpeg": 1}}, "no list of conditions"),
        ({"conditions": [], "seeds": 3}, "unknown key 'seeds'"),
        ({"conditions": ["jpeg"]}, "has no names and values"),
        ({"conditions": [{"corruption": "jpeg"}]}, "is called None"),
        ({"conditions": [{"name": "../jpeg", "corruption": "jpeg"}]}, "is called '../jpeg'"),
        (
            {"conditions": [{"name": "x", "corruption": "rain"}]},
            "unknown corruption 'rain'. Known are jpeg, blur",
        ),
        ({"conditions": [{"name": "rain"}]}, "names nothing to be done"),
        (
            {"conditions": [{"name": "jpeg", "severity": 3}]},
            "unknown key 'severity'. It takes name, corruption, severities",
        ),
        ({"conditions": [{"name": "jpeg", "severities": ["high"]}]}, "where a list of numbers was expected"),
        ({"conditions": [{"name": "jpeg", "severities": [True]}]}, "where a list of numbers was expected"),
        ({"conditions": [{"name": "jpeg", "severities": []}]}, "where a list of numbers was expected"),
        ({"conditions": [{"name": "jpeg", "severities": [500]}]}, "outside what 'jpeg' takes"),
        ({"conditions": [{"name": "jpeg", "severities": [50, 50]}]}, "jpeg@50 comes twice"),
        (
            {"conditions": [{"name": "clean", "corruption": "jpeg", "severities": [10]}]},
            "clean are the pictures as found. Give what is damaged another name",
        ),
    ],
)
def test_what_is_wrong_is_one_error_that_says_what_is_known(told, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")) as raised:
        parse_conditions(told)
    assert "\n" not in str(raised.value)


def test_a_file_is_found_by_path_or_by_name_or_the_error_lists_them(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("conditions: [{name: half}]\n", encoding="utf-8")
    assert titles(load_conditions(own)) == ["clean", "half@2"]
    with pytest.raises(ValueError, match="conditions/corruptions, conditions/deliveries, conditions/quick"):
        load_conditions("conditions/rain")
    own.write_text("conditions: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"own\.yaml, line"):
        load_conditions(own)
