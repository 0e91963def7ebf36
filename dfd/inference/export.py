"""Export: the trained net of a checkpoint as safetensors or ONNX, with its card and without its training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dfd.detector.card import load_net
from dfd.detector.onnx_net import SUFFIX as ONNX
from dfd.detector.published import CONFIG, README, WEIGHTS, published_card, write_published
from dfd.models.safetensors_export import SUFFIX, beside, write_export
from dfd.models.seal import sha256_of
from dfd.outputs import check_file, check_new_folder
from dfd.released import resolve


def export(
    checkpoint: Path,
    out: Path,
    allow: Iterable[str] = ("dfd.",),
    int8: Path | None = None,
    model_card: Path | None = None,
) -> str:
    """Writes the net that judges, the average of the training where it kept one, and returns what to tell the
    user. The suffix of `out` says how: safetensors, or ONNX; without one it is a folder in the layout of the
    Hugging Face Hub.

    Args:
        int8: of ONNX, shards as `write_onnx` says.
        model_card: README.md of a folder, as `write_published` says.

    Raises:
        ValueError: no net in the checkpoint, code from outside `allow` in it, `out` taken or of another
            suffix, or a net that ONNX cannot hold.
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
    checkpoint = resolve(checkpoint)
    net, card = load_net(checkpoint, allow=allow, role=None)
    exported = published_card(card, sha256_of(checkpoint))
    parameters = sum(weight.numel() for weight in net.parameters())
    what = f"{type(net).__name__}, {parameters:,} parameters: {out}"
    if not out.suffix:
        text = None if model_card is None else model_card.read_text(encoding="utf-8")
        write_published(net, exported, out, text)
        return f"{what} with {WEIGHTS}, {CONFIG} and {README}"
    what = f"{what}, {beside(out)}"
    if out.suffix == ONNX:
        from dfd.inference.onnx_export import write_onnx

        return f"{what}\n{write_onnx(net, exported, out, int8)}"
    plain = exported.to_plain()
    del plain["seen"]
    write_export(net.state_dict(), plain, out)
    return what


def _check_file(checkpoint: Path, out: Path) -> None:
    """ValueError unless an export of the checkpoint may be written there."""
    check_file(out, f"--out {out}")  # of a folder or a device no other suffix is advised
    if out.suffix not in (SUFFIX, ONNX):
        raise ValueError(
            f"--out {out}: an export is safetensors or ONNX, so call it {out.with_suffix(SUFFIX)} or "
            f"{out.with_suffix(ONNX)}. Without a suffix it is a folder for the Hub."
        )
    check_file(beside(out), f"--out {beside(out)}")
    taken = [file for file in (out, beside(out)) if file.exists()]
    # one of the two alone, of this checkpoint, is what a killed run of the same command left
    if len(taken) == 2 or any(sha256_of(checkpoint).encode() not in file.read_bytes() for file in taken):
        raise ValueError(f"{taken[0]} exists. Choose another name or remove it.")
