"""The unit of systemd and the container file: checked by the programs that read them, where they are here."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from dfd.commands.serve import serve

ROOT = Path(__file__).parents[2]
UNIT, CONTAINER = (ROOT / "configs/service" / name for name in ("dfd-serve.service", "Containerfile"))


def test_the_unit_is_one_and_gives_little_away():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "verify", UNIT], capture_output=True, text=True)
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr
    words = ["systemd-analyze", "security", "--offline=yes", "--json=short", UNIT]
    done = subprocess.run(words, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    exposed = sum(float(row["exposure"] or 0) for row in rows if not row["set"])
    assert exposed < 2, [row["name"] for row in rows if not row["set"]]


def words_of(line: str) -> list[str]:
    return re.findall(r'"([^"]*)"', line)


def test_both_start_the_service_with_options_that_it_has():
    options = {f"--{name.replace('_', '-')}" for name in serve.__annotations__}
    started = words_of(next(line for line in CONTAINER.read_text().splitlines() if line.startswith("CMD")))
    unit = next(line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")).split()
    for words in (started, unit):
        assert "serve" in words
        assert {word for word in words if word.startswith("--")} <= options


def test_the_container_installs_extras_that_are_there_and_runs_as_nobody():
    text = CONTAINER.read_text()
    extras = re.search(r'"/src\[([\w,]+)\]"', text)[1].split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= known.keys() and {"onnx", "serve"} <= set(extras)
    user, start = text.index("USER 65532"), text.index("ENTRYPOINT")
    assert user < start and "USER root" not in text


@pytest.mark.slow
def test_the_image_can_be_built(tmp_path):
    docker = shutil.which("docker") or shutil.which("podman")
    base = re.search(r"FROM (\S+) AS", CONTAINER.read_text())[1]
    if docker is None or subprocess.run([docker, "image", "inspect", base], capture_output=True).returncode:
        pytest.skip(f"no docker or podman with the image {base} here")
    words = [docker, "build", "-f", CONTAINER, "-t", "dfd-test", ROOT]
    assert subprocess.run(words, capture_output=True).returncode == 0
    version = subprocess.run(
        [docker, "run", "--rm", "--read-only", "dfd-test", "--version"], capture_output=True
    )
    assert version.returncode == 0


def test_each_code_of_a_problem_stands_in_the_guide():
    sources = "".join(path.read_text() for path in (ROOT / "dfd/serve").glob("*.py"))
    codes = set(re.findall(r'(?:Fault\(|\d{3}: \()\s*(?:\d{3},\s*)?"([a-z_]+)",', sources))
    table = (ROOT / "docs/guides/serve.md").read_text()
    assert len(codes) > 25 and not [code for code in codes if f"`{code}`" not in table]
