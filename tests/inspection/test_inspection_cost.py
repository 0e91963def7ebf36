"""What an inspection may cost: seconds of one core and memory for a photograph of 12 megapixels."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_12_megapixels_take_at_most_10_seconds_of_one_core_and_bounded_memory():
    """CPU time, since other tests run beside this one. Without weights of a face detector."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    script = REPOSITORY / "benchmarks" / "inspect_photo.py"
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(r"4000 x 3000.*: ([\d.]+) s of CPU.*; (\d+) MB more", done.stdout)
    assert found, done.stdout
    assert float(found[1]) <= 10 and int(found[2]) <= 500, done.stdout
