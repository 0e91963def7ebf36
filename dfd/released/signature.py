"""Signature of a list of released detectors: Ed25519, detached, in a file of its own beside the list.

`openssl pkeyutl -verify -rawin` knows such signatures too, once base64 is taken off them. The keys are PEM
files. The public one that dfd trusts lies in the package; the secret one is in no repository.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.durable import explain_os_error
from dfd.outputs import output_file
from dfd.text_files import read_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = ".sig"  # behind the name of the list
TRUSTED = Path(__file__).with_name("trusted.pem")
MOST_BYTES = 100_000  # of a key or a signature
_END = "-----END PUBLIC KEY-----"


def check_signature(data: bytes, signature: str, trusted: Path, where: str) -> None:
    """Checks that a list was signed by one of the keys in a file.

    Args:
        data: the list's bytes.
        signature: text of its .sig file.
        trusted: public keys in PEM, one or several.
        where: what to call the list in an error.

    Raises:
        ValueError: it was not, or the file holds no such keys.
    """
    from cryptography.exceptions import InvalidSignature

    keys = read_public(trusted)
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 64:
        raise ValueError(
            f"{where}{SIGNATURE} is no signature (64 bytes in base64), so nothing of {where} was read. Get "
            "both files again."
        )
    for key in keys:
        try:
            key.verify(raw, data)
            return
        except InvalidSignature:
            continue
    raise ValueError(
        f"{where} was changed after it was signed, or signed by a key that {trusted} does not hold: nothing "
        "of it was read. Get both files again; --trust FILE names another public key."
    )


def new_key(path: Path) -> Path:
    """Makes a secret key, which its owner alone may read, and the public one beside it, whose path it
    returns.

    Raises:
        ValueError: one of the files is there already.
        OSError: they cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    public = path.with_suffix(".pub")
    for file in (path, public):
        if os.path.lexists(file):
            raise ValueError(f"{file} exists, and a key that is written over is lost. Choose another name.")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
    except OSError as error:
        raise explain_os_error(error, path.parent) from error
    with output_file(public) as temporary:
        temporary.write_text(_public_text(key), encoding="utf-8")
    return public


def sign(path: Path, secret: Path) -> Path:
    """Writes the signature of a list beside it, in place of an earlier one, and returns its path.

    Raises:
        ValueError: the key is none, or its passphrase is wrong.
        OSError: the list cannot be read, or the signature not be written.
    """
    data, key = path.read_bytes(), _read_secret(secret)
    out = path.with_name(path.name + SIGNATURE)
    with output_file(out) as temporary:
        temporary.write_text(base64.b64encode(key.sign(data)).decode() + "\n", encoding="utf-8")
    return out


def read_public(path: Path) -> list[Ed25519PublicKey]:
    """The public keys in a PEM file.

    Raises:
        ValueError: it holds none, or one of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    parts = [part.strip() for part in read_text(path, MOST_BYTES).split(_END) if part.strip()]
    try:
        keys = [load_pem_public_key(f"{part}\n{_END}\n".encode()) for part in parts]
    except (ValueError, UnsupportedAlgorithm):
        keys = []
    if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise ValueError(f"{path} holds no public Ed25519 keys. `dfd sign --new-key FILE` makes a pair.")
    return keys


def _read_secret(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = read_text(path, MOST_BYTES).encode()
    try:
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:  # it has a passphrase
            if not sys.stdin.isatty():
                raise ValueError(f"{path} has a passphrase: sign at a terminal, where it is asked.") from None
            key = load_pem_private_key(pem, getpass.getpass(f"Passphrase of {path}: ").encode())
    except UnsupportedAlgorithm:
        key = None
    except ValueError as error:
        if "passphrase" in str(error):
            raise
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(
            f"{path} holds no secret Ed25519 key, or the passphrase is another. `dfd sign --new-key FILE` "
            "makes one."
        )
    return key


def _public_text(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
