"""Files of pretrained weights: where they lie, and how they differ from the net that is to have them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dfd.models.net import difference


def cached_weights(name: str, hub_id: str | None, url: str | None) -> Path | None:
    """The weights in the cache of the hub or of torch; None where they must be downloaded and can be.

    Args:
        name: timm's, for errors.
        hub_id: their repository at the hub, if they are there.
        url: else their address.

    Raises:
        ValueError: there are none, or their host does not answer.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.utils import get_session

    if not hub_id and not url:
        raise ValueError(
            f"pretrained=True: timm has no weights for {name}. Name a file of your own, pretrained=PATH of a "
            ".safetensors or .pth, or leave pretrained out and train from nothing."
        )
    if hub_id:
        cached = try_to_load_from_cache(hub_id, "model.safetensors")
        if isinstance(cached, str):
            return Path(cached)
        host, place = constants.ENDPOINT, f"{constants.ENDPOINT}/{hub_id}"
    else:
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if kept.is_file():
            return kept
        host = place = url
    try:
        # asked once: the hub's own client takes a minute of retries to find out that there is no network
        get_session().head(host, timeout=5)
    except Exception as error:  # of whichever HTTP library the installed hub client uses
        raise ValueError(
            f"pretrained=True: the weights of {name} are not in the cache, and {host} does not answer "
            f"({type(error).__name__}). Give a file instead, pretrained=PATH of a .safetensors or .pth; "
            f"{place} has it."
        ) from error
    return None


@contextmanager
def quiet_timm() -> Iterator[None]:
    """Without timm's warning of each name in a file that is not in a net: of another net these are pages."""
    log = logging.getLogger("timm.models._builder")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def differing_keys(file: Path, wanted: dict[str, tuple[int, ...]]) -> str:
    """On which names a file of weights and a net disagree; "" where the file cannot be read.

    Args:
        file: a .safetensors or .pth.
        wanted: shapes of the net's weights by their names.
    """
    try:
        found = _shapes(file)
    except Exception:  # safetensors and torch raise what they like on a file that is not theirs
        return ""
    classifier = ("fc.", "head.", "classifier.")  # which the net is made without
    return difference(wanted, {key: found[key] for key in found if not key.startswith(classifier)})


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            return {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    stored: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    for inner in ("state_dict", "model"):  # as training scripts wrap them
        stored = stored.get(inner, stored)
    return {str(key): tuple(value.shape) for key, value in stored.items() if isinstance(value, torch.Tensor)}
