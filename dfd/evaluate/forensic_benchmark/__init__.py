"""Benchmark of the forensic tools: tools x sets x metrics, and the word of trust that each has earned.

    pictures.py       the sets, and how their pictures are saved
    scenes.py         photographs of a simulated camera
    planted_edits.py  splice, copy-move, fill, double JPEG, resampling, with masks
    examined.py       what the tools say of them, a file a cell
    localization.py   a map against a mask
    metrics.py        the tidy table with intervals
    trust.py          the rule, and measured.json
    page.py           REPORT.md, report.html
    benchmark.py      all of it

As photoholmes does for its methods; no torch.
"""

from dfd.evaluate.forensic_benchmark.benchmark import QUICK, Benchmark, Sizes, bench, sets_of
from dfd.evaluate.forensic_benchmark.examined import ToolsOf
from dfd.evaluate.forensic_benchmark.planted_edits import KINDS, plant

__all__ = ["KINDS", "QUICK", "Benchmark", "Sizes", "ToolsOf", "bench", "plant", "sets_of"]
