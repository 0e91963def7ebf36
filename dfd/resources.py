"""Resources of the package beside its code: configs and Slurm scripts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal


def shipped(kind: Literal["configs", "slurm"]) -> Path:
    """Their folder: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return package / kind if (package / kind).is_dir() else package.parent / kind


def config_named(name: str) -> Path | None:
    """A config by path, by name, or by name without .yaml: among those that dfd ships first, whatever lies in
    the current folder, then there. A path that begins with ./ or / is meant as it is.
    """
    return shipped_config(name) or own_config(name)


def shipped_config(name: str) -> Path | None:
    """The one that dfd ships under a name."""
    if Path(name).is_absolute() or name.startswith("."):
        return None
    own = shipped("configs")
    return _first(place / each for place in (own, own.parent) for each in _names(name))


def own_config(name: str) -> Path | None:
    """The user's own, by its path from the current folder."""
    return _first(Path(each) for each in _names(name))


def _names(name: str) -> list[str]:
    return [name] if Path(name).suffix in (".yaml", ".yml", ".json") else [name, f"{name}.yaml"]


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path.resolve() for path in paths if path.is_file() and path.suffix), None)


def run_name(config: Path) -> str:
    """What a run of this config is called; the config of an earlier run passes that run's name on."""
    return config.parent.parent.name if config.name == "config.yaml" else config.stem
