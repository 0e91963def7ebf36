"""Shards in buckets of object stores on the loopback address: moto's server for S3, gcp-storage-emulator for
Google's.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import torch
from ranks import dfd

from dfd.cli import main
from dfd.data import ShardDataModule, View
from dfd.shards.cache import Cache
from dfd.shards.fetch import FetchError
from dfd.synthetic import make_toy

pytestmark = pytest.mark.slow
NUM = 180
S3 = {"AWS_ACCESS_KEY_ID": "dfd", "AWS_SECRET_ACCESS_KEY": "dfd", "AWS_DEFAULT_REGION": "us-east-1"}
# gcsfs asks about each bucket by gRPC unless told otherwise, which the emulator does not speak
GS = {"FSSPEC_GS_TOKEN": "anon", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfd.shards.samples.SHARD_IMAGES", 20)
        return make_toy(tmp_path_factory.mktemp("toy") / "toy", NUM, size=96, workers=2)


@contextmanager
def running(command: list[str], log: Path, answers: Callable[[], object]) -> Iterator[None]:
    """A server for as long as the block takes, from the moment when it answers."""
    with open(log, "w") as said:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                answers()
                break
            except Exception:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def s3(toy, tmp_path_factory):
    """s3://faces/toy/ in a running store, and the environment that leads there."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**S3, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
            patch.setenv(name, value)
        import botocore.session

        client = botocore.session.get_session().create_client("s3")
        command = ["moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with running(
            command, tmp_path_factory.mktemp("s3") / "log", lambda: client.create_bucket(Bucket="faces")
        ):
            for file in toy.iterdir():
                client.put_object(Bucket="faces", Key=f"toy/{file.name}", Body=file.read_bytes())
            yield "s3://faces/toy"


@pytest.fixture(scope="module")
def gs(toy, tmp_path_factory):
    """gs://faces/toy/, likewise."""
    site = f"http://127.0.0.1:{free_port()}"

    def send(place: str, body: bytes, kind: str = "application/octet-stream") -> None:
        urlopen(Request(site + place, body, {"Content-Type": kind}), timeout=10).close()

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**GS, "STORAGE_EMULATOR_HOST": site}.items():
            patch.setenv(name, value)
        command = [
            "gcp_storage_emulator",
            "start",
            "--host=127.0.0.1",
            f"--port={site.rpartition(':')[2]}",
            "--in-memory",
        ]
        faces = json.dumps({"name": "faces"}).encode()
        made = partial(send, "/storage/v1/b?project=dfd", faces, "application/json")
        with running(command, tmp_path_factory.mktemp("gs") / "log", made):
            for file in toy.iterdir():
                send(f"/upload/storage/v1/b/faces/o?uploadType=media&name=toy/{file.name}", file.read_bytes())
            yield "gs://faces/toy"


@pytest.fixture(scope="module", params=["s3", "gs"])
def bucket(request):
    return request.getfixturevalue(request.param)


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
    for wrong in (bucket.replace("toy", "nowhere"), bucket.replace("faces", "nobodys")):
        with pytest.raises(FetchError, match=rf"{wrong}/index.json is not there"):
            ShardDataModule(wrong, cache=cache).setup("fit")


FIT = [
    "fit", "--config", "small_cnn", "--config", "overlay/ddp.yaml", "--data", "dfd.data.ShardDataModule",
    "--data.view.size=64", "--data.view.longest=96", "--data.view.crops=1", "--data.window=2",
    "--data.num_workers=2", "--trainer.max_epochs=1", "--trainer.limit_val_batches=1.0",
]  # fmt: skip


def test_two_ranks_learn_from_a_bucket_what_they_learn_from_a_folder(
    bucket, toy, tmp_path, monkeypatch, capfd
):
    weights = []
    for name, root in (("near", str(toy)), ("far", bucket)):
        environment = {"DFD_CACHE": str(tmp_path / "cache"), "WANDB_MODE": "disabled"}
        dfd(
            *FIT,
            f"--data.roots={root}",
            "--run_folder",
            name,
            cwd=tmp_path,
            world=2,
            timeout=300,
            **environment,
        )
        weights.append(
            torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        )
    near, far = weights
    assert near.keys() == far.keys() and all(torch.equal(near[name], far[name]) for name in near)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    assert main(["test", "far/checkpoints/last.ckpt"]) == 1  # a file chooses no address
    assert "--data.roots=ADDRESS" in capfd.readouterr().err
    assert main(["test", "far/checkpoints/last.ckpt", f"--data.roots={bucket}"]) == 0, capfd.readouterr()
    assert f"test split of {bucket}" in capfd.readouterr().out
