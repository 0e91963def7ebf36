"""Nothing in the repository reads a file in a way that lets the file choose what runs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("dfd", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))
TRUSTING = {
    "pickle.load",
    "pickle.loads",
    "torch.jit.load",
    "torch.hub.load",
    "joblib.load",
    "dill.load",
    "cloudpickle.load",
}
PIPE = ROOT / "dfd/synthetic/toy.py"  # which reads pictures from the process that it has started


def faults(code: str, path: Path) -> list[str]:
    """Calls and imports by which a file could choose what runs."""
    if not any(word in code for word in ("load", "pickle")):
        return []  # parsed for nothing
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module in ("torch", "torch.serialization", "pickle"):
            names = {alias.name for alias in node.names} & {"load", "loads", "Unpickler"}
            found += [f"another name for {node.module}.{name}" for name in names]
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {each.arg: each.value for each in node.keywords}
        if name in ("torch.load", "load_from_checkpoint") or name.endswith(".load_from_checkpoint"):
            if ast.unparse(keywords.get("weights_only", ast.Constant(None))) != "True":
                found.append(f"{name} without weights_only=True")
        elif (name in TRUSTING and path != PIPE and not path.is_relative_to(ROOT / "tests")) or name.endswith(
            ("yaml.load", "unsafe_load")
        ):
            found.append(name)
        if "allow_pickle" in keywords and ast.unparse(keywords["allow_pickle"]) != "False":
            found.append(f"{name} with allow_pickle")
    return found


@pytest.mark.slow
def test_files_are_read_as_data():
    assert not [(str(path), each) for path in FILES for each in faults(path.read_text("utf-8"), path)]


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(p)", "Net.load_from_checkpoint(p)", "torch.load(p, weights_only=False)", "pickle.load(f)",
        "np.load(p, allow_pickle=True)", "yaml.load(f)", "from torch import load", "from pickle import Unpickler",
    ],
)  # fmt: skip
def test_a_read_that_runs_code_is_found(code):
    assert faults(code, ROOT / "dfd/any.py")
