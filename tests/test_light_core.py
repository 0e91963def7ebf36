"""dfd with few of its extras: files, data and exports need no torch; what needs it says what to install."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfd.cli.extras import EXTRAS, how_to_install
from dfd.detector import load

REPOSITORY = Path(__file__).parents[1]

# run by sitecustomize.py, so that the processes that dfd starts hide them too
HIDE = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in {hidden!r} else find(name, *rest)
"""
# what Windows has not
NO_UNIX = """
import os, signal, sys

sys.modules["fcntl"] = None
del signal.SIGUSR1, signal.SIGKILL, signal.pthread_sigmask, signal.sigwaitinfo
del os.sched_getaffinity
"""
FUNCTIONS = """
import sys
from pathlib import Path

import dfd.calibration, dfd.html, dfd.inference, dfd.metrics, dfd.prepare.combine, dfd.synthetic
import dfd.audit, dfd.commands, dfd.launch.slurm, dfd.prepare.index, dfd.prepare.reencode, dfd.run_record
from dfd.forensics import jpeg_facts
from dfd.html import Section, html_page, png
from dfd.plots import shares
from dfd.shards.table import load_table

assert jpeg_facts(Path(sys.argv[1]).read_bytes()).quality == 90
assert "<svg" in html_page("t", []) or png(shares({"a": 1}))
root = dfd.synthetic.make_toy(Path(sys.argv[2]), 18, 64, workers=1)
assert len(load_table(root)) == 18
assert not {"torch", "lightning", "timm", "albumentations"} & set(sys.modules)
"""

Run = Callable[..., subprocess.CompletedProcess]


def customized(folder: Path, code: str) -> dict[str, str]:
    """An environment in which each process of this Python runs `code` first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}


def runner(python: Path | str, environment: dict[str, str], cwd: Path) -> Run:
    def run(*args: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run([python, *args], env=environment, cwd=cwd, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Twelve drawn pictures of each class."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(24):
        folder = root / ("real", "fake")[number % 2]
        folder.mkdir(exist_ok=True)
        rough = Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8))
        rough.resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    return root


HOW = ["hidden", pytest.param("installed", marks=pytest.mark.slow)]


@pytest.fixture(scope="session", params=HOW)
def light(request, tmp_path_factory) -> Run:
    """A Python with dfd[data] alone."""
    return python_with("data", request.param, tmp_path_factory.mktemp("light"))


@pytest.fixture(scope="session", params=HOW)
def lightest(request, tmp_path_factory) -> Run:
    """A Python with dfd[onnx] alone."""
    return python_with("onnx", request.param, tmp_path_factory.mktemp("lightest"))


def python_with(extra: str, how: str, folder: Path) -> Run:
    """A Python with one extra, the packages of the others hidden or not installed."""
    if how == "hidden":
        there = set(EXTRAS[extra])
        hidden = [package for packages in EXTRAS.values() for package in packages if package not in there]
        return runner(sys.executable, customized(folder / "custom", HIDE.format(hidden=hidden)), folder)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    pip = runner(sys.executable, environment, folder)  # this Python's pip: one of its own takes seconds
    if pip("-m", "pip", "download", "--quiet", "--no-deps", "--dest", "probe", "hatchling").returncode:
        pytest.skip("no package index to install from")
    what = f"{REPOSITORY}[{extra}]", "-c", REPOSITORY / "constraints.txt"
    # what no test imports need not be compiled
    installed = pip("-m", "pip", "--python", python, "install", "--quiet", "--no-compile", *what)
    assert installed.returncode == 0, installed.stderr
    run = runner(python, environment, folder)
    return run


def fine(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_files_and_data_need_no_torch(light, pictures, tmp_path):
    def dfd(*args: str | Path) -> str:
        return fine(light("-m", "dfd.cli", *args))

    shards, tars = tmp_path / "shards", tmp_path / "tars"
    assert "24 images" in dfd("prepare", pictures, "--out", shards)
    assert "Leaks: none" in dfd("audit", shards, "--out", tmp_path / "audit")
    assert (tmp_path / "audit" / "audit.html").stat().st_size > 10_000
    assert "Leaks: none" in dfd("leaks", shards)
    tars.mkdir()
    for shard in shards.glob("*.tar"):
        shutil.copy(shard, tars)
    assert "24 images" in dfd("index", tars)
    again = dfd("reencode", shards, "--out", tmp_path / "again", "--jpeg", "80", "--size", "64")
    assert "24 images" in again
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "run.json").write_text("{}")
    assert "one" in dfd("runs", tmp_path / "runs")
    inspected = tmp_path / "inspected"
    dfd("inspect", pictures / "real", "--out", inspected)
    assert len(list(inspected.glob("*.html"))) == 13 and "broke on the file" not in "".join(
        page.read_text() for page in inspected.glob("*.html")
    )
    script = dfd("submit", "dual_stream", "--gpus", "2", "--dry-run")
    assert "#SBATCH --gpus-per-node=2" in script and "dry run: nothing is submitted" in script
    assert "not checked: that needs pip install 'dfd[train]'" in script
    fine(light("-c", FUNCTIONS, next(pictures.glob("real/*.jpg")), tmp_path / "toy"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> tuple[Path, Path]:
    """A checkpoint, and its export to ONNX."""
    import torch

    from dfd.inference.export import export
    from dfd.models import SingleStream, SmallCNN, recipe

    torch.manual_seed(0)
    net, folder = SingleStream(SmallCNN(width=8)), tmp_path_factory.mktemp("exported")
    torch.nn.init.normal_(net.head.weight, std=2.0)
    card = {
        "version": "0",
        "net": recipe(net),
        "view": {"size": 64, "crops": 5, "longest": 256, "margin": 1.35},
        "calibration": {"kind": "temperature", "temperature": 1.7},
        "thresholds": {"balanced": 0.1, "fpr5": 0.4, "fnr5": -0.3},
        "calibrated_on": {"split": "val", "images": 300, "groups": 120},
    }
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"dfd": card, "state_dict": weights}, folder / "best.ckpt")
    export(folder / "best.ckpt", folder / "best.onnx")
    return folder / "best.ckpt", folder / "best.onnx"


@pytest.mark.slow
def test_an_export_is_judged_and_files_are_inspected_without_torch_or_shards(
    lightest, exported, pictures, tmp_path
):
    checkpoint, onnx = exported
    files = sorted(pictures.rglob("*.jpg"))[:4]
    for options in ([], ["--consistency"]):
        words = "-m", "dfd.cli", "score", onnx, *files, "--whole", "--json", *options
        alone = [json.loads(line) for line in fine(lightest(*words)).splitlines()]
        detector = load(checkpoint, consistency=bool(options))
        for found, face in zip(alone, files, strict=True):
            (expected,) = detector.score(face, whole=True)
            assert found["logit"] == pytest.approx(expected.logit, abs=1e-5)
            assert found["verdict"] == expected.verdict and found["reason"] == expected.reason
    inspected = tmp_path / "inspected"
    fine(lightest("-m", "dfd.cli", "inspect", files[0], "--out", inspected, "--checkpoint", onnx))
    assert "broke on the file" not in next(inspected.glob("*.html")).read_text()
    for words, extra in (
        (("prepare", pictures, "--out", tmp_path / "shards"), "data"),
        (("audit", pictures, "--out", tmp_path / "audit"), "data"),
        (("score", checkpoint, files[0], "--whole"), "train"),
        (("models",), "models"),
        (("explain", onnx, files[0], "--whole", "--out", tmp_path / "explained"), "train"),
    ):
        done = lightest("-m", "dfd.cli", *words)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.endswith(f"pip install 'dfd[{extra}]'\n"), done.stderr


@pytest.mark.slow
def test_what_needs_a_package_names_the_extra_that_brings_it(light, pictures, tmp_path):
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"PK\3\4")
    for args in (
        ("fit", "--config", "dual_stream"),
        ("fit", "--help"),
        ("validate", checkpoint),
        ("test", checkpoint),
        ("predict", checkpoint),
        ("score", checkpoint, pictures, "--whole"),
        ("export", checkpoint, "--out", tmp_path / "best.safetensors"),
        ("generate", checkpoint, "--num", "2", "--like", tmp_path, "--out", tmp_path / "fakes"),
        ("tune-batch", "dual_stream"),
    ):
        done = light("-m", "dfd.cli", *args)
        said = r"dfd [\w-]+: (no batch can be tried: )?this needs (torch|lightning), which is not installed: "
        assert re.fullmatch(rf"{said}pip install 'dfd\[train\]'\n", done.stderr), done.stderr
        assert done.returncode == 1
    done = light("-m", "dfd.cli", "sweep", "sweep/grid")
    assert done.returncode == 1 and "pip install 'dfd[sweep]'" in done.stderr


def test_the_packages_of_the_extras_are_those_of_pyproject():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    # under another name than they are installed
    imported = {"adversarial-robustness-toolbox": "art", "c2pa-python": "c2pa", "scikit-learn": "sklearn"}
    for extra, lines in project["optional-dependencies"].items():
        names = [re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("dfd[")]
        assert EXTRAS[extra] == tuple(imported.get(name, name.replace("-", "_")) for name in names)
    core = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert not core & {package for packages in EXTRAS.values() for package in packages}


def test_a_module_that_no_extra_brings_keeps_its_traceback():
    assert how_to_install(ModuleNotFoundError("No module named 'scipy'", name="scipy")) is None
    assert how_to_install(ModuleNotFoundError("no name")) is None
    assert "dfd[video]" in how_to_install(ModuleNotFoundError("No module named 'av.x'", name="av.x"))


@pytest.mark.slow
def test_looking_at_files_needs_no_unix(pictures, tmp_path):
    run = runner(sys.executable, customized(tmp_path / "custom", NO_UNIX), tmp_path)
    assert "ModuleNotFoundError" in run("-c", "import fcntl").stderr
    assert "AttributeError" in run("-c", "import signal; signal.SIGUSR1").stderr
    assert "prepare" in fine(run("-m", "dfd.cli", "--help"))
    fine(
        run(
            "-c",
            "import dfd.cli, dfd.signals, dfd.inference, dfd.locks, dfd.shards.cache, dfd.prepare.combine",
        )
    )
    shards = tmp_path / "shards"
    assert "24 images" in fine(run("-m", "dfd.cli", "prepare", pictures, "--out", shards))
    assert "Leaks: none" in fine(run("-m", "dfd.cli", "audit", shards))
