"""Shards in a bucket of a real object store on the loopback address (moto's server, a process of its own)."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dfd.cli import main
from dfd.data import ShardDataModule, View
from dfd.data.cache import Cache
from dfd.data.fetch import FetchError
from dfd.data.synthetic import make_toy

pytestmark = pytest.mark.slow
NUM = 180
STORE = {"AWS_ACCESS_KEY_ID": "dfd", "AWS_SECRET_ACCESS_KEY": "dfd", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfd.data.made.SHARD_IMAGES", 20)
        return make_toy(tmp_path_factory.mktemp("toy") / "toy", NUM, size=96, workers=2)


@pytest.fixture(scope="module")
def bucket(toy, tmp_path_factory):
    """s3://faces/toy/ in a running store, and the environment that leads there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = open(tmp_path_factory.mktemp("store") / "log", "w")  # noqa: SIM115  of a process that outlives this line
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**STORE, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
            patch.setenv(name, value)
        import botocore.session

        client = botocore.session.get_session().create_client("s3")
        deadline = time.monotonic() + 60
        while True:
            try:
                client.create_bucket(Bucket="faces")
                break
            except Exception:
                assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
                time.sleep(0.2)
        for file in toy.iterdir():
            client.put_object(Bucket="faces", Key=f"toy/{file.name}", Body=file.read_bytes())
        try:
            yield "s3://faces/toy"
        finally:
            process.kill()
            process.wait()
            log.close()


def rows_and_pixels(data):
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader()
    return [(batch["row"].tolist(), int(batch["image"].sum())) for loader in loaders for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bucket_is_read_as_a_folder_is(bucket, toy, tmp_path, workers):
    options = {"view": View(size=64, longest=96), "batch_size": 16, "window": 3, "num_workers": workers}
    far = ShardDataModule(bucket, cache=Cache(str(tmp_path / "cache")), **options)
    assert rows_and_pixels(far) == rows_and_pixels(ShardDataModule(str(toy), **options))
    assert not list((tmp_path / "cache").glob("*.part"))


def test_what_a_store_refuses_is_said(bucket, tmp_path):
    cache = Cache(str(tmp_path / "cache"), patience=2)
    with pytest.raises(FetchError, match=r"s3://faces/nowhere/index.json is not there"):
        ShardDataModule("s3://faces/nowhere", cache=cache).setup("fit")
    with pytest.raises(FetchError, match=r"s3://nobodys/toy/index.json is not there"):
        ShardDataModule("s3://nobodys/toy", cache=cache).setup("fit")


FIT = [
    "fit", "--config", "small_cnn", "--config", "overlay/ddp.yaml", "--data", "dfd.data.ShardDataModule", "--data.view.size=64",
    "--data.view.longest=96", "--data.view.crops=1", "--data.window=2", "--data.num_workers=2", "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu", "--trainer.limit_val_batches=1.0",
]  # fmt: skip


def test_two_ranks_learn_from_a_bucket_what_they_learn_from_a_folder(bucket, toy, tmp_path, monkeypatch, capfd):
    weights = []
    for name, root in (("near", str(toy)), ("far", bucket)):
        environment = {**os.environ, "DFD_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "disabled"}
        command = [sys.executable, "-m", "dfd.cli", *FIT, f"--data.roots={root}", "--run_folder", name]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        weights.append(torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    near, far = weights
    assert near.keys() == far.keys() and all(torch.equal(near[name], far[name]) for name in near)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    assert main(["test", "far/checkpoints/last.ckpt"]) == 0, capfd.readouterr()
    assert "test split of s3://faces/toy" in capfd.readouterr().out
