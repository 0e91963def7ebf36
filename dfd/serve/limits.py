"""Limits of the service: bytes of a file and a request, seconds and memory of a worker, requests at once."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    Args:
        max_bytes: of one file.
        max_files: of one request.
        seconds: that a file may take in a worker, wait for one, or be underway from its sender.
        memory: megabytes that a worker may take to judge, beyond what the loaded detector takes.
        queue: requests that are underway at once; more are told to come again.

    Raises:
        ValueError: one of them is below 1.
    """

    max_bytes: int = 32_000_000
    max_files: int = 20
    seconds: float = 120.0
    memory: int = 2000
    queue: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                value = getattr(self, field.name)
                option = f"--{field.name.replace('_', '-')}"
                raise ValueError(f"{option} {value}: it takes at least 1. Leave it out for {field.default}.")

    @property
    def max_request(self) -> int:
        """Bytes of one request."""
        return self.max_bytes * min(self.max_files, 4)

    @property
    def max_held(self) -> int:
        """Bytes of all requests that are underway: they are held in memory, never on a disk."""
        return 4 * self.max_request
