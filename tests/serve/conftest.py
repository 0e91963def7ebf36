import shutil

import browser
import pytest
from serving import save_detector
from starlette.testclient import TestClient

from dfd.serve.app import make_app
from dfd.serve.guards import known_hosts
from dfd.serve.jobs import Setup
from dfd.serve.limits import Limits
from dfd.serve.metrics import Metrics
from dfd.serve.pool import WorkerPool
from dfd.serve.service import Service

LIMITS = Limits(max_bytes=200_000, max_files=6, seconds=20, memory=1000)


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("served") / "best.ckpt")


@pytest.fixture(scope="module")
def chromium():
    """A browser, driven by playwright."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if why := browser.missing():
        pytest.skip(why)
    program = next(path for path in map(shutil.which, browser.PROGRAMS) if path)
    with sync_api.sync_playwright() as playwright:
        browser_ = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser_
        browser_.close()


@pytest.fixture(scope="session")
def pool(detector_file):
    """One worker, as it is when nobody has harmed it."""
    pool = WorkerPool(Setup(detector_file, allow=("unruly_net.",), memory=LIMITS.memory), LIMITS)
    yield pool
    pool.close()


@pytest.fixture
def app_with(pool):
    """An application over the pool; words change its service."""

    def make(**changes):
        service = Service(**{"pool": pool, "limits": LIMITS, "metrics": Metrics(), **changes})
        return service, make_app(service, known_hosts("127.0.0.1"))

    return make


@pytest.fixture
def client(app_with):
    """A program that asks the service; not as a block, since the pool outlives it."""
    return TestClient(app_with()[1], base_url="http://127.0.0.1:8000")
