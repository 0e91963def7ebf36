"""Path of a detector that a user names: what is wrong with it by the file alone, before torch is imported."""

from __future__ import annotations

from pathlib import Path

from dfd.durable import kind_of
from dfd.media.file_kinds import PICTURE, SAFETENSORS, VIDEO, file_kind, refuse_lfs_pointer
from dfd.terminal import as_written

EXPORTED = (".onnx", ".xml")  # whose readers say what is wrong before they ask for a package
BEGIN = b"PK\3\4"  # of a checkpoint, which is a zip archive
DETECTORS = (
    "A detector is a checkpoint of `dfd fit` (.ckpt), what `dfd export` wrote (.safetensors, .onnx, .xml, or "
    "a folder with model.safetensors), or a name that `dfd models` lists as here."
)


def check_detector_path(path: Path) -> None:
    """ValueError for a path at which no file lies that could be a detector; says what a detector is."""
    if not path.is_file():
        raise ValueError(f"There is no detector {as_written(path)}. {instead_of(path, DETECTORS)}")
    refuse_lfs_pointer(path)
    kind = file_kind(path)
    if kind in (PICTURE, VIDEO):
        raise ValueError(f"{path} is {kind.name}, and no detector, which comes first. {DETECTORS}")
    with path.open("rb") as file:
        begin = file.read(len(BEGIN))
    if kind is SAFETENSORS if path.suffix == ".safetensors" else path.suffix in EXPORTED or begin == BEGIN:
        return
    what = "empty" if not begin else kind.name if kind else "no file that dfd wrote"
    raise ValueError(f"{path} is {what}, and no detector. {DETECTORS}")


def instead_of(path: Path, otherwise: str) -> str:
    """What to name instead of a path that is no file; `otherwise` where nothing there tells."""
    best = path / "checkpoints" / "best.ckpt"
    if best.is_file():
        return f"That is the folder of a run: give {best}."
    found = sorted(path.glob("*.ckpt")) if path.is_dir() else []
    if found:
        return f"That is a folder: give {next((each for each in found if each.stem == 'best'), found[0])}."
    if "://" in as_written(path):
        return "Addresses are not opened: download it first."
    if path.exists():
        return f"That is {kind_of(path.stat().st_mode)}. {otherwise}"
    return otherwise
