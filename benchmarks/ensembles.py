"""What ensembles of several checkpoints give: each way of fusing them, fitted on val, beside its members on
the test split of each root, with paired intervals of the difference from the member that is best on val.

Every member judges each picture once; what is judged is kept in OUT and not judged again. The logits of an
ensemble are computed from its members', as tests/evaluate/test_make_ensemble.py shows that they may be.

    python benchmarks/ensembles.py --on shards/140k shards/dagnelies --out ensembles \\
        a=runs/a/checkpoints/best.ckpt b=runs/b/checkpoints/best.ckpt c=runs/c/checkpoints/best.ckpt

--fit names the roots whose val fits, where those of --on hold fakes that nothing may have seen. Writes
OUT/ensembles.md. "experts" takes each member's own calibration, and the larger of the log odds; "added" their sum.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from dfd.batch import Predictions
from dfd.calibration.ensemble import auroc, best_single, fit_ensemble, of_experts
from dfd.evaluate.grid import Options, named_detector
from dfd.evaluate.members import check_members, member_table
from dfd.evaluate.names import detector_name, named, root_name
from dfd.evaluate.plan import NamedDetector
from dfd.metrics import interval, paired
from dfd.models.ensemble import HOW, OF_EXPERTS

NAMES = [field.name for field in fields(Predictions)]


def judged(
    members: list[NamedDetector], root: str, split: str, out: Path, options: Options
) -> tuple[Predictions, np.ndarray]:
    """The pictures of a split, and the members' logits (N, M)."""
    prints = "-".join(member.sha256[:8] for member in members)
    file = out / f"{root_name(root)}-{split}-{options.limit or 'all'}-{prints}.npz"
    if not file.is_file():
        table, logits, _ = member_table(members, [root], split, options)
        np.savez(file, logits=logits, **{name: getattr(table, name).astype(str) for name in NAMES})
    stored = np.load(file)
    kinds = {"row": int, "label": int, "logit": float, "familiarity": float}
    columns = {name: stored[name].astype(kinds.get(name, str)) for name in NAMES}
    return Predictions(**columns), stored["logits"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("members", nargs="+", help="NAME=CHECKPOINT")
    parser.add_argument("--on", nargs="+", required=True, help="folders of finished shards")
    parser.add_argument("--fit", nargs="+", help="roots whose val fits; those of --on by default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--limit", type=int, help="pictures of each class and source, for a quick look")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    options = Options(workers=args.workers, device=args.device, limit=args.limit)
    files = named(args.members, "member", detector_name)
    members = [named_detector(name, path, options) for name, path in files.items()]
    check_members(members)
    fit = args.fit or args.on
    val = [judged(members, root, "val", args.out, options) for root in fit]
    logits = np.concatenate([each for _, each in val])
    label = np.concatenate([table.label for table, _ in val])
    best = list(files)[best_single(logits, label)]
    ways = {
        how: of_experts([member.detector.card.calibration for member in members], list(files))
        if how in OF_EXPERTS
        else fit_ensemble(logits, label, how)
        for how in HOW
    }

    def fused(how: str, logits: np.ndarray) -> np.ndarray:
        if how in files:
            return logits[:, list(files).index(how)]
        parts = ways[how].parts(logits)
        return parts.max(1) if HOW[how] else parts.sum(1)

    lines = [
        f"Val: {len(label)} pictures of {', '.join(map(root_name, fit))}. AUROC with 95% intervals, and in "
        f"brackets the difference from {best}, the best member on val, on the same pictures.",
        "",
        f"| | val | {' | '.join(map(root_name, args.on))} |",
        f"|---|---|{'---|' * len(args.on)}",
    ]
    tests = [judged(members, root, "test", args.out, options) for root in args.on]
    for how in (*files, *HOW):
        cells = [f"{auroc(fused(how, logits), label):.3f}"]
        for table, each in tests:
            mine, theirs = (replace(table, logit=fused(which, each)) for which in (how, best))
            low, high = interval(mine)
            told = f"{auroc(mine.logit, mine.label):.3f} ({low:.3f}, {high:.3f})"
            if how != best:
                gap = paired(mine, theirs)
                told += f" [{gap.value:+.3f}, {gap.low:+.3f} to {gap.high:+.3f}]"
            cells.append(told)
        lines.append(f"| {how} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    (args.out / "ensembles.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
