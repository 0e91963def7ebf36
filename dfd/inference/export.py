"""Export: the trained net of a checkpoint as safetensors, ONNX or OpenVINO, with its card and without its
training.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dfd.detector.card import Card, load_net
from dfd.detector.onnx_net import SUFFIX as ONNX
from dfd.detector.openvino_net import SUFFIX as OPENVINO
from dfd.detector.openvino_net import weights_of
from dfd.detector.published import (
    CONFIG,
    README,
    WEIGHTS,
    detector_file,
    published_card,
    write_published,
)
from dfd.durable import folder_if_used, sha256_of
from dfd.models.safetensors_export import SUFFIX, beside, write_export
from dfd.outputs import check_file, check_new_folder

if TYPE_CHECKING:
    from dfd.models import Net


def export(
    checkpoint: Path,
    out: Path,
    allow: Iterable[str] = ("dfd.",),
    int8: Path | None = None,
    model_card: Path | None = None,
) -> str:
    """Writes the net that judges, the average of the training where it kept one, and returns what to tell the
    user. The suffix of `out` says how: safetensors, ONNX, or OpenVINO's XML; without one it is a folder in
    the layout of the Hugging Face Hub.

    Args:
        out: its folder is made where it is missing, and not left empty after an error.
        int8: of ONNX, shards as `write_onnx` says.
        model_card: README.md of a folder, as `write_published` says.

    Raises:
        ValueError: no net in the checkpoint, code from outside `allow` in it, `out` taken or of another
            suffix, or a net that ONNX or OpenVINO cannot hold.
        OSError: disk full or unwritable, in words.
    """
    if out.suffix:
        _check_file(checkpoint, out)
    else:
        check_new_folder(out)
    if int8 is not None and out.suffix != ONNX:
        raise ValueError(f"--int8 {int8}: only ONNX is written in 8 bits. Use --out {out.with_suffix(ONNX)}.")
    if model_card is not None and out.suffix:
        raise ValueError(
            f"--model-card {model_card}: only a folder for the Hub has one, an --out without a suffix."
        )
    checkpoint = detector_file(checkpoint)
    net, card = load_net(checkpoint, allow=allow, role=None)
    exported = published_card(card, sha256_of(checkpoint))
    parameters = sum(weight.numel() for weight in net.parameters())
    what = f"{type(net).__name__}, {parameters:,} parameters: {out}"
    if not out.suffix:
        text = None if model_card is None else model_card.read_text(encoding="utf-8")
        write_published(net, exported, out, text)
        return f"{what} with {WEIGHTS}, {CONFIG} and {README}"
    with folder_if_used(out.parent):
        return f"{', '.join([what, *map(str, _written(out)[1:])])}{_write(net, exported, out, int8)}"


def _write(net: Net, card: Card, out: Path, int8: Path | None) -> str:
    """Writes the files of an export; returns what is known of how it judges, a line below others."""
    if out.suffix == OPENVINO:
        from dfd.inference.openvino_export import write_openvino

        return f"\n{write_openvino(net, card, out)}"
    if out.suffix == ONNX:
        from dfd.inference.onnx_export import write_onnx

        return f"\n{write_onnx(net, card, out, int8)}"
    plain = card.to_plain()
    del plain["seen"]
    write_export(net.state_dict(), plain, out)
    return ""


def _written(out: Path) -> list[Path]:
    """The files of an export, in the order in which they are named."""
    return [out, *([weights_of(out)] if out.suffix == OPENVINO else []), beside(out)]


def _check_file(checkpoint: Path, out: Path) -> None:
    """ValueError unless an export of the checkpoint may be written there."""
    check_file(out, f"--out {out}")  # of a folder or a device no other suffix is advised
    if out.suffix not in (SUFFIX, ONNX, OPENVINO):
        names = [str(out.with_suffix(suffix)) for suffix in (SUFFIX, ONNX, OPENVINO)]
        raise ValueError(
            f"--out {out}: an export is safetensors, ONNX or OpenVINO's XML, so call it {names[0]}, "
            f"{names[1]} or {names[2]}. Without a suffix it is a folder for the Hub."
        )
    files = _written(out)
    for file in files[1:]:
        check_file(file, f"--out {file}")
    taken = [file for file in files if file.exists()]
    # some of them, of this checkpoint, are what a killed run of the same command left
    if len(taken) == len(files) or not all(_is_of(checkpoint, out, file) for file in taken):
        raise ValueError(f"{taken[0]} exists. Choose another name or remove it.")


def _is_of(checkpoint: Path, out: Path, file: Path) -> bool:
    """Whether a file of the export `out` was made of a checkpoint. Weights alone do not say so."""
    if out.suffix == OPENVINO and file == weights_of(out):
        return out.is_file() and _is_of(checkpoint, out, out) and _names(out, file)
    return _names(file, checkpoint)


def _names(file: Path, other: Path) -> bool:
    """Whether a file has in it the SHA-256 of another."""
    return sha256_of(other).encode() in file.read_bytes()
