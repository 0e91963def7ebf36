"""Published detectors: folders in the layout of the Hugging Face Hub.

`model.safetensors` is what `dfd export` writes, and alone rebuilds the detector; `config.json` says the same
to people and programs, `README.md` is the model card.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfd import __version__
from dfd.calibration import in_words
from dfd.detector.card import AVERAGE, NET, Card
from dfd.html import render
from dfd.models.checkpoint_path import check_detector_path
from dfd.outputs import output_folder
from dfd.released import resolve

if TYPE_CHECKING:
    from dfd.models import Net

WEIGHTS, CONFIG, README = "model.safetensors", "config.json", "README.md"
ELSEWHERE = re.compile(r"[/~]|[A-Za-z]:[/\\]|\\\\|\w+://")  # begins an absolute path or an address
ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")  # owner/name


def published_card(card: Card, sha256: str | None = None) -> Card:
    """A card as it leaves this machine: of one set of weights, without the places of the machine and without
    which pictures trained it.

    Args:
        sha256: of the checkpoint that the weights come from.
    """
    task = _without_paths(card.task)
    if task and "ema_decay" in task["init_args"]:
        # one net is written: a task that judges with it must not look for an average beside it
        task = {**task, "init_args": {**task["init_args"], "ema_decay": None}}
    return replace(
        card,
        weights_in=NET,
        weights="moving average" if card.weights_in == AVERAGE else card.weights or "last step",
        checkpoint_sha256=sha256 or card.checkpoint_sha256,
        ema_decay=None,
        net=_without_paths(card.net),
        task=task,
        data=_without_paths(card.data),
        seen={},
    )


def write_published(net: Net, card: Card, folder: Path, model_card: str | None = None) -> None:
    """Writes the folder, whole or not at all.

    Args:
        card: as `published_card` gives it.
        model_card: text of README.md, such as the MODEL_CARD.md that `dfd report` wrote; None writes what the
            card knows.

    Raises:
        ValueError: the folder exists with something in it.
        OSError: disk full or unwritable, in words.
        ModuleNotFoundError: huggingface_hub is missing.
    """
    from dfd.models.safetensors_export import write_export

    text = model_card or _readme(folder.name, card)
    plain = card.to_plain()
    del plain["seen"]
    with output_folder(folder, whole=WEIGHTS) as temporary:
        write_export(net.state_dict(), plain, temporary / WEIGHTS, page=temporary / CONFIG)
        (temporary / README).write_text(text, encoding="utf-8")


def find_published(name: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The weights of a published detector.

    Args:
        name: a folder, or OWNER/NAME on the Hub: what lies in its cache is taken without a network.
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: no such folder, or neither the cache nor the Hub has it.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / WEIGHTS).is_file():
            raise ValueError(f"{folder} holds no {WEIGHTS}: it is no detector that dfd published.")
        return folder / WEIGHTS
    if not ON_HUB.fullmatch(str(name)):
        raise ValueError(f"there is no folder {name}. Give one, or OWNER/NAME on the Hugging Face Hub.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    asked = {"repo_id": str(name), "revision": revision, "allow_patterns": [WEIGHTS, CONFIG, README]}
    try:
        return Path(snapshot_download(**asked, local_files_only=True)) / WEIGHTS
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(**asked)) / WEIGHTS
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{name} is no folder here, not in the Hub's cache, and the Hub did not give it ({why}). Check "
            "the name and the network, or copy the folder."
        ) from error


def detector_file(path: str | os.PathLike[str]) -> Path:
    """The file of a detector that a user names: by its path, by a folder of the Hub's layout, or by the name
    of a released detector that lies here.

    Raises:
        ValueError: nothing lies there, it cannot be a detector by its first bytes, or the released detector
            is not here or damaged.
    """
    file = resolve(path)
    if (file / WEIGHTS).is_file():
        return file / WEIGHTS
    check_detector_path(file)
    return file


def _readme(name: str, card: Card) -> str:
    """The model card by what a detector knows of itself: calibration and certified errors, no test."""
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        library_name="dfd",
        pipeline_tag="image-classification",
        tags=["deepfake-detection", "image-forensics"],
        model_name=name,
    )
    facts = {
        "net": card.net.get("class_path", "unknown"),
        "basis": card.basis,
        "errors": in_words(card.certificate),
        "drawings": card.of_drawings,
        "selected_on": card.selected_on,
    }
    body = render("published.md.j2", name=name, version=__version__, **facts)
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}").content)


def _without_paths(made: Any) -> Any:
    """Stored arguments without the places of the machine that trained: shards, weights and whatever else is
    an absolute path or an address by their last name alone, folders to write into not at all.
    """
    if isinstance(made, Mapping):
        return {
            name: _last_names(value) if name == "roots" else _without_paths(value)
            for name, value in made.items()
            if name not in ("cache", "folder")
        }
    if isinstance(made, list):
        return [_without_paths(value) for value in made]
    return _last_names(made) if isinstance(made, str) and ELSEWHERE.match(made) else made


def _last_names(value: Any) -> Any:
    if isinstance(value, str):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if isinstance(value, dict):
        return {_last_names(root): weight for root, weight in value.items()}
    return [_last_names(each) for each in value] if isinstance(value, list) else value
