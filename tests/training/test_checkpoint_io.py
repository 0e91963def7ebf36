import errno
import os
import random
import signal
import time
from itertools import count
from pathlib import Path

import lightning.fabric.plugins.io.torch_io
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

import dfd.durable
import dfd.models.seal
import dfd.training.checkpoint_io
from dfd.durable import TEMPORARY
from dfd.models.seal import previous
from dfd.training.checkpoint_io import DurableCheckpointIO

SIZE = 50_000  # floats: enough for several writes


def checkpoint(step: int) -> dict:
    return {"step": step, "state_dict": {"weight": torch.full((SIZE,), float(step))}}


def step_of(path: Path) -> int:
    """Of a whole checkpoint; raises for a damaged one."""
    found = DurableCheckpointIO().load_checkpoint(path)
    assert (found["state_dict"]["weight"] == found["step"]).all()
    return found["step"]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def last(tmp_path):
    return tmp_path / "checkpoints" / "last.ckpt"


def test_the_newest_two_are_kept(last):
    io = DurableCheckpointIO()
    for step in range(4):
        io.save_checkpoint(checkpoint(step), str(last))
        assert step_of(last) == step
        assert names(last.parent) == ({"last.ckpt", "last-previous.ckpt"} if step else {"last.ckpt"})
        assert not step or step_of(previous(last)) == step - 1
    assert os.stat(last).st_nlink == os.stat(previous(last)).st_nlink == 1


def cut(last: Path, calls: int) -> bool:
    """Saves step 2 over step 1 in a process that dies before its call number `calls` to the disk; True if it
    dies at all.
    """
    if (child := os.fork()) == 0:
        left = [calls]

        def deadly(function):
            def call(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for name in ("link", "replace", "fsync", "unlink", "open"):
            setattr(os, name, deadly(getattr(os, name)))
        dfd.models.seal._Hashed.write = deadly(dfd.models.seal._Hashed.write)
        Path.unlink = deadly(Path.unlink)
        DurableCheckpointIO().save_checkpoint(checkpoint(2), last)
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_a_whole_checkpoint(last):
    seen, calls, dies = set(), 0, True
    while dies:
        io = DurableCheckpointIO()
        for step in (0, 1):
            io.save_checkpoint(checkpoint(step), last)
        dies = cut(last, calls)
        newest, before = step_of(last), step_of(previous(last))  # both are whole at every cut
        assert (newest, before) in {(1, 0), (2, 0), (2, 1)}
        seen.add((newest, before))
        io.save_checkpoint(checkpoint(3), last)
        assert names(last.parent) == {"last.ckpt", "last-previous.ckpt"}, "what the kill left is swept away"
        assert (step_of(last), step_of(previous(last))) == (3, newest)
        calls += 1
    assert calls > 15 and seen == {(1, 0), (2, 0), (2, 1)}


@pytest.mark.slow
def test_a_first_save_that_is_killed_leaves_nothing_that_is_taken_for_a_checkpoint(last):
    for calls in count():
        dies = cut(last, calls)
        for path in last.parent.glob("*.ckpt") if last.parent.exists() else ():
            assert step_of(path) == 2
            path.unlink()
        if not dies:
            break
    assert calls > 15


@pytest.mark.slow
def test_kills_at_random_moments(last):
    draw, newest = random.Random(0), -1
    for _ in range(20):
        told, tell = os.pipe()
        if (child := os.fork()) == 0:
            io, step = DurableCheckpointIO(), newest
            while True:
                step += 1
                io.save_checkpoint(checkpoint(step), last)
                os.write(tell, step.to_bytes(4, "big"))
        os.close(tell)
        saved = [int.from_bytes(os.read(told, 4), "big")]  # killed some time after its first save
        time.sleep(draw.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while said := os.read(told, 4):
            saved.append(int.from_bytes(said, "big"))
        os.close(told)
        newest = step_of(last)
        assert newest in (saved[-1], saved[-1] + 1)
        assert not previous(last).exists() or step_of(previous(last)) < newest
        assert len(list(last.parent.glob(f"*{TEMPORARY}*"))) <= 2


def test_a_damaged_checkpoint_does_not_drive_out_the_one_before_it(last):
    io = DurableCheckpointIO()
    for step in (0, 1):
        io.save_checkpoint(checkpoint(step), last)
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"is incomplete.*or use .*last-previous\.ckpt"):
        step_of(last)
    DurableCheckpointIO().save_checkpoint(checkpoint(2), last)  # another process, which knows nothing of it
    assert (step_of(last), step_of(previous(last))) == (2, 0)


def test_a_file_system_without_links_gets_a_copy(last, monkeypatch):
    def refused(*args, **kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    io = DurableCheckpointIO()
    for step in (0, 1, 2):
        io.save_checkpoint(checkpoint(step), last)
    assert (step_of(last), step_of(previous(last))) == (2, 1) and len(names(last.parent)) == 2


def test_a_file_system_that_cannot_sync_folders_is_good_enough_and_one_that_fails_is_not(last, monkeypatch):
    sync, fault = os.fsync, errno.EINVAL

    def fsync(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(fault, os.strerror(fault))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    io = DurableCheckpointIO()
    io.save_checkpoint(checkpoint(0), last)
    fault = errno.EIO
    with pytest.raises(OSError, match=r"no checkpoint saved: Input/output error\. .*last\.ckpt is"):
        io.save_checkpoint(checkpoint(1), last)


@pytest.mark.parametrize("call", range(1, 30))
def test_a_disk_that_fails_leaves_what_was_there(last, monkeypatch, call):
    """ENOSPC at each write, sync and rename in turn."""
    io = DurableCheckpointIO()
    for step in (0, 1):
        io.save_checkpoint(checkpoint(step), last)
    left = [call]

    def failing(function):
        def full(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args, **kwargs)

        return full

    monkeypatch.setattr(dfd.training.checkpoint_io, "_link", failing(dfd.training.checkpoint_io._link))
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    inner = dfd.models.seal._Hashed.__init__

    def init(self, file):
        inner(self, file)
        self.file = type("Full", (), {"write": staticmethod(failing(file.write)), "flush": file.flush})

    monkeypatch.setattr(dfd.models.seal._Hashed, "__init__", init)
    try:
        io.save_checkpoint(checkpoint(2), last)
    except OSError as error:
        assert "no checkpoint saved: no space left for" in str(error) and f"{last} is whole" in str(error)
    monkeypatch.undo()
    assert (step_of(last), step_of(previous(last))) in {(1, 0), (2, 0), (2, 1)}
    assert names(last.parent) == {"last.ckpt", "last-previous.ckpt"}, "nothing half-written is left"


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(OSError, match=r"no checkpoint saved: .* a file is in the way"):
        DurableCheckpointIO().save_checkpoint(checkpoint(0), tmp_path / "checkpoints" / "last.ckpt")


def test_a_state_that_could_not_be_read_again_is_refused(last):
    io = DurableCheckpointIO()
    with pytest.raises(ValueError, match=r"it holds a numpy\S+scalar\. Let callbacks"):
        io.save_checkpoint({"callbacks": {"best": np.float64(1)}}, last)
    assert names(last.parent) == set()
    io.save_checkpoint(checkpoint(0), last)
    assert step_of(last) == 0


def test_only_weights_are_loaded(last):
    class Trap:
        def __reduce__(self):
            return (print, ("sprung",))

    last.parent.mkdir()
    torch.save({"trap": Trap()}, last)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        DurableCheckpointIO().load_checkpoint(last)
    with pytest.raises(ValueError, match="weights_only=False would run"):
        DurableCheckpointIO().load_checkpoint(last, weights_only=False)


def test_urls_and_options_are_refused(last):
    io = DurableCheckpointIO()
    with pytest.raises(ValueError, match=r"s3://bucket/last.ckpt: .*local or mounted folder"):
        io.save_checkpoint(checkpoint(0), "s3://bucket/last.ckpt")
    with pytest.raises(ValueError, match="storage_options"):
        io.save_checkpoint(checkpoint(0), last, storage_options={"a": 1})


def test_removing_takes_everything_along(last):
    io = DurableCheckpointIO()
    for step in (0, 1):
        io.save_checkpoint(checkpoint(step), last)
    last.with_name(f"last.ckpt{TEMPORARY}0123abcd").touch()
    other = last.with_name("last-v1.ckpt")
    io.save_checkpoint(checkpoint(5), other)
    io.remove_checkpoint(last)
    assert names(last.parent) == {"last-v1.ckpt"}
    io.remove_checkpoint(last)  # nothing is there
    sharded = last.parent / "sharded.ckpt"
    sharded.mkdir()
    (sharded / "part").touch()
    io.remove_checkpoint(sharded)
    assert names(last.parent) == {"last-v1.ckpt"}


def test_only_what_is_called_a_checkpoint_is_removed(last, tmp_path):
    """Which file is the oldest best is read from a checkpoint, and that may be a stranger's."""
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "thesis.docx").write_text("years")
    (thesis / "other.ckpt").write_text("another run's")
    for named in (thesis, thesis / "thesis.docx", last.parent / ".." / "thesis" / "other.ckpt", Path("~")):
        with pytest.warns(UserWarning, match="is not removed"):
            DurableCheckpointIO().remove_checkpoint(named)
    assert names(thesis) == {"thesis.docx", "other.ckpt"}


def test_a_checkpoint_that_cannot_be_removed_is_a_warning(last, monkeypatch):
    DurableCheckpointIO().save_checkpoint(checkpoint(0), last)

    def refused(*args, **kwargs):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.warns(UserWarning, match="cannot be removed: Permission denied"):
        DurableCheckpointIO().remove_checkpoint(last)


class Tiny(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).mean()
        self.log("loss", torch.tensor(-float(self.global_step)))  # each epoch is the best so far
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(folder: Path, io: DurableCheckpointIO, epochs: int, ckpt_path: str | None = None) -> Trainer:
    best = ModelCheckpoint(folder, "{epoch}", monitor="loss", save_top_k=2)
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=[best, last], plugins=[io], logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Tiny(), torch.utils.data.DataLoader(torch.ones(2, 1)), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_in_a_notebook_takes_it_as_a_plugin(tmp_path, monkeypatch):
    def unsafe(*args):
        raise AssertionError("Lightning's own writer was used")

    monkeypatch.setattr(lightning.fabric.plugins.io.torch_io, "_atomic_save", unsafe)
    fit(tmp_path, DurableCheckpointIO(), 4)
    assert names(tmp_path) == {"epoch=2.ckpt", "epoch=3.ckpt", "last.ckpt", "last-previous.ckpt"}
    trainer = fit(tmp_path, DurableCheckpointIO(), 5, ckpt_path=str(previous(tmp_path / "last.ckpt")))
    assert trainer.current_epoch == 5 and trainer.global_step == 10
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"is damaged.*last-previous\.ckpt"):
        fit(tmp_path, DurableCheckpointIO(), 6, ckpt_path=str(tmp_path / "last.ckpt"))
