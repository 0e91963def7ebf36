"""What c2pa-python says of a manifest: signature, hashes and trust. Without any network.

By default the library fetches what a file names: a manifest that lies elsewhere, and answers of OCSP servers.
Whoever wrote the file would learn by that who examines it, when and from where. Both are switched off, no
host is allowed, and no identity is looked up.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfd.interpreters import fresh
from dfd.media.files import read_file
from dfd.terminal import printable

SECONDS = 20  # that one file may take; a file of 256 MB takes about one
BY_ITSELF = "the check"  # begins the error of a process that had to be ended, or that broke
_PROCESS = Path(__file__).with_name("c2pa_process.py")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_MIME = (
    (b"\xff\xd8", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"WEBP", 8, "image/webp"),
    (b"II*\0", 0, "image/tiff"),
    (b"MM\0*", 0, "image/tiff"),
    (b"GIF8", 0, "image/gif"),
    (b"ftypavi", 4, "image/avif"),
    (b"ftyphei", 4, "image/heic"),
    (b"ftypmif1", 4, "image/heif"),
)


@dataclass(frozen=True)
class Checked:
    """The answer of c2pa-python.

    Args:
        state: "Trusted", "Valid" (but the signer is not on the trust list), "Invalid", or "" where it could
        not
            read the manifest.
        error: why not.
        failures: codes of C2PA for what does not hold in the active manifest.
        ingredient_failures: the same in what the picture was made of.
        signer: the name in the certificate, and
        organisation: who issued it, as the certificate has it.
        time: of signing, as its time stamp says; "" without one.
    """

    state: str
    error: str = ""
    failures: Sequence[str] = ()
    ingredient_failures: Sequence[str] = ()
    signer: str = ""
    organisation: str = ""
    time: str = ""


def checked(data: bytes, trust: str = "") -> Checked | None:
    """Checks a file's manifest; None where the extra dfd[c2pa] is not installed, or the format is none of
    its.

    Args:
        data: the file.
        trust: certificates (PEM) of those whose signatures are trusted; "" for nobody.
    """
    from importlib.util import find_spec

    mime = next((mime for mark, at, mime in _MIME if data.startswith(mark, at)), None)
    if mime is None or find_spec("c2pa") is None:
        return None
    asked = json.dumps({"mime": mime, "settings": settings(trust)}).encode() + b"\n"
    try:
        done = subprocess.run(
            fresh(str(_PROCESS)),
            input=asked + data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
        )
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Checked("", f"{BY_ITSELF} took more than {SECONDS} seconds")
    except ValueError:
        return Checked("", f"{BY_ITSELF} ended by itself (exit status {done.returncode})")
    if said.get("missing"):
        return None
    if "error" in said:
        return Checked("", printable(said["error"]))
    signature = said["signature"]
    return Checked(
        state=str(said["state"]),
        failures=tuple(map(str, said["failures"])),
        ingredient_failures=tuple(map(str, said["ingredient_failures"])),
        signer=_word(signature.get("common_name")),
        organisation=_word(signature.get("issuer")),
        time=_word(signature.get("time")),
    )


def settings(trust: str = "") -> dict[str, Any]:
    """Of c2pa-rs: everything that would use the network is off."""
    asked: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True},
        "core": {"allowed_network_hosts": [], "allow_redirects": False, "decode_identity_assertions": False},
    }
    if trust:
        asked["trust"] = {"trust_anchors": trust}
    return asked


def read_trust(path: Path) -> str:
    """A trust list for `provenance`: a PEM file with the certificates of those whose signatures are trusted.

    Raises:
        ValueError: there is no certificate in it.
        OSError: it cannot be read.
    """
    text = read_file(path).decode("ascii", "replace")
    if _CERTIFICATE not in text:
        raise ValueError(
            f"{path} is no trust list: it holds no certificate ({_CERTIFICATE}). Name a PEM file, such as "
            "the trust list of C2PA or a camera maker's root certificate."
        )
    return text


def _word(value: Any) -> str:
    return printable(value)[:200] if isinstance(value, str) else ""
