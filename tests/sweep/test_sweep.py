"""`dfd sweep` as its users meet it: real processes, real kills, real trainings, a real Slurm."""

import csv
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from real_slurm import submit, wait_for

from dfd.cli import main
from dfd.sweep.lease import Lease
from dfd.sweep.schema import load_sweep
from dfd.sweep.study import Study

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'dfd[sweep]'")
ROOT = Path(__file__).parents[2]

# trial programs: sh, since eight workers that start fifty Pythons would measure Python
PLANTED = """
for arg; do
    case $arg in --run_folder=*) folder=${arg#*=};; --x=*) x=${arg#*=};; --width=*) width=${arg#*=};; esac
done
echo "$x begins" >> "$LEDGER"
mkdir -p "$folder"
awk -v x="$x" -v width="$width" 'BEGIN {
    value = 1 - (x - 0.3)^2 - (width - 16)^2 / 1000
    print "epoch,val/auroc"; print "0," value - 0.1; print "1," value; print "2," value - 0.05
}' > "$folder/metrics.csv"
sleep ${NAP:-0}
echo "$x ends" >> "$LEDGER"
"""
SLOW = """
for arg; do case $arg in --run_folder=*) folder=${arg#*=};; --x=*) x=${arg#*=};; esac; done
mkdir -p "$folder"
echo "epoch,val/auroc" > "$folder/metrics.csv"
for epoch in 0 1 2 3 4 5 6 7 8; do echo "$epoch,$x" >> "$folder/metrics.csv"; sleep ${NAP:-0.4}; done
"""
LAGGING = """
for arg; do case $arg in --run_folder=*) folder=${arg#*=};; --x=*) x=${arg#*=};; esac; done
mkdir -p "$folder"
printf "epoch,val/auroc\\n0,$x\\n1,$x\\n2,$x\\n" > "$folder/metrics.csv"
case $x in 0.[0-4]*) sleep 60;; esac
echo "3,$x" >> "$folder/metrics.csv"
"""
FAILING = 'echo "loading"; echo "ValueError: no such thing as --lr=$1" >&2; exit 3'
SPACE = {"x": {"min": 0.0, "max": 1.0}, "width": {"values": [8, 16, 32]}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("WANDB_MODE", "disabled")  # two seconds a sweep; test_wandb_page.py has it
    return tmp_path


def write(script=PLANTED, name="plan.yaml", **changes) -> str:
    """A sweep's YAML, whose trials run this script unless `changes` say otherwise."""
    Path("program.sh").write_text(script)
    told = {
        "program": "program.sh",
        "command": ["sh", "${program}", "${args}"],
        "method": "random",
        "parameters": SPACE,
    }
    told |= {"metric": {"name": "val/auroc", "goal": "maximize"}, **changes}
    Path(name).write_text(yaml.safe_dump(told, sort_keys=False))
    return name


def trials(folder="runs/plan"):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(f"{folder}/journal.log")
    )
    return optuna.load_study(study_name="sweep", storage=storage).get_trials()


def starts(*args, **more) -> subprocess.Popen:
    command = [sys.executable, "-m", "dfd.cli", "sweep", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def until(there, seconds=60):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


# what it finds, and what it says


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_it_finds_a_planted_optimum(method, capsys):
    space = SPACE | {"x": {"values": [0.0, 0.3, 0.6, 0.9]}} if method == "grid" else SPACE
    options = [] if method == "grid" else ["--trials", "25"]
    assert main(["sweep", write(method=method, parameters=space), "--workers", "4", *options]) == 0
    said = capsys.readouterr().out
    best = max(trials(), key=lambda trial: trial.value)
    assert best.params["width"] == 16 and abs(best.params["x"] - 0.3) < 0.1, "1 at x=0.3, width=16"
    assert best.value == pytest.approx(1 - (best.params["x"] - 0.3) ** 2, abs=1e-5), (
        "the best epoch's, not the last one's"
    )
    assert f"its command: sh program.sh --x={best.params['x']} --width=16" in said
    assert "cost: " in said and "minutes a trial" in said
    assert f"{len(trials())} complete" in said and Path("runs/plan/sweep.html").is_file()
    assert len(trials()) == (12 if method == "grid" else 25)


@pytest.mark.slow
def test_it_goes_on_where_it_stopped_and_on_to_more(capsys):
    plan = write()
    for total in (3, 3, 5):
        assert main(["sweep", plan, "--trials", str(total), "--study", "mine"]) == 0
        assert len(trials("mine")) == total
    assert Counter(Path("ledger").read_text().split()[1::2]) == {"begins": 5, "ends": 5}
    assert main(["sweep", plan, "--trials", "5", "--study", "mine", "--seed", "1"]) == 1
    assert "a study with --seed 0" in capsys.readouterr().err
    assert (
        main(
            [
                "sweep",
                write(name="else.yaml", parameters={"x": SPACE["x"]}),
                "--trials",
                "5",
                "--study",
                "mine",
            ]
        )
        == 1
    )
    assert (
        "mine holds the study of another sweep: space differ. Give another --study."
        in capsys.readouterr().err
    )
    assert len(trials("mine")) == 5


@pytest.mark.slow
def test_a_worker_needs_no_torch():
    """Eight of them begin on one node, and wait for their trials."""
    command = ["sweep", write(), "--trials", "1"]
    code = f"import sys; from dfd.cli import main; main({command}); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "optuna" in said.split() and not {"torch", "lightning", "timm", "wandb"} & set(said.split())


@pytest.mark.slow
def test_what_lags_is_stopped(capsys):
    """With min_iter 2 and eta 3 each that is not the best of the first three, or in the best third later,
    ends.
    """
    grid = {"x": {"values": [0.9, 0.1, 0.2, 0.95, 0.3, 0.99]}}
    plan = write(
        LAGGING,
        method="grid",
        parameters=grid,
        early_terminate={"type": "hyperband", "min_iter": 2, "eta": 3},
    )
    assert main(["sweep", plan]) == 0
    states = [(trial.params["x"], trial.state.name) for trial in trials()]
    assert [x for x, state in states if state == "COMPLETE"] == [0.9, 0.95, 0.99]
    pruned = [trial for trial in trials() if trial.state.name == "PRUNED"]
    assert all(trial.value == trial.params["x"] for trial in pruned) and len(pruned) == 3
    assert all(list(trial.intermediate_values) == [1, 2, 3] for trial in pruned), "long before its end"
    assert capsys.readouterr().out.count("stopped at value 3") == 3


@pytest.mark.slow
def test_failures_say_why_and_many_end_it(capsys):
    assert main(["sweep", write(FAILING), "--trials", "3"]) == 1
    said = capsys.readouterr().err
    assert "3 of 3 trials failed" in said and "exit code 3: ValueError: no such thing as" in said
    assert main(["sweep", write(FAILING, "many.yaml"), "--trials", "40"]) == 1
    assert len(trials("runs/many")) == 5, "what would fail forty times is not tried forty times"
    assert main(["sweep", write("exit 0", "mute.yaml"), "--trials", "1"]) == 1
    assert "without a finite val/auroc in metrics.csv: there is none" in capsys.readouterr().err
    told = {"metric": {"name": "val/aurok", "goal": "maximize"}}
    assert main(["sweep", write(name="other.yaml", **told), "--trials", "40"]) == 1
    assert (
        "without a finite val/aurok in metrics.csv: it has the columns epoch, val/auroc"
        in capsys.readouterr().err
    )
    assert len(trials("runs/other")) == 1, "what one never reports, none does"
    told = {"command": ["nothing-of-that-name", "${args}"]}
    assert main(["sweep", write(name="none.yaml", **told), "--trials", "40"]) == 1
    assert (
        "nothing-of-that-name: there is no such program" in capsys.readouterr().err
        and len(trials("runs/none")) == 1
    )


@pytest.mark.slow
def test_a_failed_trial_does_not_end_the_others(capsys):
    half = "for arg; do case $arg in --x=0.[01]*) echo unlucky; exit 1;; esac; done\n" + PLANTED
    assert main(["sweep", write(half, parameters=SPACE | {"x": {"values": [0.1, 0.3]}}, method="grid")]) == 0
    assert Counter(trial.state.name for trial in trials()) == {"COMPLETE": 3, "FAIL": 3}
    assert "exit code 1: unlucky" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["plan.yaml"], "give --trials N, or run_cap in the file"),
        (["plan.yaml", "--trials", "0"], "it takes at least 1"),
        (["plan.yaml", "--trials", "1", "--workers", "0"], "--workers 0: it takes at least 1"),
        (["plan.yaml", "--trials", "1", "--seed", "-1"], "--seed -1: it takes 0 or more"),
        (
            ["plna.yaml"],
            "there is no sweep 'plna.yaml', here or among dfd's own: sweep/bayes, sweep/finetune, sweep/grid",
        ),
        (["program.sh"], "program.sh"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_begins(args, words, capsys):
    write()
    assert main(["sweep", *args]) == 1
    assert words in capsys.readouterr().err and not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "hyperopt"}, "plan.yaml: method: dfd sweep does not know 'hyperopt'"),
        (
            {"parameters": {"x": {"distribution": "beta"}}},
            "parameters.x.distribution: dfd sweep does not know 'beta'",
        ),
        (
            {"parameters": {"x": {"values": [1, None]}}},
            "parameters.x.values: null would reach the trial as the word None",
        ),
    ],
    ids=["method", "distribution", "null"],
)
def test_what_is_wrong_in_the_file_is_said_in_a_line(changes, words, capsys):
    assert main(["sweep", write(**changes), "--trials", "1"]) == 1
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1 and not Path("runs").exists()


def test_without_optuna_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", write(), "--trials", "1"]) == 1
    assert (
        "dfd sweep needs Optuna: pip install 'dfd[sweep]'" in capsys.readouterr().err
        and not Path("runs").exists()
    )


def test_a_study_that_cannot_be_written_is_said(capsys):
    Path("file").touch()
    assert main(["sweep", write(), "--trials", "1", "--study", "file/study"]) == 1
    assert "cannot be a folder: a file is in the way" in capsys.readouterr().err


@pytest.fixture
def disk(here):
    """A folder on a file system of four megabytes."""
    folder = here / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_or_a_read_only_one_ends_it_and_costs_nothing(disk, capsys):
    """The first trial fills the disk; those after it would all fail for that."""
    study = str(disk / "study")
    plan = write(PLANTED + f'\n[ -e freed ] || cat /dev/zero > "{disk}/filler" 2> cat.log || true')
    assert main(["sweep", plan, "--trials", "2", "--study", study]) == 1
    said = capsys.readouterr().err
    assert (
        f"no space left for {study}. Free some and run the same command again." in said
        and len(said.splitlines()) == 1
    )
    (disk / "filler").unlink()
    Path("freed").touch()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert main(["sweep", plan, "--trials", "2", "--study", study]) == 1
    assert f"{study} cannot be written (Read-only file system)" in capsys.readouterr().err
    subprocess.run(["mount", "-o", "remount,rw,size=9m", disk], check=True)
    assert main(["sweep", plan, "--trials", "2", "--study", study]) == 0
    assert [trial.state.name for trial in trials(study)] == ["COMPLETE"] * 2


def test_several_devices_are_shared_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,5")
    program = PLANTED.replace("mkdir", 'echo "$CUDA_VISIBLE_DEVICES" >> devices; mkdir')
    assert main(["sweep", write(program), "--trials", "2", "--workers", "2"]) == 0
    assert set(Path("devices").read_text().split()) == {"0,5", "1"}


# what may happen to it


@pytest.mark.slow
def test_sigterm_stops_the_trial_gives_it_back_and_the_same_command_goes_on(monkeypatch):
    monkeypatch.setenv("NAP", "30")
    plan = write(SLOW, parameters={"x": SPACE["x"]})
    worker = starts(plan, "--trials", "1")
    until(lambda: Path("runs/plan/000000/metrics.csv").exists())
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 143 and "stopped and given back" in said
    (trial,) = trials()
    assert trial.state.name == "RUNNING" and trial.user_attrs["run"] == {
        "worker": "",
        "attempt": 1,
        "deaths": 0,
        "place": 1,
    }
    monkeypatch.setenv("NAP", "0")
    assert main(["sweep", plan, "--trials", "1"]) == 0
    assert trials()[0].state.name == "COMPLETE" and not Path("runs/plan/000000-2").exists()


def test_a_trial_that_ends_well_when_it_is_stopped_is_not_complete():
    """As Lightning's own trainings do, which exit with 0 after SIGTERM."""
    script = SLOW.replace("mkdir", "trap 'exit 0' TERM; mkdir")
    worker = starts(write(script, name="trap.yaml"), "--trials", "1")
    until(lambda: Path("runs/trap/000000/metrics.csv").exists())
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 143 and "given back" in said
    assert [trial.state.name for trial in trials("runs/trap")] == ["RUNNING"]


def test_a_killed_worker_takes_its_trial_with_it(monkeypatch):
    monkeypatch.setenv("NAP", "60")
    worker = starts(write(PLANTED.replace("sleep", "echo $$ > pid; exec sleep")), "--trials", "1")
    until(lambda: Path("pid").exists() and Path("pid").read_text().strip())
    worker.kill()
    worker.communicate()
    until(lambda: not _alive(int(Path("pid").read_text())), 20)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_eight_workers_of_which_ten_are_killed_lose_nothing(monkeypatch):
    """400 points of a grid: none is run twice at once, none is stuck, none is lost, and the kills are seen in
    the journal.
    """
    total = 8 * 50
    monkeypatch.setenv("NAP", "0.2")
    monkeypatch.setenv("LAST", str(total - 9))  # the last ones wait for the last kill
    alone = """mkdir -p "$folder"
        exec 9> "$folder/busy"
        flock -n 9 || echo "$x twice" >> "$LEDGER"
        echo "$x begins" """
    patient = """
        while [ "${folder##*/}" -ge "$LAST" ] && [ ! -e enough ]; do sleep 0.2; done
        echo "$x ends" """
    values = [at / total for at in range(total)]
    script = PLANTED.replace('echo "$x begins"', alone).replace('echo "$x ends"', patient)
    args = [write(script, method="grid", parameters={"x": {"values": values}, "width": {"value": 16}})]
    workers = [starts(*args) for _ in range(8)]
    rng, killed = random.Random(0), Counter()
    while killed.total() < 10:
        time.sleep(rng.uniform(0.05, 0.6))
        at = rng.randrange(8)
        assert workers[at].poll() is None, workers[at].communicate()
        trial = _trial_of(workers[at].pid)
        # a third death would end the trial: it might be what kills its workers
        if trial and killed[trial] < 2:
            workers[at].kill()
            workers[at].communicate()
            workers[at] = starts(*args)
            killed[trial] += 1
    Path("enough").touch()
    said = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 8, said
    found = trials()
    assert [trial.number for trial in found] == list(range(total))
    assert {trial.state.name for trial in found} == {"COMPLETE"}, Counter(trial.state.name for trial in found)
    assert [trial.params["x"] for trial in found] == values, "each point once"
    deaths = {str(trial.params["x"]): trial.user_attrs["run"]["deaths"] for trial in found}
    assert 1 <= sum(deaths.values()) <= 10, (
        "a kill costs one trial its worker, or none where that had just ended"
    )
    ledger = Counter(tuple(line.split()) for line in Path("ledger").read_text().splitlines())
    for x, times in deaths.items():
        assert 1 <= ledger[x, "begins"] <= 1 + times and 1 <= ledger[x, "ends"] <= ledger[x, "begins"]
        assert not ledger[x, "twice"], "two processes were in one folder"
    assert [trial.value for trial in found] == pytest.approx([1 - (x - 0.3) ** 2 for x in values], abs=1e-5)


def _trial_of(worker: int) -> str:
    """The name of the run folder of the trial that a process runs; "" where it runs none."""
    with suppress(OSError):
        for child in Path(f"/proc/{worker}/task/{worker}/children").read_text().split():
            if found := re.search("--run_folder=([^\0]+)", Path(f"/proc/{child}/cmdline").read_text()):
                return Path(found[1]).name
    return ""


# with everything real


@pytest.fixture
def small_fit(tmp_path, monkeypatch):
    """Writes fit.yaml: small trainings of dfd, with these options."""
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")

    def write_fit(rates, *options, **changes):
        told = [
            "--data.num_images=120",
            "--data.picture=64",
            "--data.view.size=32",
            "--data.view.longest=64",
            *options,
        ]
        space = {"model.optimizer.lr": {"values": rates}, "model.net.backbone.width": {"value": 8}}
        command = [
            "${env}",
            "${program}",
            "fit",
            "--config",
            "small_cnn",
            "--config",
            "overlay/smoke",
            *told,
            "${args}",
        ]
        write(name="fit.yaml", program="dfd", command=command, method="grid", parameters=space, **changes)

    return write_fit


@pytest.mark.slow
def test_trainings_of_dfd_are_trials(small_fit):
    """Of two, the second has a learning rate that no net survives; its first validation ends it."""
    told = {
        "metric": {"name": "val/loss", "goal": "minimize"},
        "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2},
    }
    small_fit([1e-3, 10.0], "--trainer.max_epochs=4", "--trainer.limit_train_batches=8", **told)
    assert main(["sweep", "fit.yaml"]) == 0
    found = trials("runs/fit")
    assert [trial.state.name for trial in found] == ["COMPLETE", "PRUNED"]
    assert len(found[0].intermediate_values) == 4 and len(found[1].intermediate_values) < 4
    for trial, lr in zip(found, (1e-3, 10.0), strict=True):
        folder = Path(f"runs/fit/{trial.number:06d}")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert (
            config["model"]["init_args"]["optimizer"]["init_args"]["lr"]
            == lr
            == trial.params["model.optimizer.lr"]
        )
        assert config["model"]["init_args"]["net"]["init_args"]["backbone"]["init_args"]["width"] == 8
        with open(folder / "metrics.csv", newline="") as table:
            values = [float(row["val/loss"]) for row in csv.DictReader(table) if row["val/loss"]]
        assert values == list(trial.intermediate_values.values()) and trial.value == min(values)
    assert "told to stop; saved as" in Path("runs/fit/000001.log").read_text(), (
        "stopped as preemption stops it"
    )
    page = Path("runs/fit/sweep.html").read_text()
    assert re.search(
        r"dfd fit --config small_cnn --config overlay/smoke .*--model\.optimizer\.lr=0\.001", page
    )
    assert "dfd test" in page and "checkpoints/best.ckpt" in page


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_training_whose_worker_is_stopped_or_killed_goes_on_in_its_folder(how, small_fit):
    small_fit([1e-3], "--trainer.max_epochs=5")
    worker = starts("fit.yaml")
    until(lambda: Path("runs/fit/000000/metrics.csv").exists())
    worker.send_signal(how)
    said, _ = worker.communicate(timeout=120)
    assert worker.returncode == (143 if how == signal.SIGTERM else -signal.SIGKILL), said
    assert main(["sweep", "fit.yaml"]) == 0
    (trial,) = trials("runs/fit")
    assert list(trial.intermediate_values) == [1, 2, 3, 4, 5], "no validation is lost, none is counted twice"
    assert trial.user_attrs["run"]["attempt"] == 2 and trial.user_attrs["run"]["deaths"] == (
        how == signal.SIGKILL
    )
    assert {path.name for path in Path("runs/fit").glob("0*")} == {"000000", "000000.log"}
    log = Path("runs/fit/000000.log").read_text()
    assert log.count("epoch 1/5  train/loss") == 1 and trial.value == max(trial.intermediate_values.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "sweep").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_shipped_sweeps_name_options_that_dfd_fit_has(path, tmp_path, capsys):
    told = load_sweep(path)
    with Lease(tmp_path / "workers") as worker:
        claim = Study(tmp_path, told, worker).claim(1)
    words = told.trial_command(claim.params, claim.folder)
    assert words[:3] == ["/usr/bin/env", "dfd", "fit"] and main([*words[2:], "--print_config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == claim.params["model.optimizer.lr"]


@pytest.mark.slow
def test_the_tasks_of_a_slurm_array_join_one_study(tmp_path, slurm, monkeypatch):
    """slurm/sweep.sbatch on a real Slurm: two tasks, of which one is taken back and requeued."""
    plan = write(parameters={**SPACE, "x": {"values": [at / 10 for at in range(10)]}}, method="grid")
    environment = {
        **slurm,
        "PATH": f"{Path(sys.executable).parent}:{slurm['PATH']}",
        "NAP": "0.5",
        "LEDGER": str(tmp_path / "ledger"),
    }
    for name in ("SBATCH_CPUS_PER_TASK", "SBATCH_GPUS_PER_NODE"):
        environment[name] = "1"
    script = str(ROOT / "slurm" / "sweep.sbatch")
    array = submit(environment, "--array=1-2", script, plan, "--study", "shared", cwd=tmp_path)
    until(lambda: Path("ledger").exists())
    while subprocess.run(
        ["scontrol", "requeue", f"{array}_2"], env=environment, stderr=subprocess.DEVNULL
    ).returncode:
        time.sleep(0.1)
    logs = "\n".join(path.read_text() for path in tmp_path.glob("slurm-*.log"))
    assert set(wait_for(environment, array).values()) == {"COMPLETED"}, logs
    assert {trial.state.name for trial in trials("shared")} == {"COMPLETE"} and len(trials("shared")) == 30
    workers = {trial.user_attrs["run"]["worker"] for trial in trials("shared")}
    assert len(workers) >= 2, "both tasks had some"
