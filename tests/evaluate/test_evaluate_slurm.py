"""slurm/evaluate.sbatch on a real Slurm: the tasks of an array share the cells of a grid."""

import sys
from pathlib import Path

import pytest
import real_slurm

import dfd
from dfd.evaluate.folder import missing_cells
from dfd.evaluate.tidy import read_metrics
from dfd.resources import shipped

pytestmark = pytest.mark.slow


def test_an_array_fills_a_grid(slurm, root, other_root, checkpoint, tmp_path):
    environment = {
        **slurm,
        "PATH": f"{Path(sys.executable).parent}:{slurm['PATH']}",
        "PYTHONPATH": str(Path(dfd.__file__).parents[1]),
        "DFD_CACHE": str(tmp_path / "cache"),
    }
    job = real_slurm.submit(
        environment,
        *("--array=1-2", "--gpus-per-node=0", "--cpus-per-task=1", str(shipped("slurm") / "evaluate.sbatch")),
        *("evaluate", str(checkpoint()), str(checkpoint("other", 1)), "--on", str(root), str(other_root)),
        *("--conditions", "conditions/quick", "--out", "grid"),
        cwd=tmp_path,
    )
    assert set(real_slurm.wait_for(environment, job).values()) == {"COMPLETED"}
    assert not missing_cells(tmp_path / "grid")
    cells = [
        line
        for line in read_metrics(tmp_path / "grid").to_pylist()
        if line["part"] == "all" and line["kind"] == "image" and line["root"] != "*"
    ]
    assert len(cells) == 2 * 2 * 3
