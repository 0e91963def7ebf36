"""Verbs that say how far a detector may be believed: evaluate, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def evaluate(
    *checkpoint: str,
    on: tuple[str, ...],
    out: Path,
    conditions: str | None = None,
    loso: tuple[str, ...] = (),
    seeds: int = 1,
    fits: int = 1,
    split: Literal["test", "val"] = "test",
    workers: int = 2,
    device: str | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    task: str | None = None,
    drawings: bool = False,
    allow: tuple[str, ...] = (),
) -> None:
    """Where detectors hold and where they break: each judges each set of pictures, as found and damaged, the
    worst result first.

    OUT gets metrics.csv and metrics.parquet, a line for each detector, root, condition and source, with 95%
    intervals; and under cells the predictions of each. Interrupted and started again, it goes on. A detector
    or root is called by its file's name; NAME=PATH gives it another.

    Args:
        checkpoint: Files that dfd fit or dfd export wrote.
        on: Finished shards, or their URLs: one or several.
        out: Folder of the results: new, or that of an earlier dfd evaluate.
        conditions: YAML file of corruptions with severities, or the name of one that dfd ships:
            conditions/quick, conditions/corruptions, conditions/deliveries, conditions/attacks. By default
            the first.
        loso: Leave one source out, instead of judging checkpoints: config of dfd fit by which a net is
            trained without each source of the pictures in turn and judged there; repeated for overlays.
            Runs go to OUT/loso, the result to OUT/loso.csv.
        seeds: With --loso, fits of each source.
        fits: With --loso, how many run at once here.
        split: Pictures to judge.
        workers: Decoding processes; 0 decodes in this one.
        device: Where the nets run, as torch names it; by default a GPU where there is one.
        batch_size: Pictures that are judged at once.
        limit: Judge at most so many pictures of each class and source, for a quick look.
        task: Judge this share alone, such as 3/16, for a job array; the task that ends last, or a run without
            it, makes the tables.
        drawings: The pictures are the toy set's drawings, the only ones that a detector of the toy set has a
            verdict on.
        allow: Packages beside dfd whose code the checkpoints may name, such as my_package; on PYTHONPATH.
    """
    from dfd.evaluate.grid import Options, evaluate
    from dfd.evaluate.loso import leave_one_out
    from dfd.prepare.job_array import ArrayTask

    options = Options(
        split=split,
        batch_size=batch_size,
        workers=workers,
        device=device,
        allow=allow,
        drawings=drawings,
        limit=limit,
        task=ArrayTask.parse(task) if task else ArrayTask(1, 1),
    )
    if loso and checkpoint:
        raise ValueError(
            f"--loso trains the nets that it judges: leave {checkpoint[0]} out, or judge it without --loso."
        )
    if loso:
        leave_one_out(loso, on, out, conditions, options, seeds, fits)
    else:
        evaluate(checkpoint, on, out, conditions, options)


def ensemble(
    *checkpoint: str,
    on: tuple[str, ...],
    out: Path,
    how: Literal["mean", "max", "weighted", "stacked"] = "mean",
    expert: tuple[str, ...] = (),
    fuse: Literal["larger", "added"] = "larger",
    workers: int = 2,
    device: str | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    allow: tuple[str, ...] = (),
) -> None:
    """One detector out of several: a checkpoint that holds them all, fitted and calibrated on validation
    pictures alone, and used as any other.

    Members may cut pictures in different ways. A member is called by its file's name; NAME=PATH gives it
    another. Two experts, instead of members: each was trained on fakes of one kind, each speaks in its own
    calibrated log odds, the larger decides or their sum, and a verdict says which one spoke.

    Args:
        checkpoint: Files that dfd fit or dfd export wrote: two or more.
        on: Finished shards, or their URLs, whose val split fits the ensemble: one or several.
        out: File to write, NAME.ckpt.
        how: What becomes of the members' logits: mean; max, the largest; weighted, a weighted mean with the
            best AUROC on val; stacked, by logistic regression on val. Each logit is first divided by the
            member's calibration on val.
        expert: Instead of members: NAME=PATH, repeated. Three names have words of their own: blend, "a pasted
            border", trace, "a generator's trace", and face, "a face unlike its surroundings".
        fuse: What decides of experts: the larger of their log odds, or these added.
        workers: Decoding processes; 0 decodes in this one.
        device: Where the nets run, as torch names it; by default a GPU where there is one.
        batch_size: Pictures that are judged at once.
        limit: Fit on at most so many pictures of each class and source, for a quick look.
        allow: Packages beside dfd whose code the checkpoints may name, such as my_package; on PYTHONPATH.
    """
    from dfd.evaluate.ensemble import ensemble
    from dfd.evaluate.grid import Options

    if expert and checkpoint:
        raise ValueError(
            f"--expert names all members of a pair of experts: leave {checkpoint[0]} out, or give it as "
            "--expert NAME=PATH."
        )
    if expert and how != "mean":
        raise ValueError(f"--how {how} is of members. Experts are fused by --fuse larger or --fuse added.")
    if fuse != "larger" and not expert:
        raise ValueError(f"--fuse {fuse} is of experts. Name them by --expert NAME=PATH, or use --how.")
    options = Options(batch_size=batch_size, workers=workers, device=device, allow=allow, limit=limit)
    of_experts = "added" if fuse == "added" else "experts"
    ensemble(expert or checkpoint, on, out, of_experts if expert else how, options)


def compare(
    predictions: str,
    /,
    *more: str,
    metric: tuple[str, ...] = ("auroc",),
    csv: Path | None = None,
    on: tuple[str, ...] = (),
    out: Path | None = None,
    conditions: str | None = None,
    workers: int = 2,
    device: str | None = None,
    allow: tuple[str, ...] = (),
) -> None:
    """Is one detector better than another, on the same pictures? Paired tests of their tables, every pair of
    detectors; or, with --on, one table of models with what each costs.

    With --on the arguments are run folders of dfd fit, or checkpoints. They are judged on the test split as
    dfd evaluate does, and OUT gets models.md, models.csv and models.html: metrics with intervals, which of
    them are not shown to be worse than the best, parameters, operations, pictures a second, training time and
    energy.

    The interval of the difference and its p value come from a bootstrap that draws families; beside the AUROC
    stands DeLong's test. With several pairs or metrics all p values are Holm's. Pictures on which a table has
    no verdict are left out of all, and counted.

    Args:
        predictions: Table that dfd test, validate or predict (predictions-*.csv) or dfd evaluate
            (OUT/cells/*/*/*.parquet) wrote; NAME=FILE gives its detector a name, NAME=FILE,FILE has a table
            for each of its training seeds.
        more: Those of the other detectors.
        metric: What is compared; may be repeated: auroc, ap, eer, tpr@fpr0.1, tpr@fpr1, tpr@fpr5, brier, nll,
            ece, coverage; of files of dfd evaluate also acc, balanced_acc, acc_real, acc_fake, precision,
            recall, f1, aurc, risk@cov80, risk@cov50, cov@risk5.
        csv: Also write the tests to this file, in place of an earlier one of the same columns.
        on: Finished shards on which run folders are judged: one or several.
        out: Folder of the table of models, with --on.
        conditions: As in dfd evaluate, with --on; by default pictures as found.
        workers: Decoding processes, with --on.
        device: Where the nets run, with --on; by default a GPU where there is one.
        allow: Packages beside dfd whose code the checkpoints may name, with --on.
    """
    if on or out is not None:
        if csv is not None or metric != ("auroc",):
            raise ValueError(
                "--csv and --metric are of tables of predictions. With --on the table has auroc, "
                "balanced_acc and ece, and OUT/models.csv holds all of it."
            )
        _compare_models((predictions, *more), on, out, conditions, workers, device, allow)
        return
    from dfd.evaluate.compare import compare
    from dfd.evaluate.compare_screen import check_csv, show, write_csv

    if csv is not None:
        check_csv(csv)
    found = compare([predictions, *more], metric)
    show(found)
    if csv is not None:
        write_csv(found, csv)


def _compare_models(
    runs: tuple[str, ...],
    on: tuple[str, ...],
    out: Path | None,
    conditions: str | None,
    workers: int,
    device: str | None,
    allow: tuple[str, ...],
) -> None:
    from dfd.evaluate.grid import Options
    from dfd.evaluate.model_table import METRICS, model_table
    from dfd.evaluate.model_table_files import head_and_rows, notes, write_model_table

    if not on or out is None:
        raise ValueError(
            "a table of models needs both: --on SHARDS, which they are judged on, and --out FOLDER."
        )
    options = Options(workers=workers, device=device, allow=allow)
    table = model_table(runs, on, out, conditions, options)
    head, rows = head_and_rows(table, METRICS[0])
    for row in rows:
        print(" | ".join(f"{name} {cell}" for name, cell in zip(head, row, strict=True)))
    for note in notes(table):
        print(note)
    print("written:", *write_model_table(table, out))


def report(
    source: Path, /, *, out: Path = Path("report.html"), wandb: bool = False, allow: tuple[str, ...] = ()
) -> None:
    """One page of what an evaluation or a run found, for journalists and reviewers: the worst result first,
    in plain words, then every figure with its interval and what it rests on.

    The page needs no network and holds no script. Beside it lies the detector's model card, MODEL_CARD.md.
    What must not be quoted stands in red: pictures that the detector has seen, choices made on them, results
    that file facts can match. A half-finished grid is reported with the cells that are missing.

    Args:
        source: Folder of dfd evaluate, finished or not, or of a run.
        out: The page; an earlier one is replaced.
        wandb: Also log the page, its table and its figures to W&B, as WANDB_MODE says.
        allow: Packages beside dfd whose code the checkpoints may name, such as my_package; on PYTHONPATH.
    """
    from dfd.evaluate.report import report

    print(report(source, out, allow, wandb))


VERBS = (evaluate, ensemble, compare, report)
