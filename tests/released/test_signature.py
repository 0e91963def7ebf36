"""Nothing of a list is read that a trusted key did not sign, and openssl agrees on what it signed."""

import base64
import shutil
import stat
import subprocess

import pytest
from released_lists import entry, write_list

from dfd.cli import main
from dfd.released import open_list
from dfd.released.model_list import SHIPPED
from dfd.released.signature import SIGNATURE, TRUSTED, new_key, read_public, sign

RECIPE = {
    "reader": "faces_140k", "source": "faces", "needs": "faces", "where": "there", "fit": ["--config", "small_cnn"],
    "epochs": 1, "takes": "a minute",
}  # fmt: skip


@pytest.fixture
def written(tmp_path, key):
    return write_list(tmp_path / "list.yaml", key, entry(recipe=RECIPE))


def refused(capsys, place, trusted, *words):
    """The command says why, in one line, and nothing of the list."""
    assert main(["models", "--list", str(place), "--trust", str(trusted)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and all(word in captured.err for word in words), captured.err
    assert not captured.out and "faces-small" not in captured.err


def test_the_package_s_own_list_is_signed_by_the_key_beside_it(tmp_path, capsys):
    assert [each.name for each in open_list().entries] == ["dual-stream-140k"]
    place = tmp_path / SHIPPED.name
    place.write_bytes(SHIPPED.read_bytes().replace(b"value: 0.997", b"value: 0.998"))
    shutil.copy(f"{SHIPPED}{SIGNATURE}", f"{place}{SIGNATURE}")
    refused(capsys, place, TRUSTED, "changed after it was signed")


def test_a_signed_list_is_read(written, key):
    assert [each.name for each in open_list(str(written), key.with_suffix(".pub")).entries] == ["faces-small"]


@pytest.mark.parametrize("change", [b"0.95", b"faces-small", b"\n"])
def test_a_list_that_was_changed_is_refused(written, key, capsys, change):
    data = written.read_bytes()
    at = data.index(change)
    written.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    refused(capsys, written, key.with_suffix(".pub"), "changed after it was signed", "--trust")


def test_a_list_without_its_signature_or_of_another_key_is_refused(written, key, capsys, tmp_path):
    refused(capsys, written, TRUSTED, "signed by a key that", "trusted.pem does not hold")
    refused(capsys, written, tmp_path / "nowhere.pub", "nowhere.pub: No such file")
    signature = written.with_name(written.name + SIGNATURE)
    for text, words in (
        ("", "no signature (64 bytes"),
        ("AAAA", "no signature (64 bytes"),
        ("*", "no signature"),
    ):
        signature.write_text(text)
        refused(capsys, written, key.with_suffix(".pub"), words)
    signature.unlink()
    refused(
        capsys, written, key.with_suffix(".pub"), "has no signature, so nothing of it was read", "dfd sign"
    )
    refused(capsys, tmp_path / "nowhere.yaml", TRUSTED, "nowhere.yaml: No such file")
    refused(capsys, "ftp://127.0.0.1/list.yaml", TRUSTED, "https://")


def test_several_keys_may_be_trusted(written, key, tmp_path):
    new_key(tmp_path / "other.pem")
    both = tmp_path / "both.pem"
    both.write_text(TRUSTED.read_text() + key.with_suffix(".pub").read_text())
    assert len(read_public(both)) == 2
    assert open_list(str(written), both).entries
    sign(written, tmp_path / "other.pem")
    with pytest.raises(ValueError, match="signed by a key that"):
        open_list(str(written), both)


def test_keys_are_made_by_the_command_and_not_written_over(tmp_path, written, capsys):
    secret = tmp_path / "keys" / "mine.pem"
    assert main(["sign", "--new-key", str(secret)]) == 0
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert main(["sign", str(written), "--key", str(secret)]) == 0
    assert "1 detector, signed:" in capsys.readouterr().out
    assert main(["models", "--list", str(written), "--trust", str(secret.with_suffix(".pub"))]) == 0
    assert "faces-small 1: hosted nowhere, to be made" in capsys.readouterr().out
    for words, said in (
        (["--new-key", str(secret)], "a key that is written over is lost"),
        ([str(written), "--key", str(secret.with_suffix(".pub"))], "holds no secret Ed25519 key"),
        ([str(written)], "dfd sign LIST --key KEY"),
        ([str(written), "--new-key", str(tmp_path / "x.pem")], "give it alone"),
        ([str(secret), "--key", str(secret)], "is no list of released detectors"),
    ):
        assert main(["sign", *words]) == 1
        captured = capsys.readouterr()
        assert said in captured.err and captured.err.count("\n") == 1, captured.err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees(written, key, tmp_path):
    raw = tmp_path / "raw.sig"
    raw.write_bytes(base64.b64decode(written.with_name(written.name + SIGNATURE).read_text()))
    check = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        key.with_suffix(".pub"),
        "-rawin",
        "-sigfile",
        raw,
    ]
    assert subprocess.run([*check, "-in", written], capture_output=True).returncode == 0
    (tmp_path / "other").write_bytes(written.read_bytes() + b"\n")
    assert subprocess.run([*check, "-in", tmp_path / "other"], capture_output=True).returncode != 0
    # a key with a passphrase, which nobody can be asked for here
    locked = tmp_path / "locked.pem"
    words = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:word", "-out", locked]
    subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(ValueError, match="has a passphrase: sign at a terminal"):
        sign(written, locked)
