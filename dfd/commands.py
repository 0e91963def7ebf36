"""Our own verbs: one plain typed function each, which cyclopts serves.

A signature is a command line: what comes before `*` is positional, the rest are options; the docstring is the
help page. Imports are inside, so that `dfd --help` and a mistyped option are answered at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dfd.terminal import printable


def prepare(
    source: Path,
    /,
    *,
    out: Path,
    reader: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    allow_leaks: bool = False,
    match: str | None = None,
    frames: int | None = None,
    margin: float | None = None,
    faces: Path | None = None,
    shard: str | None = None,
    merge: bool = False,
) -> None:
    """Pictures become WebDataset shards of the original bytes, with a table of contents; the source is only
    read.

    Of videos, and of photographs whose faces have boxes, the faces are cut out and kept as PNG.

    Interrupted and started again, it goes on. Run again on a finished output it says what changed in the
    source since, and changes nothing. Splits that come with the source are kept; where it has train but no
    val, a tenth of the training families becomes val.

    Args:
        source: A folder of pictures or videos, or a CSV or JSON Lines file with path, label and optional
            group, split, source, method.
        out: Folder for the shards.
        reader: How to read the source, a built-in reader or package.module:function; by default its layout is
            recognised.
        workers: Processes, at least 1; by default one a core.
        overwrite: Replace what the folder holds.
        allow_leaks: Keep the source's own splits even where related pictures lie in two of them.
        match: For a fair comparison: "jpeg=90,size=224" makes a second set of finished shards (SOURCE), in
            which the central square of every picture is resized and encoded alike.
        frames: How many frames of each video are looked at, spread evenly over the whole of it.
        margin: Side of a cut square, as a multiple of the longer side of the face's box; by default 1.3.
        faces: YuNet's .onnx file, for videos; by default the one of DFD_YUNET or of the extra dfd[faces].
        shard: Do a part of the slow work only, such as 3/16: the third of 16 tasks of a job array, into the
            same OUT.
        merge: Make the shards of what the parts did; refuse if one is missing.
    """
    from dfd.prepare.job_array import ArrayTask
    from dfd.prepare.pipeline import prepare
    from dfd.shards.format import SHARD_BYTES

    if match is not None:
        from dfd.prepare.reencode import Reencoding, reencode

        if reader or overwrite or allow_leaks or frames or margin or faces or shard or merge:
            raise ValueError(
                "--match makes a second set of finished shards: it takes --out and --workers alone."
            )
        _tell(reencode(source, out, Reencoding.parse(match), workers))
        return

    if shard and (merge or overwrite):
        raise ValueError(
            "--shard makes a part: it takes no --merge, which comes after all parts, and no --overwrite."
        )
    part = ArrayTask.parse(shard) if shard else None
    _tell(
        prepare(
            source,
            out,
            reader,
            workers,
            SHARD_BYTES,
            overwrite,
            allow_leaks,
            frames,
            margin,
            faces,
            part,
            merge,
        )
    )


def index(root: Path, /, *, allow_leaks: bool = False) -> None:
    """Makes the table of contents of WebDataset shards that were made elsewhere, and says how it read their
    labels.

    A label is the json's "label" or else the cls: real, fake, 0 (real) or 1 (fake). What dfd prepare made has
    its table.

    Args:
        root: Folder that holds the .tar files.
        allow_leaks: Keep the shards' own splits even where related pictures lie in two of them.
    """
    from dfd.prepare.index import index_root

    _tell(index_root(root, allow_leaks=allow_leaks))


def combine(faces_140k: Path, ciplab: Path, /, *, out: Path) -> None:
    """140K and ciplab's set become one tree of class folders: hard links where the file system has them, else
    copies.

    140K keeps its splits; ciplab's families are dealt 80/10/10 by their hash. Interrupted and started again,
    it goes on; a finished tree is left alone, and a folder that holds anything else is refused. Then: dfd
    prepare OUT --out SHARDS.

    Args:
        faces_140k: Folder of the 140K set, at any of its levels.
        ciplab: Folder of ciplab's set, at any of its levels.
        out: Folder for the tree; its pictures are the sources' own files, so do not edit them there.
    """
    from dfd.prepare.combine import combine

    _tell(combine(faces_140k, ciplab, out))


def audit(root: Path, /, *, out: Path | None = None, leaks: bool = False, workers: int | None = None) -> int:
    """What prepared shards hold, and whether something other than forgery gives the label away: an HTML page
    with figures.

    Args:
        root: Folder that dfd prepare or dfd index made.
        out: Folder for audit.html, its figures and facts.json; by default ROOT-audit beside the shards.
        leaks: Only look for related pictures in different splits: equal files, equal groups, near duplicates.
            Exit code 1 if there are any.
        workers: Processes that read pictures; by default one a core.
    """
    from dfd.audit import audit, find_leaks
    from dfd.shards.pattern import parse_root
    from dfd.shards.table import load_table

    if leaks:
        found = find_leaks(load_table(root))
        _tell(found)
        return int(found.crossing)
    folder = Path(parse_root(root).folder).resolve()
    _tell(audit(root, out or folder.with_name(f"{folder.name}-audit"), workers))
    return 0


def generate(
    checkpoint: Path,
    /,
    *,
    num: int,
    like: Path,
    out: Path,
    seed: int = 0,
    split: str = "train",
    source: str = "dfd-gan",
    method: str = "fastgan",
) -> None:
    """A trained generator's fakes become shards, to be trained on beside others: --data.roots '{SHARDS: 1,
    OUT: 0.5}'.

    Each is written as a real of other shards was: its size, quantization tables, chroma and metadata, and
    nearly its length; dfd audit of both shows nothing but what the pictures show. The same seed gives the
    same files.

    Args:
        checkpoint: File that dfd fit --config gan wrote; nothing else is needed, and no network.
        num: How many fakes.
        like: Shards whose reals the files are to resemble: those that the generator was trained on, as a
            rule.
        out: Folder for the shards.
        seed: Of latents and everything else that is drawn.
        split: Where the fakes belong, and whose reals they resemble. A detector should be judged on others:
            leave it at train.
        source: What the table calls them, and
        method: how it says that they were made.
    """
    from dfd.inference.generate import generate

    print(generate(checkpoint, out, like, num, seed, split, source, method))


def export(
    checkpoint: Path,
    /,
    *,
    out: Path,
    format: Literal["safetensors"] = "safetensors",
    allow: tuple[str, ...] = (),
) -> None:
    """A trained net without its training: weights that any program reads, which judge wherever a checkpoint
    does.

    Of weights and their moving average, the average. Recipe, view, calibration and where it came from stand
    in the file's header, and once more in OUT.json.

    Args:
        checkpoint: File that dfd fit wrote.
        out: File to write, NAME.safetensors.
        format: Of the weights.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package.
    """
    from dfd.inference.export import export

    print(export(checkpoint, out, ("dfd.", *(f"{package.rstrip('.')}." for package in allow))))


def score(
    checkpoint: Path,
    /,
    *paths: Path,
    whole: bool = False,
    faces: Path | None = None,
    json: bool = False,
    csv: Path | None = None,
    device: str = "cpu",
    batch_size: int = 32,
    threads: int | None = None,
    allow: tuple[str, ...] = (),
) -> int:
    """Judges every face in files and folders: one line a face, real, fake or inconclusive, or why there is no
    verdict.

    Args:
        checkpoint: File that dfd fit wrote; nothing else is needed, and no network.
        paths: Pictures, and folders that are walked for pictures.
        whole: Take each file as a face crop like those in training instead of looking for faces.
        faces: YuNet's .onnx file; by default the one of DFD_YUNET or of the extra dfd[faces].
        json: Print JSON Lines, one object a face.
        csv: Also write a table to this file; - prints it instead of the text.
        device: Where the net runs, as torch names it.
        batch_size: Crops that go through the net at once.
        threads: How many decode and find faces; by default up to four.
        allow: Packages beside dfd whose code the checkpoint may name, such as my_package.
    """
    from dfd.inference import score_files

    packages = ("dfd.", *(f"{package.rstrip('.')}." for package in allow))
    return score_files(checkpoint, paths, whole, faces, json, csv, device, packages, batch_size, threads)


def sweep(
    file: Path,
    /,
    *,
    trials: int | None = None,
    study: Path | None = None,
    workers: int = 1,
    seed: int | None = None,
) -> None:
    """Hyperparameters by Optuna, from a file that W&B's `wandb sweep` takes too: grid, random or bayes (TPE),
    with early ends.

    Each trial is a process of its own, with its own run folder. Killed and started again, it goes on; started
    on several machines with the same --study on a shared folder, it is one study. The page STUDY/sweep.html
    shows what was found. A program of your own takes --run_folder beside the parameters, and writes
    metrics.csv there, with a column of the metric's name.

    Args:
        file: The sweep's YAML, or the name of one that dfd ships: sweep/grid, sweep/random, sweep/bayes,
            sweep/hyperband.
        trials: How many the study is to have, of all its workers together; by default the file's run_cap, or
            the whole grid.
        study: Folder of the study; by default runs/NAME, with the file's name.
        workers: Trials that run at once here; where CUDA has several devices they are shared out.
        seed: Of random numbers; by default the study's, or 0.
    """
    from dfd.sweep.sweep import sweep

    print(sweep(file, trials, study, workers, seed))


def submit(
    config: str,
    /,
    *options: str,
    nodes: int = 1,
    gpus: int = 1,
    cpus: int = 8,
    time: str = "24:00:00",
    notice: int = 180,
    sbatch: tuple[str, ...] = (),
    dry_run: bool = False,
) -> None:
    """Trains on a Slurm cluster: dfd submit dual_stream --nodes 2 --gpus 4 -- --data data/140k.yaml
    --data.roots=shards/mine.

    It fills slurm/train.sbatch, has sbatch check it, submits it, and says each of these. Told by Slurm that
    its time is nearly up, the job saves itself and is requeued; it goes on where it stood, with the same id,
    run folder and W&B run.

    Args:
        config: As dfd fit takes it: a file, or the name of one that dfd ships.
        options: After --, further options of dfd fit.
        nodes: Machines.
        gpus: GPUs of each node, with a process each; 0 is one process a node on its CPUs, for --config
            overlay/ddp.
        cpus: Cores of each process.
        time: Until the job is requeued: hours:minutes:seconds or days-hours; a number alone is minutes.
        notice: Seconds that it gets for 8 steps, a validation and a save, before the time is up.
        sbatch: A further option of sbatch; may be repeated: --sbatch=--partition=long --sbatch=--account=us
        dry_run: Print the script and have it checked where there is sbatch; submit nothing.
    """
    from dfd.launch.slurm import Job, submit

    submit(config, options, Job(nodes, gpus, cpus, time, notice, sbatch), dry_run)


def runs(folder: Path = Path("runs"), /) -> None:
    """The runs of dfd fit below a folder: running, done, preempted or failed and why, how far, how good, and
    how to go on.

    Args:
        folder: Where to look; by default runs.
    """
    from dfd.run_record import listing

    print(listing(folder))


def tune_batch(config: str, /, *options: str, start: int = 8, most: int = 65536, margin: float = 0.1) -> None:
    """Finds the largest global batch that fits into memory, by short trainings, each in its own process.

    It doubles the batch until one does not fit, then bisects, and prints the command with what is left of the
    largest.

    Args:
        config: What dfd fit would take.
        options: Further options of dfd fit, as they are: --data.roots=SHARDS --config overlay/ddp.
        start: First batch.
        most: Last batch.
        margin: Share of the largest batch that is left free.
    """
    from functools import partial

    from dfd.launch.tune_batch import tune_batch

    print(tune_batch(["--config", config, *options], start, most, margin, partial(print, flush=True)))


def _tell(answer: object) -> None:
    """Prints an answer that repeats what strangers named."""
    print(printable(str(answer)))
