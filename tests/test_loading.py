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


def calls(path: Path) -> list[tuple[str, dict[str, ast.expr]]]:
    """Dotted name and keywords of every call."""
    found = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    return [
        (ast.unparse(call.func), {keyword.arg: keyword.value for keyword in call.keywords}) for call in found
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_read_as_data(path):
    for name, keywords in calls(path):
        if name in ("torch.load", "load_from_checkpoint") or name.endswith(".load_from_checkpoint"):
            said = keywords.get("weights_only", ast.Constant(None))
            assert ast.unparse(said) == "True", f"{path}: {name} without weights_only=True"
        assert name not in TRUSTING or path == PIPE or path.is_relative_to(ROOT / "tests"), f"{path}: {name}"
        assert "allow_pickle" not in keywords or ast.unparse(keywords["allow_pickle"]) == "False", (
            f"{path}: {name}"
        )
        assert not name.endswith("yaml.load") and not name.endswith("unsafe_load"), f"{path}: {name}"


def test_no_other_name_for_torch_load_slips_through():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "torch.serialization", "pickle"):
                assert not {alias.name for alias in node.names} & {"load", "loads", "Unpickler"}, path
