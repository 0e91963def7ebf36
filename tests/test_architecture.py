"""Who may import whom: downward only, never sideways. The order is the README's map."""

import ast
from pathlib import Path

import pytest

import dfd

PACKAGE = Path(dfd.__file__).parent
ROWS = (
    {"batch", "eval_mode", "durable", "signals", "terminal", "text_files", "resources", "malloc", "interpreters",
     "distributed", "launcher", "locks", "wandb_mode", "weighing", "_torchvision"},
    {"media", "outputs", "parallel", "run_record", "progress"},
    {"forensics", "shards"},
    {"models", "augment", "metrics", "calibration", "plots", "html"},
    {"familiarity"},
    {"detector", "explain", "synthetic"},
    {"tasks", "data", "callbacks", "training", "prepare", "audit"},
    {"inference", "sweep"},
    {"launch", "evaluate", "inspection"},
    {"commands"},
    {"cli"},
    {"__main__"},
)  # fmt: skip
ROW = {name: row for row, names in enumerate(ROWS) for name in names}
MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"
)

# too slow or too optional for the top of a module that is not theirs alone
LAZY = {
    "art",
    "wandb",
    "optuna",
    "gradio",
    "onnx",
    "onnxruntime",
    "sklearn",
    "captum",
    "cyclopts",
    "fsspec",
    "aiohttp",
    "s3fs",
}
NO_TORCH = (
    "batch.py",
    "durable.py",
    "eval_mode.py",
    "interpreters.py",
    "locks.py",
    "malloc.py",
    "outputs.py",
    "parallel.py",
    "progress.py",
    "resources.py",
    "run_record.py",
    "signals.py",
    "terminal.py",
    "text_files.py",
    "weighing.py",
    "wandb_mode.py",
    "cli/__init__.py",
    "cli/error_messages.py",
    "launch/slurm.py",
    "launch/tune_batch.py",
    *(
        str(path.relative_to(PACKAGE))
        for room in ("media", "forensics", "shards", "prepare", "inspection", "commands")
        for path in (PACKAGE / room).rglob("*.py")
    ),
)


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Full names that a module imports; with `everywhere` inside functions too. Imports for type checkers do
    not count.
    """
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports from dfd in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found


def place(module: str) -> str | None:
    """The part of the house that a full name belongs to: dfd.models.cnn -> models."""
    parts = module.split(".")
    return parts[1] if parts[0] == "dfd" and len(parts) > 1 and not parts[1].startswith("__") else None


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_downward(module):
    own = module.parts[0].removesuffix(".py")
    assert own in ROW, f"{module} has no row: add it to ROWS here and to the map in the README"
    for name in imports(PACKAGE / module):
        other = place(name)
        if other and other != own:
            assert other in ROW, f"{module} imports {name}"
            assert ROW[other] < ROW[own], f"{module} (row {ROW[own]}) imports {name} (row {ROW[other]})"


@pytest.mark.parametrize("module", [each for each in MODULES if each.match("evaluate/*.py")], ids=str)
def test_an_evaluation_knows_no_report(module):
    assert not any(name.startswith("dfd.evaluate.report") for name in imports(PACKAGE / module))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_heavy_imports_stay_where_they_belong(module):
    everywhere = {name.partition(".")[0] for name in imports(PACKAGE / module)}
    assert "timm" not in everywhere or module == Path("models/backbones.py")
    top = {name.partition(".")[0] for name in imports(PACKAGE / module, everywhere=False)}
    assert not top & LAZY, f"{module}: import {top & LAZY} inside the function that needs it"
    if ROW.get(module.parts[0].removesuffix(".py"), 0) < 5:
        assert "lightning" not in everywhere


@pytest.mark.parametrize("module", NO_TORCH)
def test_what_answers_at_once_imports_no_torch(module):
    reached, waiting = set(), [PACKAGE / module]
    while waiting:  # what the module's imports import, and so on
        path = waiting.pop()
        if path in reached or not path.exists():
            continue
        reached.add(path)
        for name in imports(path, everywhere=False):
            assert name.partition(".")[0] not in (
                "torch",
                "torchvision",
                "lightning",
                "timm",
                "albumentations",
            ), f"{path} imports {name}"
            if place(name):
                parts = name.split(".")[1:]
                waiting += [
                    PACKAGE.joinpath(*parts[:end]).with_suffix(".py")
                    for end in (len(parts), len(parts) - 1)
                    if end
                ]
                waiting += [PACKAGE.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]


def _text_calls(tree: ast.AST) -> list[ast.Call]:
    """Calls that open, read or write text by the encoding of the user's locale."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        names = {keyword.arg for keyword in call.keywords}
        if "encoding" in names or None in names:
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        method = isinstance(call.func, ast.Attribute)
        if (name == "read_text" and method and not call.args) or (
            name == "write_text" and len(call.args) < 2
        ):
            found.append(call)
        builtin = name == "open" and not method
        if builtin or ast.unparse(call.func) in ("os.fdopen", "io.open") or name == "TextIOWrapper":
            mode = call.args[1] if len(call.args) > 1 else None
            mode = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), mode)
            if name == "TextIOWrapper" or not (isinstance(mode, ast.Constant) and "b" in str(mode.value)):
                found.append(call)
    return found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_text_is_utf8_whatever_the_locale(module):
    calls = _text_calls(ast.parse((PACKAGE / module).read_text(encoding="utf-8")))
    assert not calls, f"{module}: say encoding= in {', '.join(map(ast.unparse, calls))}"


@pytest.mark.parametrize(
    "code", ["open(p)", "open(p, 'w')", "open(p, mode)", "p.read_text()", "p.write_text(t)", "os.fdopen(h)"]
)
def test_text_without_an_encoding_is_found(code):
    assert _text_calls(ast.parse(code))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_figures_are_the_one_that_reads_no_mathematics(module):
    if module != Path("plots/figure.py"):
        names = imports(PACKAGE / module)
        assert not {"matplotlib.figure", "matplotlib.figure.Figure"} & names, (
            f"{module}: from dfd.plots.figure"
        )
        assert not any(name.startswith("matplotlib.pyplot") for name in names)
