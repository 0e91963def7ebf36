"""A list says everything that it is to say, or is refused with the place and the fault."""

from pathlib import Path

import pytest
from released_lists import FIGURE, entry

import dfd
from dfd.cli import main
from dfd.released import open_list
from dfd.released.entry import entries_of
from dfd.released.show import number

FILE = {"name": "model.safetensors", "bytes": 5, "sha256": "0" * 64, "mirrors": ["model.safetensors"]}


def test_an_entry_is_read_with_its_types():
    (found,) = entries_of({"format": 1, "detectors": [entry(FILE, parameters=10)]}, "list.yaml")
    assert found.weights.name == "model.safetensors" and found.bytes == 5 and found.recipe is None
    assert found.figures[0].value == 0.9 and found.figures[0].seeds == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../evil"}, "a name is small letters"),
        ({"name": "best.ckpt"}, "a name is small letters"),
        ({"version": 0}, "version 0"),
        ({"version": "1"}, "version is '1', where a whole number was expected"),
        ({"parameters": True}, "parameters is True, where a whole number"),
        ({"figures": []}, "no figures"),
        ({"figures": [{**FIGURE, "value": 0.5}]}, "0.5 lies outside its interval (0.85, 0.95)"),
        ({"figures": [{**FIGURE, "value": 90, "low": 85, "high": 95}]}, "(85.0, 95.0) is none from 0 to 1"),
        ({"figures": [{**FIGURE, "condition": "jpeg"}]}, "neither clean nor NAME@SEVERITY"),
        ({"figures": [{**FIGURE, "metric": "ece"}]}, "a list has figures of auroc"),
        ({"figures": [{**FIGURE, "low": "x"}]}, "figures[0].low is 'x', where a number"),
        ({"files": [{**FILE, "name": "../model.safetensors"}]}, "the name of a file"),
        ({"files": [{**FILE, "name": "README.md"}]}, "0 of its files are a detector"),
        ({"files": [FILE, FILE]}, "2 of its files are a detector"),
        ({"files": [{**FILE, "sha256": "0"}]}, "64 hex digits"),
        ({"files": [{**FILE, "bytes": 0}]}, "0 bytes"),
        ({"files": [{**FILE, "mirrors": []}]}, "no mirror"),
        ({"files": [{**FILE, "mirrors": "model.safetensors"}]}, "where a list was expected"),
        ({"files": []}, "neither files to fetch nor a recipe"),
        ({"about": "two\nlines"}, "a line of text was expected"),
        ({"licence": "MIT"}, "'licence', which is no part of it"),
        ({"materials": [{"name": "faces", "use": "trained it", "terms": "CC0"}]}, "(faces) has no stated"),
        ({"recipe": []}, "recipe is [], where names and values"),
    ],
)
def test_a_fault_is_named_with_its_place(changes, said):
    with pytest.raises(ValueError) as error:
        entries_of({"format": 1, "detectors": [entry(FILE) | changes]}, "list.yaml")
    assert (
        said in str(error.value)
        and str(error.value).startswith("list.yaml: ")
        and "\n" not in str(error.value)
    )


@pytest.mark.parametrize(
    "plain", [None, [], {}, {"format": 2}, {"format": 1}, {"format": 1, "detectors": {}}]
)
def test_what_is_no_list_is_refused(plain):
    with pytest.raises(ValueError, match=r"list\.yaml"):
        entries_of(plain, "list.yaml")


def test_a_name_comes_once():
    with pytest.raises(ValueError, match="has faces-small twice"):
        entries_of({"format": 1, "detectors": [entry(FILE), entry(FILE, version=2)]}, "list.yaml")


def test_the_figures_of_the_package_s_list_are_those_of_the_results_pages():
    pages = Path(dfd.__file__).parents[1] / "docs" / "results"
    if not pages.is_dir():
        pytest.skip("the documentation is no part of an installed dfd")
    text = "".join((pages / name).read_text() for name in ("140k.md", "cross-dataset.md")).replace("**", "")
    for figure in open_list().find("dual-stream-140k").figures:
        assert f"{number(figure.value)} ({number(figure.low)}, {number(figure.high)})" in text


def test_the_list_in_the_package_names_its_terms_and_limits(capsys):
    assert main(["models", "show", "dual-stream-140k"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "hosted nowhere",
        "2,536,929 parameters",
        "CC BY-NC-SA 4.0",
        "any source but 140K",
        "auroc .440",
    ):
        assert words in shown
