"""What W&B has written for a run that logs offline, read back from its .wandb files."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(folder: Path) -> list[Any]:
    """W&B's records of a run folder whose run has ended, of all its parts in their order."""
    parts = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    deadline = time.monotonic() + 20
    while True:  # W&B's service writes the last of them after it has told the run that it is done
        found = [list(_of_part(part.read_bytes())) for part in parts]
        if all(each and each[-1].WhichOneof("record_type") == "exit" for each in found):
            return [record for each in found for record in each]
        assert time.monotonic() < deadline, f"{folder}: a part of it has no end"
        time.sleep(0.05)


def _of_part(data: bytes) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece, at = data[at + 7 : at + 7 + length], at + 7 + length
        whole = piece if kind in (1, 2) else whole + piece
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(whole)
            yield record


def kind(folder: Path, name: str) -> list[Any]:
    """Those of one kind: artifact, alert, files, config."""
    return [getattr(record, name) for record in records(folder) if record.WhichOneof("record_type") == name]


def summary(folder: Path) -> dict[str, Any]:
    """Flat, with / between a key and what is nested in it by W&B; "val/auroc" -> {"max": 0.9}."""
    values: dict[str, Any] = {}
    for record in kind(folder, "summary"):
        for item in record.update:
            values["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return values


def history(folder: Path) -> list[dict[str, Any]]:
    """What was logged together, line by line."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.item}
        for record in kind(folder, "history")
    ]


def files(folder: Path) -> list[str]:
    """Names of pictures, tables and pages, within the parts' folders."""
    return [item.path for record in kind(folder, "files") for item in record.files]
