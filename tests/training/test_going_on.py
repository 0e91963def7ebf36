"""From which checkpoint a fit goes on, and how it ends when it cannot save one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from ranks import dfd as forked
from small import SMALL

import dfd
from dfd import run_record
from dfd.cli import main
from dfd.models.seal import previous, save_sealed
from dfd.synthetic import make_toy
from dfd.training.checkpoint_io import DurableCheckpointIO
from dfd.training.resume import resumable, whole

FIT = ["fit", "--config", "small_cnn", "--config", "overlay/smoke", *SMALL, "--run_folder", "run"]
LAST = Path("run/checkpoints/last.ckpt")


def save(path: Path, step: int, **more) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_sealed(
        {"state_dict": {}, "dfd": {}, "global_step": step, "loops": {}, "optimizer_states": [], **more}, path
    )
    return path


def damage(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.usefixtures("messages_on_stderr")
def test_the_furthest_whole_checkpoint_is_the_one_to_go_on_from(tmp_path, capsys):
    assert resumable(tmp_path / "checkpoints") is None
    last, before = save(tmp_path / "last.ckpt", 30), save(tmp_path / "last-previous.ckpt", 20)
    best = save(tmp_path / "best.ckpt", 10)
    os.utime(last, (0, 0))  # a copied folder has any times
    assert resumable(tmp_path) == last and capsys.readouterr().err == ""
    damage(last)
    assert resumable(tmp_path) == before
    assert f"WARNING: {last} is damaged: its sha256 is " in capsys.readouterr().err
    before.write_bytes(before.read_bytes()[:100])
    assert resumable(tmp_path) == best
    damage(best)
    with pytest.raises(
        ValueError,
        match=r"(?s)no whole checkpoint.*--run_folder.*best\.ckpt is damaged.*previous\.ckpt is incomplete",
    ):
        resumable(tmp_path)


def test_of_one_step_the_last_is_taken_and_weights_alone_never(tmp_path):
    last, best = save(tmp_path / "last.ckpt", 30), save(tmp_path / "best.ckpt", 30)
    os.utime(best, (2e9, 2e9))
    assert resumable(tmp_path) == last
    last.unlink(), best.unlink()
    torch.save({"state_dict": {}, "dfd": {}, "loops": {}, "global_step": 3}, best)  # by save_weights_only
    (tmp_path / "last.ckpt.part-1234").touch()
    (tmp_path / "sharded.ckpt").mkdir()
    assert resumable(tmp_path) is None


@pytest.mark.usefixtures("messages_on_stderr")
def test_a_named_checkpoint_that_is_damaged_gives_way_to_the_one_before_it(tmp_path, capsys):
    last = save(tmp_path / "last.ckpt", 30)
    assert whole(last) == last
    damage(last)
    with pytest.raises(ValueError, match=r"is damaged.*Copy it again from where it came"):
        whole(last)
    before = save(previous(last), 20)
    assert whole(last) == before
    said = capsys.readouterr().err
    assert f"{last} is damaged" in said
    assert (
        "last-previous.ckpt beside it, which was saved before it. The run goes on from last-previous.ckpt."
        in said
    )
    damage(before)
    with pytest.raises(ValueError, match=r"(?s)last\.ckpt is damaged.*last-previous\.ckpt is damaged"):
        whole(last)
    with pytest.raises(ValueError, match="There is no checkpoint"):
        whole(tmp_path / "gone.ckpt")


# whole runs


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(cache, tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(cache))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(Path(dfd.__file__).parents[1]))
    return tmp_path


def step_of(path: Path) -> int:
    return DurableCheckpointIO().load_checkpoint(path)["global_step"]


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before(here, capsys):
    whole_epochs = [*FIT, "--trainer.limit_train_batches=1.0", "--model.net.backbone.width=8"]
    assert main([*whole_epochs, "--trainer.max_epochs=2"]) == 0
    per_epoch = step_of(LAST) // 2
    assert step_of(previous(LAST)) == per_epoch and not list(LAST.parent.glob("*.part-*"))
    damage(LAST)
    Path("run/summary.yaml").unlink()  # as if it had been killed
    capsys.readouterr()
    assert main([*whole_epochs, "--trainer.max_epochs=3"]) == 0
    said = capsys.readouterr()
    assert f"WARNING: {LAST.absolute()} is damaged" in said.err
    assert step_of(LAST) == 3 * per_epoch and step_of(previous(LAST)) == 2 * per_epoch
    damage(LAST)
    assert main([*whole_epochs, "--trainer.max_epochs=3", f"--ckpt_path={LAST}", "--run_folder=other"]) == 0
    assert f"{LAST} is damaged" in capsys.readouterr().err
    assert step_of(Path("other/checkpoints/last.ckpt")) == 3 * per_epoch
    # judging takes no other file in its place
    assert main(["test", str(LAST)]) == 1
    said = capsys.readouterr().err
    assert (
        f"dfd test: {LAST} is damaged: its sha256 is " in said
        and "or use last-previous.ckpt beside it" in said
    )
    assert len(said.strip().splitlines()) == 1


def test_folders_that_are_none_and_unsafe_reading_are_refused_before_training(here, capsys):
    last = "--trainer.callbacks.dirpath"
    for args, words in (
        (
            [f"{last}=memory://bucket/run"],
            "memory://bucket/run: checkpoints are written to a local or mounted folder",
        ),
        ([f"{last}=taken/checkpoints"], "cannot be a folder: a file is in the way"),
        (["--weights_only=false"], "weights_only=False would run"),
    ):
        Path("taken").touch()
        callback = (
            ["--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint"]
            if "--trainer" in args[0]
            else []
        )
        assert main([*FIT, *callback, *args]) == 1
        assert words in capsys.readouterr().err
        assert not LAST.parent.exists()


def unfinished(epochs: int = 1, *options: str) -> None:
    """A run that was killed behind its first epochs."""
    assert main([*FIT, *options, f"--trainer.max_epochs={epochs}"]) == 0
    Path("run/summary.yaml").unlink()


def fails(capsys, args: list[str]) -> str:
    capsys.readouterr()
    assert main(args) == 1
    # toy faces that are drawn
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Dr")]
    assert len(said) == 1
    return said[0]


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_data_or_in_another_order(here, capsys):
    unfinished()
    two = [*FIT, "--trainer.max_epochs=2"]
    said = fails(capsys, [*two, "--data.num_images=48"])
    assert (
        "has other contents" in said
        and "train-000000.tar" in said
        and "train anew in another run folder" in said
    )
    said = fails(capsys, [*two, "--data.batch_size=6", "--data.seed=3", "--trainer.limit_train_batches=1"])
    assert (
        "data.batch_size is 6, was 8" in said
        and "data.seed is 3, was 0" in said
        and "limit_train_batches is 1, was 2" in said
    )
    saved = LAST.read_bytes()
    said = fails(capsys, [*two, "--data=dfd.data.ShardDataModule", "--data.roots=elsewhere"])
    assert "was trained with data dfd.data.ToyDataModule, this run has dfd.data.ShardDataModule" in said
    assert LAST.read_bytes() == saved
    assert main(two) == 0 and step_of(LAST) == 4


@pytest.mark.slow
def test_data_that_moved_are_the_same_data_and_a_changed_table_is_none(here, capsys):
    toy = make_toy(here / "one", num_images=36, size=64)
    data = [
        "--data=dfd.data.ShardDataModule",
        "--data.batch_size=8",
        "--data.num_workers=0",
        "--data.view.size=32",
    ]
    fit = [
        "fit",
        "--config",
        "small_cnn",
        "--config",
        "overlay/smoke",
        *data,
        "--data.view.longest=64",
        "--run_folder=run",
    ]
    assert main([*fit, "--data.roots=one"]) == 0
    Path("run/summary.yaml").unlink()
    toy.rename("two")
    more = [*fit, "--trainer.max_epochs=2", "--data.roots=two"]
    table = pq.read_table("two/samples.parquet")
    position = table.schema.get_field_index("label")
    pq.write_table(
        table.set_column(position, "label", pc.subtract(pa.scalar(1, pa.int8()), table["label"])),
        "two/samples.parquet",
    )
    assert "their table is not: labels, splits or order changed" in fails(capsys, more)
    pq.write_table(table, "two/samples.parquet")
    assert main(more) == 0 and step_of(LAST) == 4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_run_folder_that_was_moved_goes_on_with_its_own_best(here, how):
    unfinished()
    best = torch.load("run/checkpoints/best.ckpt", weights_only=True)
    state = next(
        state
        for state in torch.load(LAST, weights_only=True)["callbacks"].values()
        if state.get("monitor") == "val/auroc"
    )
    # as if the first epoch had been as good as can be: nothing later is better
    checkpoint = torch.load(LAST, weights_only=True)
    for each in checkpoint["callbacks"].values():
        if each.get("monitor") == "val/auroc" and "best_k_models" in each:
            each["best_model_score"], each["best_k_models"] = (
                torch.tensor(2.0),
                {state["best_model_path"]: torch.tensor(2.0)},
            )
            each["kth_value"] = torch.tensor(2.0)
    save_sealed(checkpoint, LAST)
    shutil.copytree("run", "other")
    if how == "moved":
        shutil.rmtree("run")
    assert main([*FIT[:-1], "other", "--trainer.max_epochs=2"]) == 0
    kept = torch.load("other/checkpoints/best.ckpt", weights_only=True)
    assert kept["global_step"] == best["global_step"] == 2
    summary = yaml.safe_load(Path("other/summary.yaml").read_text())
    assert summary["best val/auroc"] == 2.0 and summary["best checkpoint"] == "other/checkpoints/best.ckpt"


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_seed(here, capsys):
    unfinished()
    said = fails(capsys, [*FIT, "--trainer.max_epochs=2", "--seed_everything=5"])
    assert "seed_everything is 5, was 0 when the checkpoint was made" in said


def held_by_another(path: Path) -> None:
    raise BlockingIOError


@pytest.mark.slow
def test_a_refused_start_leaves_what_the_run_said_of_itself(here, capsys, monkeypatch):
    unfinished()
    run_record.note(Path("run"), state="stopped", reason="stopped by trainer.max_time")
    record, config = run_record.read(Path("run")), Path("run/config.yaml").read_bytes()
    for wrong in ("--data.seed=7", "--data.batch_size=500", "--model.net.backbone.width=64"):
        fails(capsys, [*FIT, "--trainer.max_epochs=2", wrong])
        assert run_record.read(Path("run")) == record and Path("run/config.yaml").read_bytes() == config
    run_record.note(Path("run"), state="running")  # by another process
    running = run_record.read(Path("run"))
    monkeypatch.setattr("dfd.training.run_folder.take", held_by_another)
    assert "another dfd fit" in fails(capsys, FIT)
    assert run_record.read(Path("run")) == running


@pytest.mark.slow
def test_one_fit_at_a_time_in_a_folder_and_ctrl_c_says_how_to_go_on(here):
    endless = [
        "--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint",
        "--trainer.callbacks.filename=last",
    ]
    command = [sys.executable, "-m", "dfd.cli", *FIT, "--trainer.max_epochs=-1", *endless]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 90
        while not LAST.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert (
            second.returncode == 1
            and f"another dfd fit (pid {first.pid} on " in second.stderr
            and LAST.exists()
        )
        first.send_signal(signal.SIGINT)
        said, complaint = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 130 and "interrupted" in complaint and "Traceback" not in complaint
    assert "from the last checkpoint it goes on by: dfd fit" in said and "--run_folder" in said


def group_of(path: Path) -> dict:
    return DurableCheckpointIO().load_checkpoint(path)["optimizer_states"][0]["param_groups"][0]


@pytest.mark.slow
def test_what_the_command_line_says_of_the_optimizer_beats_the_checkpoint_and_is_said(here, capsys):
    unfinished()
    before = group_of(LAST)
    assert main([*FIT, "--trainer.max_epochs=2", "--ckpt_path", str(LAST), "--run_folder=same"]) == 0
    assert "other settings" not in capsys.readouterr().out
    same = group_of(Path("same/checkpoints/last.ckpt"))
    changed = [
        "--model.optimizer.lr=0.0123",
        "--model.optimizer.weight_decay=0.5",
        "--model.label_smoothing=0.1",
    ]
    assert main([*FIT, "--trainer.max_epochs=2", *changed]) == 0
    said = capsys.readouterr().out
    assert "model.optimizer.lr is 0.0123, was 0.001;" in said
    assert (
        "model.optimizer.weight_decay is 0.5, was 0.05" in said
        and "model.label_smoothing is 0.1, was 0.0" in said
    )
    assert "The schedule is rescaled to it." in said
    after = group_of(LAST)
    assert after["weight_decay"] == 0.5 and same["weight_decay"] == before["weight_decay"]
    assert after["lr"] / 0.0123 == pytest.approx(same["lr"] / 0.001), (
        "the same share of the peak, at the same step"
    )
    said = fails(
        capsys,
        [
            *FIT,
            "--trainer.max_epochs=3",
            "--ckpt_path",
            str(LAST),
            "--run_folder=sgd",
            "--model.optimizer=SGD",
        ],
    )
    assert "was trained with optimizer torch.optim.AdamW, this run has torch.optim.SGD" in said


@pytest.fixture
def disk(here):
    """A folder on a file system of 48 MB."""
    folder = here / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def full(disk: Path, leave: int) -> Iterator[None]:
    """So many bytes are left."""
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(free.f_bavail * free.f_bsize - leave))
    yield
    (disk / "filler").unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """For root too."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    yield
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_or_an_unwritable_folder_ends_the_run_and_costs_no_checkpoint(here, disk, ranks):
    """On a real file system, with one process, and with two that must both end."""
    options = ["--config", "overlay/ddp"] if ranks == 2 else []
    # a checkpoint of some megabytes
    options += ["--model.net.backbone.width=40", "--trainer.limit_train_batches=1.0"]
    run = [*FIT[:-1], str(disk / "run"), *options]

    def fit(epochs: int, code: int = 0) -> str:
        command = [*run, f"--trainer.max_epochs={epochs}"]
        if ranks == 1:
            return forked(*command, cwd=here, code=code)
        # the second rank ends by whoever started it: here dfd fit itself
        done = subprocess.run(
            [sys.executable, "-m", "dfd.cli", *command], capture_output=True, text=True, timeout=500
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    fit(1)
    (disk / "run/summary.yaml").unlink()  # as if it had been killed
    last = disk / "run/checkpoints/last.ckpt"
    last.with_name("best.ckpt").unlink()
    steps, before = step_of(last), last.stat()
    for trouble, words in (
        (
            full(disk, leave=before.st_size // 2),
            f"no checkpoint saved: no space left for {last.parent}. Free some",
        ),
        (read_only(last.parent), f"{last.parent} cannot be written (Read-only file system)"),
    ):
        with trouble:
            said = fit(2, code=1)
        assert said.count(words) == 1 and "Traceback" not in said, said
        assert step_of(last) == steps and last.stat().st_ino == before.st_ino
        assert {path.name for path in last.parent.iterdir()} == {"last.ckpt"}
    fit(2)
    assert step_of(last) == 2 * steps and step_of(previous(last)) == steps


@pytest.mark.slow
def test_a_run_that_was_cut_after_its_last_epoch_lacks_only_its_summary(here, capsys):
    assert main(FIT) == 0
    summary, table = Path("run/summary.yaml").read_text(), Path("run/metrics.csv").read_text()
    Path("run/summary.yaml").unlink()
    weights = LAST.read_bytes()
    capsys.readouterr()
    assert main(FIT) == 0
    assert "goes on from run/checkpoints/last.ckpt" in capsys.readouterr().out
    assert Path("run/metrics.csv").read_text() == table and LAST.read_bytes() == weights
    # which takes the verdicts of the epoch that is best
    kept = [line for line in summary.splitlines() if "interval" not in line]
    assert Path("run/summary.yaml").read_text().splitlines() == kept


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"step\n1\n",
        b"\x89PNG\r\n\x1a\n\x00\xff",
        b"epoch,step\n0,first\n",
    ],
)
def test_a_metrics_csv_that_another_program_wrote_is_named_and_kept(here, capsys, content):
    table = Path("run/metrics.csv")
    table.parent.mkdir()
    run_record.begin(table.parent, FIT)
    table.write_bytes(content)
    assert main(FIT) == 1
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and "run/metrics.csv is no table of dfd's" in said
    assert table.read_bytes() == content and not LAST.exists()


@pytest.mark.slow
def test_a_best_checkpoint_that_was_damaged_does_not_stop_the_end_of_a_run(here, capsys):
    assert main([*FIT, "--trainer.max_epochs=2"]) == 0
    best = Path("run/checkpoints/best.ckpt")
    for content in (best.read_bytes()[:999], b""):
        Path("run/summary.yaml").unlink()
        previous(best).unlink(missing_ok=True)
        best.write_bytes(content)
        assert main([*FIT, "--trainer.max_epochs=2"]) == 0
        facts = yaml.safe_load(Path("run/summary.yaml").read_text())
        assert "best.ckpt is lost" not in facts and facts["last checkpoint"] == "run/checkpoints/last.ckpt"
    assert "the best checkpoint is lost" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", ["damaged", "gone", "damaged, with the one before it"])
def test_a_run_that_goes_on_without_its_best_checkpoint_has_the_best_of_what_remains(here, capsys, how):
    unfinished()
    best = Path("run/checkpoints/best.ckpt")
    if "before" in how:
        checkpoint = torch.load(best, weights_only=True)
        for each in checkpoint["callbacks"].values():  # as if nothing later were better
            if each.get("monitor") == "val/auroc" and "best_k_models" in each:
                each["best_model_score"] = each["kth_value"] = torch.tensor(2.0)
                each["best_k_models"] = {each["best_model_path"]: torch.tensor(2.0)}
        save_sealed(checkpoint, previous(best))
    best.unlink() if how == "gone" else best.write_bytes(best.read_bytes()[:999])
    assert main([*FIT, "--trainer.max_epochs=2"]) == 0
    assert "the best checkpoint is lost" in capsys.readouterr().err
    kept = torch.load(best, weights_only=True)
    facts = yaml.safe_load(Path("run/summary.yaml").read_text())
    assert facts["best checkpoint"] == "run/checkpoints/best.ckpt" and "chosen after" in facts
    assert facts["verdicts"].startswith('"fake" is never said: it takes at least')
    assert kept["global_step"] == (2 if "before" in how else 4)
