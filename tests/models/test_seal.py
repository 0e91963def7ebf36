import hashlib
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.load import _lazy_load

from dfd.models import SmallCNN, recipe
from dfd.models.checkpoint import read_checkpoint
from dfd.models.seal import check_whole, previous, save_sealed


@pytest.fixture
def sealed(tmp_path):
    net = SmallCNN(8)
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    path = tmp_path / "last.ckpt"
    save_sealed({"state_dict": state, "dfd": {"net": recipe(net)}, "global_step": 7}, path)
    return path


def test_every_reader_takes_a_sealed_file(sealed):
    for options in ({"mmap": True}, {"mmap": False}):
        assert torch.load(sealed, weights_only=True, **options)["global_step"] == 7
    assert _lazy_load(sealed)["global_step"] == 7  # of Lightning's sharded strategies
    with sealed.open("rb") as file:
        assert torch.load(file, weights_only=True)["global_step"] == 7
    with zipfile.ZipFile(sealed) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"sha256:")
    assert read_checkpoint(sealed)["global_step"] == 7


def test_the_seal_is_the_sha256_of_the_file_without_it(sealed):
    with zipfile.ZipFile(sealed) as archive:
        recorded = archive.comment.decode().removeprefix("sha256:")
    assert hashlib.sha256(sealed.read_bytes()[:-73] + b"\0\0").hexdigest() == recorded
    command = f"(head -c -73 {sealed}; printf '\\0\\0') | sha256sum"  # as the module's first lines say
    assert subprocess.check_output(["sh", "-c", command], text=True).split()[0] == recorded


def test_a_changed_byte_is_found_wherever_it_lies(sealed):
    whole = sealed.read_bytes()
    for place in np.random.default_rng(0).integers(4, len(whole) - 73, 50).tolist():
        sealed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(
            ValueError, match=r"last\.ckpt is damaged: its sha256 is [0-9a-f]{64}, where [0-9a-f]{64} was"
        ):
            check_whole(sealed)


def test_a_block_of_zeros_or_of_another_file_is_found(sealed):
    whole = sealed.read_bytes()
    sealed.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(sealed)
    sealed.write_bytes(whole + b"more")
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(sealed)


@pytest.mark.parametrize("missing", [1, 20, 72, 73, 74, 95, 5000])
def test_a_missing_end_is_found(sealed, missing):
    sealed.write_bytes(sealed.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=r"is incomplete|is damaged"):
        read_checkpoint(sealed)


def test_a_damaged_file_names_the_version_before_it(sealed):
    sealed.write_bytes(sealed.read_bytes()[:-100])
    with pytest.raises(ValueError, match="Copy it again from where it came"):
        read_checkpoint(sealed)
    previous(sealed).touch()
    with pytest.raises(ValueError, match=r"or use last-previous\.ckpt beside it"):
        read_checkpoint(sealed)


def test_a_file_without_a_seal_passes(tmp_path):
    torch.save({"a": 1}, tmp_path / "bare.ckpt")
    check_whole(tmp_path / "bare.ckpt")
    (tmp_path / "empty.ckpt").touch()
    with pytest.raises(ValueError, match="is not a checkpoint that dfd wrote"):
        check_whole(tmp_path / "empty.ckpt")
