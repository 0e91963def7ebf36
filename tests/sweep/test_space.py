"""W&B's YAML becomes distributions and arguments, or one clear error."""

import math
import tracemalloc
from pathlib import Path

import pytest
import yaml

from dfd.sweep.schema import load_sweep, parse_sweep
from dfd.sweep.space import Choice, Range

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "sweep").glob("*.yaml"))


def told(**changes) -> dict:
    """A sweep's YAML with changes; None takes a key out."""
    whole = {
        "program": "dfd",
        "command": ["${env}", "${program}", "fit", "--config", "dual_stream", "${args}"],
        "method": "random",
        "metric": {"name": "val/auroc", "goal": "maximize"},
        "parameters": {"lr": {"min": 0.1, "max": 0.2}},
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def parameter(**given):
    """What a parameter of that YAML is read as."""
    sweep = parse_sweep(told(parameters={"x": given, "other": {"values": [1, 2]}}))
    return sweep.space.get("x", sweep.fixed.get("x"))


@pytest.mark.parametrize("name", ["val/loss", "val/eer", "val/nll", "mine"])
def test_without_a_goal_a_sweep_minimizes_what_is_not_known_to_be_better_above(name):
    sweep = parse_sweep(told(metric={"name": name}))
    assert not sweep.maximize and sweep.direction == "lowest"


def test_a_file_that_is_nested_without_end_is_named(tmp_path):
    deep = tmp_path / "deep.yaml"
    deep.write_text("a: " + "[" * 20000)
    with pytest.raises(ValueError, match=r"deep\.yaml is no YAML that can be read: it is nested too deep"):
        load_sweep(deep)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_ones_are_read_and_say_how_many_trials(path):
    sweep = load_sweep(path)
    assert sweep.method == yaml.safe_load(path.read_text())["method"]
    assert (sweep.points or sweep.cap) > 1 and (sweep.rungs is not None) == (path.stem == "hyperband")
    assert sweep.metric == "val/auroc" and sweep.maximize


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ({"value": 3}, 3),
        ({"value": [1, 2], "distribution": "constant"}, "[1, 2]"),
        ({"values": [8, 16]}, Choice((8, 16))),
        ({"values": [[0.9, 0.99], [0.5, 0.9]]}, Choice(("[0.9, 0.99]", "[0.5, 0.9]"))),
        ({"values": [True, False], "distribution": "categorical"}, Choice((True, False))),
        ({"min": 1, "max": 4}, Range(1, 4, step=1)),
        ({"min": 0.0, "max": 0.5}, Range(0.0, 0.5)),
        ({"min": 0, "max": 1, "distribution": "uniform"}, Range(0.0, 1.0)),
        ({"min": 1.0e-5, "max": 0.1, "distribution": "log_uniform_values"}, Range(1e-5, 0.1, log=True)),
        ({"min": 10, "max": 70, "q": 16, "distribution": "q_uniform"}, Range(16, 64, step=16)),
        ({"min": 0.1, "max": 0.3, "q": 0.1, "distribution": "q_uniform"}, Range(0.1, 0.3, step=0.1)),
    ],
    ids=str,
)
def test_each_distribution_is_what_wandb_means_by_it(given, domain):
    assert parameter(**given) == domain


def test_log_uniform_takes_exponents_of_e():
    found = parameter(min=-3, max=2, distribution="log_uniform")
    assert (found.low, found.high, found.log) == (math.exp(-3), math.exp(2), True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "hyperopt"}, "method: dfd sweep does not know 'hyperopt'. It knows grid, random, bayes."),
        ({"method": None}, "method is missing"),
        ({"scheduler": {"engine": "optuna"}}, "dfd sweep does not know scheduler"),
        ({"metric": {"name": "a", "goal": "max"}}, "metric.goal: dfd sweep does not know 'max'"),
        ({"metric": {"name": "a", "target": 1}}, "metric: dfd sweep does not know target"),
        ({"metric": {"name": "val/auroc"}}, "would look for the worst val/auroc. Write"),
        ({"metric": {"name": "val/auroc/celeb-df"}}, "metric.goal is missing"),
        ({"metric": {"name": "val/tpr@fpr1"}}, "goal: maximize"),
        ({"metric": {"name": "test/tpr@fpr1"}}, "a study that chooses on test pictures"),
        ({"parameters": {}}, "parameters: it should hold"),
        ({"parameters": {"x": {"values": [1.0, math.nan]}}}, "parameters.x.values: nan is no number"),
        ({"parameters": {"x": {"values": [1.0, -math.inf]}}}, "-inf is no number"),
        ({"parameters": {"x": {"values": [[0.9, math.nan], [0.5, 0.9]]}}}, "nan is no number"),
        ({"parameters": {"x": {"value": math.nan}}}, "parameters.x.value: nan"),
        ({"parameters": {"x": {"min": 1, "max": 10**400}}}, "beyond 2^53"),
        ({"parameters": {"x": {"values": [1, 2**60]}}}, "beyond 2^53"),
        (
            {"parameters": {"x": {"min": 1.0, "max": 1000.0, "distribution": "log_uniform"}}},
            "exponents of e",
        ),
        ({"parameters": {"x": {"value": 1}}}, "nothing is varied"),
        (
            {"parameters": {"x": {"value": None}}},
            "parameters.x.value: null would reach the trial as the word None",
        ),
        ({"parameters": {"x": {"values": [1, None]}}}, "parameters.x.values: null"),
        ({"parameters": {"x": {"values": [[1, None]]}}}, "parameters.x.values: null"),
        ({"parameters": {"x": {"values": [{"a": 1}]}}}, "neither a number, a word"),
        ({"parameters": {"x": {"values": []}}}, "is no list of values"),
        ({"parameters": {"x": {"values": [1, 1.0]}}}, "there twice"),
        ({"parameters": {"x": {"parameters": {"lr": {"value": 1}}}}}, "nested parameters"),
        ({"parameters": {"x": {"mu": 1}}}, "parameters.x: dfd sweep does not know mu"),
        ({"parameters": {"x": {"min": 1}}}, "it needs value, values, or min and max"),
        ({"parameters": {"x": {"min": 1, "max": 2.0}}}, "one of min and max is a whole number"),
        ({"parameters": {"x": {"min": 2, "max": 1}}}, "min 2 is not below max 1"),
        ({"parameters": {"x": {"min": "1e-5", "max": 0.1}}}, "YAML takes 1e-5 for a word. Write 1.0e-5."),
        (
            {"parameters": {"x": {"min": 0.0, "max": 1.0, "distribution": "log_uniform_values"}}},
            "has no logarithm",
        ),
        (
            {"parameters": {"x": {"min": 0.0, "max": 1.5, "distribution": "int_uniform"}}},
            "needs whole numbers",
        ),
        (
            {"parameters": {"x": {"min": 1, "max": 9, "q": 8, "distribution": "q_uniform"}}},
            "fewer than two multiples",
        ),
        (
            {"parameters": {"x": {"distribution": "normal"}}},
            "parameters.x.distribution: dfd sweep does not know 'normal'",
        ),
        (
            {"parameters": {"x": {"values": [1, 2], "distribution": "uniform"}}},
            "dfd sweep does not know values",
        ),
        ({"command": ["dfd", "fit"]}, "it has no ${args}"),
        ({"command": ["dfd", "fit", "--x=${args}"]}, "each a word of its own"),
        ({"command": ["dfd", "${args_json}"]}, "${args_json} is not one of"),
        ({"program": None}, "program: it is missing"),
        ({"run_cap": 0}, "run_cap: 0 is no number of trials"),
        ({"method": "grid"}, "a grid needs values"),
        ({"method": "grid", "parameters": {x: {"min": 1, "max": 1000} for x in "abc"}}, "1000000000 points"),
        ({"early_terminate": {"type": "envelope"}}, "does not know 'envelope'"),
        ({"early_terminate": {"type": "hyperband"}}, "it needs min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1.5}}, "no whole number from 2 on"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "no trial would ever be judged"),
    ],
    ids=str,
)
def test_what_dfd_cannot_do_alike_is_refused_by_name(changes, words):
    with pytest.raises(ValueError) as error:
        parse_sweep(told(**changes))
    assert words in str(error.value)


def test_the_file_is_named(tmp_path):
    path = tmp_path / "sweep.yaml"
    for text in ("method: [", "method: grid", "- 1"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"sweep\.yaml"):
            load_sweep(path)


@pytest.mark.parametrize(
    ("given", "rungs"),
    [
        ({"min_iter": 3}, (3, 3)),
        ({"min_iter": 2, "eta": 2}, (2, 2)),
        ({"max_iter": 27, "s": 2}, (3, 3)),
        ({"max_iter": 27, "s": 9}, (1, 3)),
        ({"max_iter": 20, "s": 2, "eta": 4}, (1, 4)),
    ],
    ids=str,
)
def test_trials_are_judged_where_wandb_would(given, rungs):
    assert parse_sweep(told(early_terminate={"type": "hyperband", **given})).rungs == rungs


def test_a_grid_has_each_point_once_in_wandbs_order():
    parameters = {"a": {"values": ["x", "y"]}, "fixed": {"value": 7}, "b": {"min": 1, "max": 3}}
    sweep = parse_sweep(told(method="grid", parameters=parameters))
    points = [sweep.point(number) for number in range(sweep.points)]
    assert points == [{"a": a, "b": b} for a in "xy" for b in (1, 2, 3)]
    stepped = Range(0.1, 0.5, step=0.2)
    assert stepped.values == (0.1, 0.3, 0.5), "and not 0.30000000000000004"


@pytest.mark.slow
def test_the_command_is_the_one_that_wandbs_agent_would_run():
    create_args = pytest.importorskip("wandb.sdk.launch.sweeps.utils").create_sweep_command_args
    params = {"lr": 1e-05, "net.deep": True, "betas": "[0.9, 0.99]", "name": "a b"}
    sweep = parse_sweep(told(parameters={"lr": {"min": 0.1, "max": 0.2}, "seed": {"value": 3}}))
    flags = create_args({"args": {name: {"value": value} for name, value in {"seed": 3, **params}.items()}})[
        "args"
    ]
    command = sweep.trial_command(params, Path("runs/a/000001"))
    assert command == [
        "/usr/bin/env",
        "dfd",
        "fit",
        "--config",
        "dual_stream",
        *flags,
        "--run_folder=runs/a/000001",
    ]
    shown = sweep.shown_command({"name": "a b"})
    assert shown == "dfd fit --config dual_stream --seed=3 '--name=a b'"


@pytest.mark.parametrize(
    ("domains", "text"),
    [
        ([{"min": 1, "max": 1000}] * 3, "1000000000 points"),
        ([{"min": 1, "max": 10**6}] * 3, "more than 10^15 points"),
        (
            [{"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 1e-7}, {"values": [1, 2]}],
            "20000002 points",
        ),
    ],
)
def test_a_grid_is_counted_and_not_listed(domains, text):
    parameters = {f"x{at}": domain for at, domain in enumerate(domains)}
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as refused:
            parse_sweep(told(method="grid", parameters=parameters))
        assert text in str(refused.value)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("low", "high", "step"), [(1, 9, 1), (0, 10, 5), (0.1, 0.7, 0.1), (0.0, 1.0, 0.25)])
def test_as_many_are_counted_as_there_are(low, high, step):
    assert Range(low, high, step=step).count == len(Range(low, high, step=step).values) >= 3


def test_whole_numbers_of_any_length_are_counted():
    assert Range(-(10**30), 10**30, step=1).count == 2 * 10**30 + 1
