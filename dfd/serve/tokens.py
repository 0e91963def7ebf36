"""Access tokens of the service: a file of their SHA-256 hashes, each with a name and scopes."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from dfd.serve.faults import Fault

SCOPES = ("score", "inspect", "metrics")
_LINE = "NAME SCOPES SHA256, such as: newsroom score,inspect 9f86d0...0a08"


@dataclass(frozen=True)
class Token:
    """Who may do what.

    Args:
        digest: SHA-256 of the token, in hexadecimal.
    """

    name: str
    scopes: frozenset[str]
    digest: str


class Tokens:
    """Tokens that the service takes; without a file everybody may do everything."""

    def __init__(self, tokens: tuple[Token, ...] | None = None):
        self._tokens = tokens

    def __bool__(self) -> bool:
        return self._tokens is not None

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """The tokens of a file, a line each; empty lines, and those that begin with #, are passed over.

        Raises:
            ValueError: a line is none of a token, or there is none, or no file.
            OSError: the file cannot be read.
        """
        if not path.exists() or path.is_dir():  # a pipe is as good as a file
            raise ValueError(f"--tokens {path}: there is no such file. Write a line each: {_LINE}.")
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        tokens = [_token(line, f"{path}:{number}") for number, line in lines if line.split("#")[0].strip()]
        if not tokens:
            raise ValueError(
                f"{path} has no token, so nobody could ask anything. Write a line each: {_LINE}."
            )
        return cls(tuple(tokens))

    def check(self, authorization: str, scope: str) -> None:
        """Whether who sends this Authorization header may do what the scope names; "" for what any token may.

        Raises:
            Fault: 401 without a known token, 403 with one of other scopes.
        """
        if self._tokens is None:
            return
        kind, _, secret = authorization.partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            came = "no token" if not authorization else "an Authorization header of another kind"
            raise Fault(401, "no_token", f"{came}: this service needs one, as Authorization: Bearer TOKEN.")
        digest = hashlib.sha256(secret.strip().encode()).hexdigest()
        known = [each for each in self._tokens if hmac.compare_digest(each.digest, digest)]
        if not known:
            raise Fault(
                401, "unknown_token", "This token is not known here. Ask whoever runs the service for one."
            )
        if scope and scope not in known[0].scopes:
            raise Fault(
                403,
                "other_scope",
                f"The token {known[0].name} may do {', '.join(sorted(known[0].scopes))}, and this needs "
                f"{scope}. Ask whoever runs the service for a token of that scope.",
            )


def _token(line: str, where: str) -> Token:
    parts = line.split("#")[0].split()
    if len(parts) != 3:
        raise ValueError(f"{where}: {len(parts)} words, and a token has three: {_LINE}.")
    name, scopes, digest = parts
    if strange := set(scopes.split(",")) - set(SCOPES):
        raise ValueError(f"{where}: there is no scope {min(strange)!r}. Use {', '.join(SCOPES)}.")
    if not re.fullmatch(r"[0-9a-f]{64}", digest.lower()):
        raise ValueError(
            f"{where}: the last word is no SHA-256 in hexadecimal. Make it: printf %s TOKEN | sha256sum"
        )
    return Token(name, frozenset(scopes.split(",")), digest.lower())
