"""Configs by name: in the current folder, or among those that dfd ships."""

from __future__ import annotations

from pathlib import Path

import yaml

from dfd.cli.advice import UsageError, closest


def config_folder() -> Path:
    """The configs that dfd ships: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def find_config(name: str) -> Path:
    """A config by path, by name, or by name without .yaml: in the current folder first, then among those that dfd ships.

    UsageError where there is none.
    """
    names = [name] if Path(name).suffix in (".yaml", ".yml", ".json") else [name, f"{name}.yaml"]
    shipped = config_folder()
    places = [Path(each) for each in names] + [shipped / each for each in names] + [shipped.parent / each for each in names]
    found = next((path.resolve() for path in places if path.is_file() and path.suffix), None)
    if found is None:
        known = sorted(path.relative_to(shipped).as_posix() for path in shipped.rglob("*.yaml"))
        hint = closest(name, [*known, *(f"configs/{each}" for each in known)])
        raise UsageError(f"there is no config {name!r}, here or among dfd's own. {hint}dfd has: {', '.join(known)}.")
    return found


def config_name(config: Path | None) -> str:
    """What a run of this config is called; the config of an earlier run passes that run's name on."""
    if config is None:
        return "unnamed"
    return config.parent.parent.name if config.name == "config.yaml" else config.stem


def with_paths(args: list[str]) -> tuple[Path | None, list[str]]:
    """The first config, and the arguments with every config and data file that they name as a path that exists."""
    first, found, args = None, [], list(args)
    while args:
        option, equals, value = args.pop(0).partition("=")
        if option not in ("-c", "--config", "--data", "--model", "--trainer"):
            found.append(option + equals + value)
            continue
        value = value if equals else (args.pop(0) if args else "")
        is_config = option in ("-c", "--config")
        if not is_config and not value.endswith((".yaml", ".yml")):  # a class path
            found += [option, value]
            continue
        path = find_config(value)
        _check_yaml(path)
        first = first or (path if is_config else None)
        found += [option, str(path)]
    return first, found


def _check_yaml(path: Path) -> None:
    try:
        config = yaml.safe_load(path.read_text())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a config: it is no text.") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: {error.problem or error.context}.") from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} is not a config: it holds no `key: value` at its top level.")
