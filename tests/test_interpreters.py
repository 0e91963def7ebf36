"""Nothing that lies in the current folder is run: it may be a stranger's."""

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dfd
from dfd.interpreters import safe_path, users_environment

PACKAGE = Path(dfd.__file__).parent
# what Python has read before dfd can say a word: builtins, and what `site` imports
WITNESS = "import os; open(os.environ['WITNESS'], 'a').write(__name__ + '\\n'); raise ImportError(__name__)\n"
COMMAND = "import sys\nfrom dfd.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A folder with pictures, and with a module of every name that Python and the packages here have."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    for name in {
        *sys.stdlib_module_names,
        *packages_distributions(),
        "dfd",
        "sitecustomize",
        "usercustomize",
    }:
        if "/" not in name:
            (folder / f"{name}.py").write_text(WITNESS)
    rng = np.random.default_rng(0)
    for number in range(60):
        kind = folder / ("real", "fake")[number % 2]
        kind.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(kind / f"{number}.jpg")
    (tmp_path / "dfd").write_text(COMMAND)  # as pip installs it
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    monkeypatch.setenv("DFD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return folder


def run(*args):
    done = subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True)
    witness = Path(os.environ["WITNESS"])
    ran = witness.read_text().split() if witness.exists() else []
    assert not ran, f"{args}: the current folder's {ran} ran\n{done.stderr[-2000:]}"
    return done


@pytest.mark.slow
def test_no_verb_runs_what_lies_in_the_current_folder(stranger, tmp_path):
    command, shards = tmp_path / "dfd", tmp_path / "shards"
    data = ["--data", "data/140k.yaml", f"--data.roots={shards}"]
    small = ["--data.view.size=32", "--model.net.backbone.width=4", "--data.num_workers=1"]
    fit = [*data, "--config", "overlay/cpu", *small, "--trainer.max_epochs=1"]
    verbs = {
        "prepare": ["prepare", ".", "--out", shards, "--workers", 2, "--allow-leaks"],
        "reencode": [
            "reencode",
            shards,
            "--out",
            tmp_path / "alike",
            "--jpeg",
            90,
            "--size",
            32,
            "--workers",
            2,
        ],
        "audit": ["audit", shards, "--out", tmp_path / "audit", "--workers", 2],
        "index": ["index", tmp_path / "tars", "--allow-leaks"],
        "submit": ["submit", "small_cnn", "--dry-run", "--gpus", 0, "--", *data],
        "fit": ["fit", "--config", "small_cnn", *fit, "--run_folder", tmp_path / "run"],
        "sync": ["sync", tmp_path / "run"],
        "score": ["score", tmp_path / "run/checkpoints/last.ckpt", ".", "--whole"],
        "tune-batch": ["tune-batch", "small_cnn", *fit[:-1], "--start", 4, "--most", 4],
    }
    for verb, args in verbs.items():
        if verb == "index":
            (tmp_path / "tars").mkdir()
            for shard in shards.glob("*.tar"):
                (tmp_path / "tars" / shard.name).write_bytes(shard.read_bytes())
        done = run(command, *args)
        # without a server nothing can be sent
        assert done.returncode == (verb == "sync"), f"{verb}: {done.stdout[-1000:]}{done.stderr[-1000:]}"


def test_pools_of_processes_run_nothing_of_the_current_folder(stranger, tmp_path):
    """Nor where dfd is used from a program."""
    program = tmp_path / "program.py"
    program.write_text(
        "from dfd.parallel import ProcessPool\n"
        "if __name__ == '__main__':\n"
        "    with ProcessPool(1, 'dfd.terminal') as pool:\n"
        "        print(*pool.run(abs, [-3]))\n"
    )
    assert run(program).stdout == "3\n"


@pytest.mark.slow
def test_a_module_of_the_users_is_found_by_pythonpath(stranger, tmp_path, monkeypatch):
    """The way that the pages on extensions name."""
    for module in stranger.glob("*.py"):
        module.unlink()
    (stranger / "my_reader.py").write_text("def rows(root):\n    raise ValueError('my reader was asked')\n")
    args = ["prepare", ".", "--out", tmp_path / "shards", "--reader", "my_reader:rows"]
    assert "No module named 'my_reader'" in run(tmp_path / "dfd", *args).stderr
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGE.parent), "."]))
    assert "my reader was asked" in run(tmp_path / "dfd", *args).stderr
    assert "my reader was asked" in run("-m", "dfd", *args).stderr


@pytest.mark.parametrize("module", ["dfd", "dfd.cli"])
def test_as_a_module_dfd_leaves_the_current_folder(stranger, module):
    """What Python itself and dfd's first lines import is out of its reach."""
    for name in {*sys.stdlib_module_names, "dfd"}:
        (stranger / f"{name}.py").unlink(missing_ok=True)
    assert run("-m", module, "runs").returncode == 1 and run("-m", module, "--help").returncode == 0


def test_a_checkout_that_is_not_installed_is_found_by_its_processes(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(PACKAGE.parent)
    show = "import os, runpy, sys; sys.argv[1:] = ['--version']\n"
    show += "try: runpy.run_module('dfd.cli', run_name='__main__')\n"
    show += "except SystemExit: print(sys.path[0], os.environ.get('PYTHONPATH'))"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True)
    home = str(PACKAGE.parent)
    installed = subprocess.run(
        [sys.executable, "-P", "-c", "import sys; print(*sys.path)"], capture_output=True
    )
    if home not in installed.stdout.decode().split():
        assert done.stdout.split()[-2:] == [home, home], done.stderr
    else:
        assert done.stdout.split()[-1] == "None", done.stderr


def test_programs_of_the_users_own_get_their_environment(monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1" and "PYTHONSAFEPATH" not in users_environment()
        with safe_path():
            pass
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert "PYTHONSAFEPATH" not in os.environ


def test_every_python_is_started_in_one_way():
    """sys.executable stands in `fresh` alone, and with -I, which leaves out more."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
                assert ast.unparse(node.elts[1]) in ("'-P'", "'-I'"), f"{path}: {ast.unparse(node)}"
