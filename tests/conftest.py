import importlib
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads collapse when the cores are contended
os.environ.setdefault("WANDB_MODE", "offline")
# kept between runs, for the toy sets, and out of the user's own
os.environ.setdefault("DFD_CACHE", os.path.join(tempfile.gettempdir(), f"dfd-tests-{os.getuid()}"))

import pytest
import real_slurm
from forked_python import forking

import dfd  # noqa: F401  before anything that imports torchvision
from dfd.cli.logs import logs_on_stderr
from dfd.malloc import hand_back_pages

# before scikit-learn, whose Union[float, int] typing would hand to Lightning in place of its own Union[int, float]: a
# Trainer's option of 2 batches would then be read as 2.0
importlib.import_module("lightning.pytorch")

# in the background of a script pytest starts with SIGINT ignored, under nohup with SIGHUP, and so would its children
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGTERM", "SIGUSR1", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: with a file for a process at a time, none is left over at the
    end.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def messages_on_stderr() -> Iterator[None]:
    """What dfd logs, as the command line shows it."""
    with logs_on_stderr():
        yield


def _real(kind: str) -> Path:
    root = os.environ.get("DFD_REAL_DATA")
    if not root:
        pytest.skip("DFD_REAL_DATA is not set: it names the folder that holds data/ and weights/")
    return Path(root) / kind


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Excerpts of the public sets, in their layouts."""
    return _real("data")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """Pretrained weights: backbones, face detector."""
    return _real("weights")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of a real Slurm with two nodes."""
    if why := real_slurm.missing():
        pytest.skip(why)
    with real_slurm.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(scope="session", autouse=True)
def pools() -> None:
    """In a run over several processes, what starts those of dfd's pools imports once, and before it is needed, what
    all pools of pictures need; else it has what the first pool asked for, and processes of others import the rest,
    each anew.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        modules = ["__main__", "dfd.prepare.cues", "dfd.inspection.one_file", "dfd.audit.pictures"]
        multiprocessing.get_context("forkserver").set_forkserver_preload(modules)
        resource_tracker.ensure_running()
        forkserver.ensure_running()


@pytest.fixture(scope="module", autouse=True)
def freed_pages() -> Iterator[None]:
    """What a file's fits have freed goes back: `dfd fit` keeps it, and a process of tests grew to 4 GB."""
    yield
    hand_back_pages()


@pytest.fixture(scope="session")
def forked() -> Iterator[list[str]]:
    """What to write in place of sys.executable: a Python that is forked from one that has imported torch and dfd,
    see forked_python.py for what differs.
    """
    # wandb asks for its variables as it is imported, and they are each test's own
    with forking({name: value for name, value in os.environ.items() if "WANDB" not in name}) as command:
        yield command


@pytest.fixture(scope="session")
def toy_shards(tmp_path_factory) -> Path:
    """Finished shards of 36 drawings of 64 px; not to be changed."""
    from dfd.synthetic import make_toy

    return make_toy(tmp_path_factory.mktemp("toy") / "shards", 36, size=64, workers=1)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """The folder of a finished fit of two steps; not to be changed."""
    from small import small_fit

    return small_fit(tmp_path_factory.mktemp("small"))
