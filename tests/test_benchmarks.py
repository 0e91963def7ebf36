"""Scripts of benchmarks/ run, in their smallest form, whose figures say nothing.

Those that take minutes all the same (loader, prepare, remote, step) are left to whoever measures.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dfd.models import build

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "blends.py": "--rounds=1 --num=20 --sheet=sheet.png",
    "checkpoint.py": "--rounds=1",
    "cues.py": "--rounds=1 --num=1 --sides 64",
    "evaluate.py": "--rounds=1 --images=120 --workers=1 --backbone=test_resnet",
    "plan.py": "--rows 2000 4000 --order_rows=10000 --images=100000 --ranks=8",
    "scale.py": "--rounds=0 --samples 1e4",
    "start_up.py": "--runs=1",
    "stream_cost.py": "--rounds=3 --batch=2 --size=32 --backbone=test_resnet --streams azimuthal --fusions cross",
}


def test_each_stream_of_the_ablation_fits_its_net(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from streams import FUSIONS, STREAMS, part

    image, rgb = torch.rand(2, 3, 32, 32), part("SmallCNN", width=4)
    for spectrum, backbone in STREAMS.values():
        net = build(part("DualStream", rgb=rgb, fft=backbone, spectrum=spectrum, fusion=FUSIONS["cross"]))
        assert net(image).shape == (2,)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_to_its_end(name, tmp_path):
    here = os.pathsep.join(filter(None, [str(BENCHMARKS.parent), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, *SMALLEST[name].split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": here, "DFD_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    late = name == "start_up.py" and done.returncode == 1  # on a machine that is busy with other tests
    assert done.returncode == 0 or late, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stdout.strip(), done.stderr
