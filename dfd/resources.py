"""Resources of the package beside its code: configs and Slurm scripts."""

from pathlib import Path
from typing import Literal


def shipped(kind: Literal["configs", "slurm"]) -> Path:
    """Their folder: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return package / kind if (package / kind).is_dir() else package.parent / kind


def config_named(name: str) -> Path | None:
    """A config by path, by name, or by name without .yaml: in the current folder first, then among those that
    dfd ships.
    """
    names = [name] if Path(name).suffix in (".yaml", ".yml", ".json") else [name, f"{name}.yaml"]
    own = shipped("configs")
    places = (
        [Path(each) for each in names]
        + [own / each for each in names]
        + [own.parent / each for each in names]
    )
    return next((path.resolve() for path in places if path.is_file() and path.suffix), None)


def run_name(config: Path) -> str:
    """What a run of this config is called; the config of an earlier run passes that run's name on."""
    return config.parent.parent.name if config.name == "config.yaml" else config.stem
