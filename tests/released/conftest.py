"""A key pair, and a place for detectors that is not the user's."""

from pathlib import Path

import pytest

from dfd.released.signature import new_key


@pytest.fixture(scope="session")
def key(tmp_path_factory) -> Path:
    """A secret key; the public one lies beside it, key.pub."""
    path = tmp_path_factory.mktemp("key") / "key.pem"
    new_key(path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
