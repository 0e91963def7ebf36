"""Faults: why a request gets no answer, as an HTTP status, a word for programs, and sentences for people."""

from __future__ import annotations

from typing import Any

PROBLEM = "application/problem+json"


class Fault(Exception):
    """A request, or one file of it, that gets no answer.

    Args:
        status: of HTTP.
        code: one word for programs.
        message: what came, what was needed, what to do next.
        retry_after: seconds after which the same request may succeed; None where it will not.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def plain(self) -> dict[str, Any]:
        """As the service writes it."""
        return {"status": self.status, "code": self.code, "message": self.message}


def busy(what: str, seconds: int) -> Fault:
    return Fault(429, "busy", f"{what}. Send the request again in {seconds} s.", seconds)


def worker_ended() -> Fault:
    return Fault(
        500,
        "worker_ended",
        "The process that judged this file was ended before it had an answer: the file broke its decoder, or "
        "somebody ended it. Other requests are not touched. Send the file again once; if it happens again, "
        "the file is at fault.",
    )


def too_slow(seconds: float) -> Fault:
    return Fault(
        504,
        "too_slow",
        f"The file was not judged within {seconds:g} s, the limit of this service, and was given up. Send a "
        "smaller copy, or ask whoever runs the service for a larger --seconds.",
    )


def too_much_memory(megabytes: int) -> Fault:
    return Fault(
        422,
        "too_much_memory",
        f"Judging this file takes more than {megabytes} MB, the limit of this service. Send a smaller copy, "
        "or ask whoever runs the service for a larger --memory.",
    )
