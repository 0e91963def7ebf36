"""What workers that share a study decide together: each trial once, the dead one's again, the same draws for
the same seed.
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'dfd[sweep]'")

from dfd.sweep import sweep as sweep_module  # noqa: E402
from dfd.sweep.lease import Lease  # noqa: E402
from dfd.sweep.schema import parse_sweep  # noqa: E402
from dfd.sweep.study import DEATHS, JOURNAL, Study, TakenOver  # noqa: E402
from dfd.sweep.trial import Trial  # noqa: E402

SPACE = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
    "width": {"values": [4, 8, 16]},
}
GRID = {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}}


def told(method="random", parameters=None, goal="maximize", **more):
    return parse_sweep(
        {
            "program": "dfd",
            "command": ["${program}", "${args}"],
            "method": method,
            "metric": {"name": "val/auroc", "goal": goal},
            "parameters": parameters or (GRID if method == "grid" else SPACE),
            **more,
        }
    )


@pytest.fixture
def join(tmp_path):
    """Makes a worker that joins the study, as another process would; and lets one die."""
    workers = []

    def join(sweep, seed=None):
        worker = Lease(tmp_path / "workers").__enter__()
        workers.append(worker)
        return Study(tmp_path, sweep, worker, seed)

    yield join
    for worker in workers:
        worker.__exit__()


def dies(study):
    """What kill -9 leaves: the worker's file, unlocked."""
    study.worker._ended.set()
    study.worker._file.close()


def all_of(study, total, value=lambda params: 0.5):
    claims = []
    while (claim := study.claim(total)) is not None:
        claims.append(claim)
        study.finish(claim, "COMPLETE", value(claim.params))
    return claims


def lone(folder, sweep, seed, total, value=lambda params: 0.5):
    """All trials of a study that one worker has to itself."""
    with Lease(folder / "workers") as worker:
        return all_of(Study(folder, sweep, worker, seed), total, value)


def test_a_grid_has_each_point_once_whoever_takes_it(join):
    studies = [join(told("grid")) for _ in range(3)]
    claims = [study.claim(6) for study in studies for _ in range(2)]
    assert [studies[0].claim(6)] == [None] and studies[0].unfinished()
    assert sorted((claim.params["a"], claim.params["b"]) for claim in claims) == [
        (a, b) for a in (1, 2, 3) for b in "xy"
    ]
    assert [claim.number for claim in claims] == list(range(6)), "and in the order in which they came"


def test_trials_with_names_live_in_folders_of_these_and_dead_ones_go_on_there(join, tmp_path):
    names = tuple(f"{a}/{b}" for a in (1, 2, 3) for b in "xy")
    named = replace(told("grid"), names=names)
    assert "names" not in told("grid").facts() and named.facts()["names"] == list(names)
    doomed, other = join(named), join(named)
    claims = [doomed.claim(6), other.claim(6)]
    assert [claim.folder for claim in claims] == [tmp_path / "1/x", tmp_path / "1/y"]
    dies(doomed)
    assert (again := other.claim(6)).folder == claims[0].folder and again.attempt == 2
    with pytest.raises(ValueError, match="the study of another sweep: names differ"):
        join(replace(named, names=names[::-1]))


def test_random_trials_hang_on_seed_and_number_alone(join, tmp_path):
    first, second = join(told(), seed=3), join(told())
    mixed = [study.claim(6).params for study in (first, second, second, first, first, second)]
    alone, other = (
        [claim.params for claim in lone(tmp_path / str(seed), told(), seed, 6)] for seed in (3, 4)
    )
    assert mixed == alone and len({params["lr"] for params in mixed}) == 6 and alone != other
    assert all(1e-5 <= params["lr"] <= 0.1 and params["width"] in (4, 8, 16) for params in mixed)


def test_multiples_of_a_fraction_are_written_as_people_do(tmp_path):
    space = {"x": {"distribution": "q_uniform", "min": 0.1, "max": 0.7, "q": 0.1}, "y": SPACE["lr"]}
    for method in ("random", "bayes"):
        found = {claim.params["x"] for claim in lone(tmp_path / method, told(method, space), 0, 30)}
        assert found <= {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7} and len(found) > 4


def test_bayes_looks_at_what_was_found_and_goes_on_where_it_stopped(join, tmp_path):
    def value(params):
        return -abs(params["x"] - 0.7)

    space = {"x": {"min": 0.0, "max": 1.0}}
    claims = all_of(join(told("bayes", space), seed=1), 20, value) + all_of(
        join(told("bayes", space)), 40, value
    )
    early, late = (
        sum(abs(claim.params["x"] - 0.7) for claim in part) / len(part)
        for part in (claims[:10], claims[-10:])
    )
    assert late < early / 2
    whole = lone(tmp_path / "alone", told("bayes", space), 1, 40, value)
    assert [claim.params for claim in whole] == [claim.params for claim in claims]


def test_a_dead_workers_trial_goes_on_once_in_its_folder(join):
    doomed, second, third = (join(told()) for _ in range(3))
    claim = doomed.claim(1)
    assert second.claim(1) is None and not second.orphaned(), "it lives"
    dies(doomed)
    assert second.orphaned()
    again = third.claim(1)
    assert (again.number, again.params, again.attempt, again.folder) == (
        claim.number,
        claim.params,
        2,
        claim.folder,
    )
    assert second.claim(1) is None and not second.orphaned(), "and once only"
    for lost in (lambda: doomed.report(claim, 1, 0.5), lambda: doomed.finish(claim, "COMPLETE", 0.5)):
        with pytest.raises(TakenOver):
            lost()  # it was not dead after all
    third.finish(again, "COMPLETE", 0.9)
    assert [trial.value for trial in second.trials] == [0.9]
    assert second.folder_of(second.best()) == again.folder


def test_it_waits_for_the_process_of_a_dead_worker_and_gives_up_its_folder_where_that_will_not_end(
    join, monkeypatch
):
    doomed, other = join(told()), join(told())
    claim = doomed.claim(1)
    process = Trial(["sh", "-c", "trap '' TERM; sleep 60 & wait; wait"], claim.folder, "val/auroc")
    dies(doomed)
    try:
        assert other.claim(1) is None and other.orphaned(), "two must not write into one folder"
        assert other.claim(2).number == 1, "meanwhile there is other work"
        monkeypatch.setattr("dfd.sweep.study.GRACE", 0)
        again = other.claim(2)
        assert (again.number, again.attempt, again.folder.name) == (0, 2, "000000-2")
        assert other.folder_of(other.trials[0]) == again.folder
    finally:
        process.kill()


def test_it_goes_on_in_the_folder_as_soon_as_the_process_has_ended(join):
    doomed, other = join(told()), join(told())
    claim = doomed.claim(1)
    process = Trial(["sleep", "60"], claim.folder, "val/auroc")
    dies(doomed)
    assert other.claim(1) is None
    process.kill()
    assert other.claim(1).folder == claim.folder


def test_a_trial_that_kills_its_workers_fails(join):
    for _ in range(DEATHS):
        study = join(told())
        assert study.claim(1) is not None
        dies(study)
    last = join(told())
    assert last.claim(1) is None and not last.unfinished()
    assert last.states() == "1 failed" and "3 workers died" in last.trials[0].user_attrs["reason"]


def test_a_trial_given_back_goes_on_in_its_folder_and_no_death_is_counted(join):
    study, other = join(told()), join(told())
    for attempt in range(1, DEATHS + 3):
        claim = study.claim(1)
        assert (claim.attempt, claim.folder.name) == (attempt, "000000")
        study.give_back(claim)
    claim = other.claim(1)
    with pytest.raises(TakenOver):
        study.give_back(claim)


def test_what_lags_is_pruned_at_the_rungs(join):
    """Successive halving with min_iter 2 and eta 2: judged at 2 and 4 values, the better half goes on."""
    study = join(told(early_terminate={"type": "hyperband", "min_iter": 2, "eta": 2}))
    stopped = []
    for value in (0.9, 0.5, 0.8, 0.95):
        claim = study.claim(4)
        judged = [study.report(claim, step, value) for step in (1, 2, 3, 4)]
        assert not judged[0] and not judged[2], "only at a rung"
        stopped.append(any(judged))
        study.finish(claim, "PRUNED" if stopped[-1] else "COMPLETE", value)
    assert stopped == [False, True, True, False]
    assert study.best().value == 0.95 and study.states() == "2 complete, 2 pruned"


def test_the_best_is_the_lowest_where_the_goal_is_minimize(join):
    study = join(told(goal="minimize"))
    all_of(study, 8, lambda params: params["lr"])
    assert study.best().params["lr"] == min(trial.params["lr"] for trial in study.trials)


def test_another_sweep_or_seed_does_not_join(join):
    join(told(), seed=3)
    join(told(run_cap=99), seed=3)  # which is no other sweep
    with pytest.raises(ValueError, match=r"another sweep: space differ.*--study"):
        join(told(parameters={"lr": SPACE["lr"]}))
    with pytest.raises(ValueError, match="space differ"):
        # a grid's trials are numbered in the order of the parameters
        join(told(parameters=dict(reversed(SPACE.items()))))
    with pytest.raises(ValueError, match="a study with --seed 3, not 4"):
        join(told(), seed=4)


def test_a_line_that_lost_power_half_written_is_mended(join, tmp_path):
    study = join(told())
    study.finish(study.claim(3), "COMPLETE", 0.5)
    with open(tmp_path / JOURNAL, "ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"x')
    late = join(told())
    all_of(late, 3)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


THEIRS = {
    "journal.log": "2026-01-01 my log\n",
    "workers": "me and you\n",
    ".lock": "",
    "000001/result.txt": "months",
    "000000-2/result.txt": "months",
    "000003.log": "words\n",
    "sweep.html": "<html>",
}


@pytest.mark.parametrize("name", THEIRS)
def test_files_of_somebody_are_refused_before_any_trial(tmp_path, monkeypatch, name):
    (tmp_path / "sweep.yaml").write_text(
        "program: dfd\ncommand: ['${program}', '${args}']\nmethod: grid\nmetric: {name: a, goal: maximize}\n"
        "parameters: {x: {values: [1, 2]}}\n"
    )
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text(THEIRS[name])
    monkeypatch.setattr(sweep_module, "TrialRunner", lambda *_: pytest.fail("trials"))
    top = name.partition("/")[0]
    with pytest.raises(ValueError, match=rf"mine/{re.escape(top)} is not dfd sweep's.*Give --study a folder"):
        sweep_module.sweep(tmp_path / "sweep.yaml", folder=tmp_path / "mine")
    assert path.read_text() == THEIRS[name] and os.listdir(tmp_path / "mine") == [top]


def test_a_trial_begins_beside_files_of_somebody(tmp_path, join):
    study = join(told())
    (tmp_path / "000000").mkdir()
    (tmp_path / "000001.log").touch()
    assert [study.claim(3).folder.name for _ in range(3)] == ["000000-2", "000001-2", "000002"]


def test_another_programs_study_is_not_written_to(tmp_path, join):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL))
    )
    optuna.create_study(study_name="theirs", storage=storage)
    before = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(ValueError, match="holds a study that is not dfd sweep's"):
        join(told())
    assert (tmp_path / JOURNAL).read_bytes() == before


@pytest.mark.parametrize("line", ["words", "[1]", "{}", '{"op_code": 99}'])
def test_a_line_of_a_journal_that_is_none_is_one_sentence(tmp_path, join, line):
    join(told())
    with open(tmp_path / JOURNAL, "a") as journal:
        journal.write(f"{line}\n{line}\n")  # a last line that is none may be half written, and is mended
    with pytest.raises(ValueError, match=r"is no journal of Optuna's, or one of its lines is damaged\."):
        join(told())


def test_what_is_no_journal_is_said(tmp_path, join):
    (tmp_path / JOURNAL).write_text("notes\nof mine\n")
    with pytest.raises(ValueError, match=r"journal\.log is no journal"):
        join(told())


def test_optunas_own_tools_can_read_it(join, tmp_path):
    all_of(join(told()), 3)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL))
    )
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.n_trials == 3 and Path(tmp_path / JOURNAL).is_file()
