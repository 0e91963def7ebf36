"""The page of a study: what to run again, what to believe of it, and figures that hold what they say."""

import base64
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser

import browser
import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'dfd[sweep]'")

from dfd.sweep.figures import history, importance_bars, parallel_coordinates, short_names  # noqa: E402
from dfd.sweep.lease import Lease  # noqa: E402
from dfd.sweep.report import FEW, write_page  # noqa: E402
from dfd.sweep.schema import parse_sweep  # noqa: E402
from dfd.sweep.space import Choice, Range  # noqa: E402
from dfd.sweep.study import Study, cost, minutes  # noqa: E402

SWEEP = {
    "program": "dfd",
    "command": ["${env}", "${program}", "fit", "--config", "dual_stream", "${args}"],
    "method": "random",
    "metric": {"name": "val/auroc", "goal": "maximize"},
    "parameters": {
        "model.optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
        "model.net.drop_fft": {"min": 0.0, "max": 1.0},
        "data.note": {"values": ["<script>alert(1)</script>", "b"]},
    },
}


@pytest.fixture
def study(tmp_path):
    with Lease(tmp_path / "workers") as worker:
        yield Study(tmp_path, parse_sweep(SWEEP), worker)


def fill(study, total, state="COMPLETE"):
    """Trials whose value hangs on the learning rate alone."""
    while (claim := study.claim(total)) is not None:
        value = None if state == "FAIL" else -abs(np.log10(claim.params["model.optimizer.lr"]) + 3)
        study.finish(claim, state, value, "out of <memory>" if state == "FAIL" else "")


class Words(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.cells, self.tags = [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.cells.append(data)


@pytest.mark.filterwarnings("error")
def test_names_and_values_of_a_sweep_are_no_mathematics(tmp_path):
    names = [r"$\foo$", "$^$", "人物", "a$b$c"]
    told = SWEEP | {
        "metric": {"name": "val/$^$", "goal": "maximize"},
        "parameters": {"model.$^$": {"values": names}, r"model.\frac{": {"min": 0.0, "max": 1.0}},
    }
    with Lease(tmp_path / "workers") as worker:
        study = Study(tmp_path, parse_sweep(told), worker)
        for number in range(12):
            study.finish(study.claim(12), "COMPLETE", float(number), "")
        page = write_page(study, 12).read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3


def test_the_page_says_what_to_run_again_and_how_far_to_trust_it(study):
    fill(study, 35)
    fill(study, 36, "PRUNED")
    fill(study, 37, "FAIL")
    best = study.best()
    (study.folder_of(best) / "checkpoints").mkdir(parents=True)
    (study.folder_of(best) / "checkpoints" / "best.ckpt").touch()
    study.claim(38)
    page = write_page(study, 40).read_text()
    read = Words(page)
    assert study.sweep.shown_command(best.params) in read.cells, "the whole command, ready to be copied"
    assert study.sweep.shown_command(best.params).startswith(
        "dfd fit --config dual_stream --model.optimizer.lr="
    )
    assert f"dfd test {study.folder_of(best)}/checkpoints/best.ckpt" in read.cells
    assert (
        "38 of 40 trials of a random search begun: 35 complete, 1 failed, 1 pruned, 1 running." in read.cells
    )
    assert any(cell.startswith("Cost: 0.00 hours, all trials") for cell in read.cells)
    assert "minutes" in read.cells
    assert any("optimistic: it is the best of 36" in cell for cell in read.cells)
    assert any("Judge on the test split" in cell for cell in read.cells)
    assert "out of <memory>" in read.cells and "36" in read.cells and "script" not in read.tags
    assert page.count('src="data:image/png;base64,') == 3 and 'src="http' not in page
    assert not any("mean little" in cell for cell in read.cells)
    assert all(
        base64.b64decode(found).startswith(b"\x89PNG") for found in re.findall(r'base64,([^"]+)', page)
    )


@pytest.mark.slow
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_it_fits_a_desk_and_a_phone(study, tmp_path):
    fill(study, 12)
    fill(study, 14, "FAIL")
    page = write_page(study, 20)
    for width in (1280, 360):
        seen = browser.look_at(page, tmp_path / f"profile-{width}", width)
        assert seen.overflow <= 0 and not seen.complaints and len(seen.requests) == 1
        assert len(seen.images) == 3 and all(across > 0 for _, across in seen.images)
        assert study.sweep.shown_command(study.best().params) in seen.text


def test_a_study_says_what_it_cost():
    begin = datetime(2026, 1, 1)
    states = {"COMPLETE": 90, "PRUNED": 30, "RUNNING": None}
    trials = [
        optuna.trial.FrozenTrial(
            number,
            optuna.trial.TrialState[name],
            0.5,
            begin,
            took and begin + timedelta(minutes=took),
            {},
            {},
            {},
            {},
            {},
            number,
        )
        for number, (name, took) in enumerate(states.items())
    ]
    assert [minutes(trial) for trial in trials[:2]] == [90, 30]
    assert cost(trials) == "cost: 2.00 hours, all trials together; 60.0 minutes a trial"
    assert cost(trials[2:]) == cost([]) == ""


def test_names_are_as_short_as_tells_them_apart():
    names = ["model.net.rgb.width", "model.net.fft.width", "model.optimizer.lr", "lr"]
    assert list(short_names(names).values()) == ["rgb.width", "fft.width", "optimizer.lr", "lr"]


def test_few_trials_are_called_few(study):
    fill(study, FEW * 3 - 1)
    assert "29 complete trials are few for 3 parameters" in write_page(study, 30).read_text()


def test_without_a_complete_trial_the_page_says_why(study):
    assert "No trial is complete" in write_page(study, 3).read_text()
    fill(study, 2, "FAIL")
    page = write_page(study, 3).read_text()
    assert "<td>0, 1</td><td>out of &lt;memory&gt;</td>" in page and "base64" not in page
    fill(study, 3)
    assert "Importance" not in write_page(study, 3).read_text(), "one trial has no variance"


def test_what_matters_is_found(study, monkeypatch):
    shares = {}
    monkeypatch.setattr(
        "dfd.sweep.report.importance_bars", lambda found: shares.update(found) or importance_bars(found)
    )
    fill(study, 60)
    write_page(study, 60)
    assert max(shares, key=shares.get) == "model.optimizer.lr" and sum(shares.values()) == pytest.approx(1)


def test_the_history_shows_each_trial_and_the_best_so_far():
    value = np.array([0.5, np.nan, 0.7, 0.9, 0.6])
    (axes,) = history(value, ["COMPLETE", "FAIL", "COMPLETE", "PRUNED", "RUNNING"], "val/auroc", True).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert (
        list(lines["complete"]) == [0.5, 0.7] and list(lines["pruned"]) == [0.9] and len(lines["failed"]) == 1
    )
    assert list(lines["best so far"]) == [0.5, 0.5, 0.7, 0.7, 0.7], "of complete trials"
    (axes,) = history(value[:3], ["FAIL", "FAIL", "COMPLETE"], "val/loss", False).axes
    assert list(axes.lines[-1].get_ydata())[2:] == [0.7]


def test_parallel_coordinates_lead_through_the_parameters_to_the_value():
    space = {
        "lr": Range(1e-4, 1e-2, log=True),
        "crops": Range(1, 5, step=2),
        "preset": Choice(("none", "light")),
    }
    params = [{"lr": 1e-3, "crops": 3, "preset": "light"}, {"lr": 1e-2, "crops": 1, "preset": "none"}]
    (axes,) = parallel_coordinates(space, params, np.array([0.9, 0.8]), "val/auroc", True).axes
    lines = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 4]
    np.testing.assert_allclose(
        lines, [[1, 0, 0, 0], [0.5, 0.5, 1, 1]], err_msg="the best one above the others"
    )
    words = {text.get_text() for text in axes.texts}
    assert {"0.0001", "0.001", "0.01", "none", "light", "0.9", "0.8"} <= words
    (axes,) = parallel_coordinates(
        {"lr": Choice((1e-3, 1.0, 1e-2))}, [{"lr": 1e-2}], np.array([0.5]), "val/loss", False
    ).axes
    assert {text.get_text(): text.xy[1] for text in axes.texts if text.xy[0] == 0} == {
        "0.001": 0,
        "0.01": 0.5,
        "1.0": 1,
    }
    parallel_coordinates({"one": Choice(("a",))}, [{"one": "a"}], np.array([0.5]), "val/loss", False)
