"""The notebooks: pairs of one text, outputs that may be committed, and each of them runs."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupytext.compare import NotebookDifference, compare_notebooks

from dfd.forensics.catalogue import FOLDER

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ["01_audit", "02_train", "03_explain", "04_robustness", "05_deepfake_detection", "06_inspect"]
# of the whole folder: a clone carries every version of it
MOST_BYTES = 2_000_000
ABSOLUTE = re.compile(r"(?<![\w.])/(?:home|root|tmp|var|usr|opt|work|mnt|Users)/|[A-Z]:\\")


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(NOTEBOOKS)
    import execute

    return execute


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_these_and_no_others(runner):
    assert runner.names() == NAMES
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_pair_is_one_notebook(name):
    text = jupytext.read(NOTEBOOKS / f"{name}.py", fmt="py:percent")
    stored = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    text.metadata = stored.metadata  # of the kernel; the text has none
    try:
        compare_notebooks(stored, text, fmt="py:percent", compare_outputs=False)
    except NotebookDifference as difference:
        pytest.fail(f"{name}.ipynb is not of {name}.py. Run: make notebooks NOTEBOOK={name}\n{difference}")


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_there_and_may_be_shown(name, runner):
    stored = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert runner.faults(stored) == []
    kinds = {kind for output in outputs(stored) for kind in output.get("data", {"stdout": 0})}
    assert {"image/png", "stdout"} <= kinds
    said = "\n".join(
        output.get("text", "") or output.data.get("text/plain", "") for output in outputs(stored)
    )
    assert not ABSOLUTE.search(said)
    assert not re.search(r"\d%\|", said)  # a progress bar


def test_its_words_of_the_tools_are_those_of_today():
    stored = nbformat.read(NOTEBOOKS / "06_inspect.ipynb", as_version=4)
    said = "".join(output.get("text", "") for output in outputs(stored))
    told = re.findall(r"^  (?:look at:|ignore: ) (.+)$", said, re.MULTILINE)
    words = tomllib.loads((FOLDER / "en.toml").read_text(encoding="utf-8")).values()
    known = {tool[name] for tool in words for name in ("look", "ignore") if name in tool}
    assert len(told) >= 4
    assert not set(told) - known, "run: make notebooks NOTEBOOK=06_inspect"


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS.iterdir() if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in NAMES])
def test_it_runs(name, runner, monkeypatch):
    monkeypatch.setenv("DFD_NOTEBOOK_DATA", "of somebody's shell")  # the toy set is run, whatever it says
    notebook = runner.execute(NOTEBOOKS / f"{name}.py")
    assert runner.faults(notebook) == []
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_a_notebook_that_raises_fails_with_its_cell_and_error(runner, tmp_path):
    (tmp_path / "00_raises.py").write_text(
        "# %% [markdown]\n# # Words\n\n# %%\nnumber = 1\n\n# %%\nnumber / 0\n\n# %%\nprint('not reached')\n"
    )
    with pytest.raises(runner.NotebookFailed) as failed:
        runner.execute(tmp_path / "00_raises.py")
    said = str(failed.value)
    assert "00_raises.py, code cell 2 of 3: ZeroDivisionError: division by zero" in said
    assert said.endswith("number / 0")


def test_a_warning_keeps_a_notebook_from_being_written(runner, tmp_path, monkeypatch, capsys):
    (tmp_path / "00_warns.py").write_text("# %%\nimport warnings\nwarnings.warn('a shaky number')\n")
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    assert runner.main(["--out", str(tmp_path)]) == 1
    assert "a shaky number" in capsys.readouterr().err
    assert not (tmp_path / "00_warns.ipynb").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["07_nothing"], "there is no notebook 07_nothing. There are 01_audit, 02_train"),
        (["--data", "."], "Name one"),
        (["01_audit", "--data", "."], "give --out a folder outside the repository"),
        (["01_audit", "--data", "not/there", "--out", "out"], "there is no such file or folder"),
    ],
)
def test_what_it_refuses(arguments, said, tmp_path):
    line = [sys.executable, NOTEBOOKS / "execute.py", *arguments]
    ended = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2 and said in ended.stderr
    assert not list(tmp_path.iterdir())


def test_without_its_packages_it_says_in_one_line_what_brings_them(tmp_path):
    (tmp_path / "jupytext.py").write_text("raise ModuleNotFoundError('no', name='jupytext')\n")
    ended = subprocess.run(
        [sys.executable, NOTEBOOKS / "execute.py", "02_train"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert "needs jupytext, which is not installed. `make notebooks`" in ended.stderr
    assert "--group notebooks" in ended.stderr
