"""Who may import whom: downward only, never sideways. The order is that of docs/architecture.md."""

import ast
from functools import cache
from pathlib import Path

import pytest

import dfd

PACKAGE = Path(dfd.__file__).parent
ROWS = (
    {"batch", "energy", "eval_mode", "durable", "signals", "terminal", "text_files", "resources", "malloc", "interpreters",
     "distributed", "launcher", "locks", "wandb_mode", "weighing", "_torchvision"},
    {"media", "outputs", "parallel", "run_record", "progress"},
    {"forensics", "shards"},
    {"models", "augment", "metrics", "calibration", "plots", "html", "released"},
    {"familiarity"},
    {"detector", "explain", "synthetic"},
    {"tasks", "data", "callbacks", "training", "prepare", "audit"},
    {"inference", "sweep"},
    {"launch", "evaluate", "inspection"},
    {"serve"},
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
    "cryptography",
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
    "fastapi",
    "pydantic",
    "starlette",
    "uvicorn",
    "python_multipart",
    "prometheus_client",
}
# a room that is imported inside functions alone, and nothing without these
OWN = {"serve": {"fastapi", "pydantic", "starlette", "uvicorn", "prometheus_client"}}
NO_TORCH = (
    "batch.py",
    "durable.py",
    "energy.py",
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
        for room in ("media", "forensics", "shards", "released", "prepare", "inspection", "serve", "commands")
        for path in (PACKAGE / room).rglob("*.py")
    ),
)


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Full names that a module imports; with `everywhere` inside functions too. Imports for type checkers do
    not count.
    """
    top, inside = _imports(path)
    return top | inside if everywhere else top


@cache
def _imports(path: Path) -> tuple[set[str], set[str]]:
    """At the top, and inside functions."""
    found: tuple[set[str], set[str]] = set(), set()
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += ((each, inside) for each in node.orelse)
        elif isinstance(node, ast.Import):
            found[inside].update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports from dfd in full"
            found[inside].update(f"{node.module}.{alias.name}" for alias in node.names)
        elif not isinstance(node, ast.expr):  # no expression imports
            inside |= isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            waiting += ((each, inside) for each in ast.iter_child_nodes(node))
    return found


def place(module: str) -> str | None:
    """The part of the house that a full name belongs to: dfd.models.cnn -> models."""
    parts = module.split(".")
    return parts[1] if parts[0] == "dfd" and len(parts) > 1 and not parts[1].startswith("__") else None


def test_imports_go_downward():
    wrong = []
    for module in MODULES:
        own = module.parts[0].removesuffix(".py")
        assert own in ROW, f"{module} has no row: add it to ROWS here and to docs/architecture.md"
        others = [(name, other) for name in imports(PACKAGE / module) if (other := place(name))]
        wrong += [
            f"{module} (row {ROW[own]}) imports {name} (row {ROW.get(other)})"
            for name, other in others
            if other != own and ROW.get(other, len(ROWS)) >= ROW[own]
        ]
    assert not wrong, wrong


def test_an_evaluation_knows_no_report():
    modules = [module for module in MODULES if module.match("evaluate/*.py")]
    assert modules and not [
        (str(module), name)
        for module in modules
        for name in imports(PACKAGE / module)
        if name.startswith("dfd.evaluate.report")
    ]


def test_heavy_imports_stay_where_they_belong():
    wrong = []
    for module in MODULES:
        everywhere = {name.partition(".")[0] for name in imports(PACKAGE / module)}
        if "timm" in everywhere and module != Path("models/backbones.py"):
            wrong.append(f"{module} imports timm, which is models/backbones.py's")
        lazy = LAZY - OWN.get(module.parts[0], set())
        if late := {name.partition(".")[0] for name in imports(PACKAGE / module, everywhere=False)} & lazy:
            wrong.append(f"{module}: import {late} inside the function that needs it")
        if ROW.get(module.parts[0].removesuffix(".py"), 0) < 5 and "lightning" in everywhere:
            wrong.append(f"{module} imports lightning")
    assert not wrong, wrong


def test_what_answers_at_once_imports_no_torch():
    wrong, reached, waiting = [], set(), [PACKAGE / module for module in NO_TORCH]
    while waiting:  # what the modules' imports import, and so on
        path = waiting.pop()
        if path in reached or not path.exists():
            continue
        reached.add(path)
        for name in imports(path, everywhere=False):
            if name.partition(".")[0] in ("torch", "torchvision", "lightning", "timm", "albumentations"):
                wrong.append(f"{path} imports {name}")
            if place(name):
                parts = name.split(".")[1:]
                waiting += [
                    PACKAGE.joinpath(*parts[:end]).with_suffix(".py")
                    for end in (len(parts), len(parts) - 1)
                    if end
                ]
                waiting += [PACKAGE.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]
    assert len(reached) >= len(NO_TORCH) and not wrong, wrong


def _text_calls(code: str) -> list[ast.Call]:
    """Calls that open, read or write text by the encoding of the user's locale."""
    found = []
    if not any(word in code for word in ("open", "read_text", "write_text", "TextIOWrapper")):
        return found  # parsed for nothing
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
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


def test_text_is_utf8_whatever_the_locale():
    wrong = [
        f"{module}: say encoding= in {ast.unparse(call)}"
        for module in MODULES
        for call in _text_calls((PACKAGE / module).read_text(encoding="utf-8"))
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    "code", ["open(p)", "open(p, 'w')", "open(p, mode)", "p.read_text()", "p.write_text(t)", "os.fdopen(h)"]
)
def test_text_without_an_encoding_is_found(code):
    assert _text_calls(code)


def test_figures_are_the_one_that_reads_no_mathematics():
    others = [module for module in MODULES if module != Path("plots/figure.py")]
    assert not [
        f"{module}: from dfd.plots.figure"
        for module in others
        for name in imports(PACKAGE / module)
        if name in ("matplotlib.figure", "matplotlib.figure.Figure") or name.startswith("matplotlib.pyplot")
    ]
