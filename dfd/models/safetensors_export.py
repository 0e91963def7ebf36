"""A trained net as safetensors: its weights under their own names, and in the header all that its checkpoint
knew of it.

The file alone rebuilds the net. The JSON beside it says the same to people and to other programs, and is
never read. Neither holds an optimizer, so nothing can be trained on from it, nor which pictures trained the
net.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from dfd.durable import sha256_of
from dfd.outputs import output_file

SUFFIX = ".safetensors"
CARD, DIGEST = "dfd", "dfd_sha256"  # keys of the header
# of the gate's tensors, in the header too: whoever loads the file finds the net's weights and nothing else
GATE = "dfd_familiarity"
MAX_CARD = 1_000_000  # bytes
MAX_GATE = 5_000_000  # letters


def write_export(
    weights: dict[str, Tensor], card: dict[str, Any], path: Path, page: Path | None = None
) -> None:
    """Writes weights and a card as plain values, and the JSON for people as `page`, by default beside them.

    Raises:
        OSError: disk full or unwritable, in words.
        ValueError: the card holds what JSON does not.
    """
    # clones: safetensors takes no two weights that share memory
    weights = {name: value.clone(memory_format=torch.contiguous_format) for name, value in weights.items()}
    card, gate = dict(card), card.get("familiarity")
    if gate:
        blob = save(gate["tensors"])
        card["familiarity"] = {"facts": gate["facts"], "sha256": hashlib.sha256(blob).hexdigest()}
    text = as_json(card)
    # left in the reverse order: the weights get their name before the page that describes them
    with output_file(page or beside(path)) as shown, output_file(path) as temporary:
        # not save_file, which hides what a full disk says
        facts = {CARD: text, DIGEST: _digest(weights, text), "format": "pt"}
        if gate:
            facts[GATE] = base64.b64encode(blob).decode("ascii")
        temporary.write_bytes(_ordered(save(weights, facts)))
        shown.write_text(page_of(text, temporary), encoding="utf-8")


def as_json(card: dict[str, Any]) -> str:
    """A card as JSON.

    Raises:
        ValueError: it holds what JSON does not.
    """
    # infinite where never fitted, for which JSON has no word; float() knows "inf"
    thresholds = {
        name: value if math.isfinite(value) else str(value) for name, value in card["thresholds"].items()
    }
    try:
        return json.dumps({**card, "thresholds": thresholds}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"what the checkpoint knows of its net is more than JSON can hold: {error}."
        ) from error


def page_of(text: str, file: Path) -> str:
    """What `beside` says to people: the card, and the sha256 of the file."""
    card = {**json.loads(text), "sha256": sha256_of(file)}
    return f"{json.dumps(card, indent=2, ensure_ascii=False)}\n"


def _ordered(data: bytes) -> bytes:
    """The same export with its header in order, so that one checkpoint gives one file: safetensors leaves the
    order of the facts in it to chance.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    text = json.dumps(json.loads(data[8:end]), separators=(",", ":"), sort_keys=True)
    text += " " * (-len(text) % 8)  # what follows stays aligned
    return len(text).to_bytes(8, "little") + text.encode() + data[end:]


def beside(path: Path) -> Path:
    """The JSON of an export."""
    return path.with_name(f"{path.name}.json")


def read_export(path: Path) -> dict[str, Any]:
    """What a checkpoint would hold for judging: "state_dict" of the task, and "dfd", the card.

    Raises:
        ValueError: not a file that `dfd export` wrote, or a damaged one.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file: {error}. Copy it again, or export it anew."
        ) from error
    if not {CARD, DIGEST} <= header.keys():
        raise ValueError(
            f"{path} holds weights without the net that they belong to: `dfd export` did not write it. "
            "Weights of a timm backbone are named in a config, as its `pretrained`."
        )
    if (found := _digest(weights, header[CARD])) != header[DIGEST]:
        raise ValueError(
            f"{path} is damaged: the sha256 of its contents is {found}, where {header[DIGEST]} was recorded "
            "when it was written. Copy it again, or export it anew."
        )
    try:
        if len(header[CARD]) > MAX_CARD:
            raise ValueError(f"more than {MAX_CARD // 1000} kB")
        card = json.loads(header[CARD])
        if not isinstance(card, dict) or not isinstance(card.setdefault("weights_in", "net."), str):
            raise ValueError("no names and values")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} has a header that cannot be read: {error}. dfd did not write it."
        ) from error
    if isinstance(gate := card.get("familiarity"), dict):
        card["familiarity"] = {"facts": gate.get("facts"), "tensors": _gate(gate, header, path)}
    prefix = card["weights_in"]
    return {"state_dict": {f"{prefix}{name}": value for name, value in weights.items()}, "dfd": card}


def _gate(gate: dict[str, Any], header: dict[str, str], path: Path) -> dict[str, Tensor]:
    """The gate's tensors, which the card knows by their sha256."""
    try:
        text = header.get(GATE, "")
        blob = base64.b64decode(text, validate=True) if len(text) <= MAX_GATE else b""
        if hashlib.sha256(blob).hexdigest() == gate.get("sha256"):
            return load(blob)
    except (SafetensorError, ValueError):
        pass
    raise ValueError(
        f"{path} is damaged: what it knows of strange pictures is not what was recorded when it was written. "
        "Copy it again, or export it anew."
    )


def _digest(weights: dict[str, Tensor], text: str) -> str:
    """sha256 of the card and of all weights' names, types, shapes and values."""
    sha256 = hashlib.sha256(text.encode())
    for name in sorted(weights):
        value = weights[name]
        sha256.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha256.update(value.reshape(-1).view(torch.uint8).numpy())
    return sha256.hexdigest()
