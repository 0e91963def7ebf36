"""Writing a report: its parts in their order, as one page, and a model card for each detector beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dfd.evaluate.folder import GRID
from dfd.evaluate.names import clean_name
from dfd.evaluate.report.curves import curves, robustness
from dfd.evaluate.report.evidence import Evidence, read_evidence
from dfd.evaluate.report.gallery import gallery
from dfd.evaluate.report.loso import left_out
from dfd.evaluate.report.manifest import failures, manifest
from dfd.evaluate.report.marks import Mark, find_marks
from dfd.evaluate.report.matrix import matrix
from dfd.evaluate.report.metrics_table import metrics
from dfd.evaluate.report.model_card import CARD, DetectorCard, model_card
from dfd.evaluate.report.page import Part, counted, page
from dfd.evaluate.report.run_grid import is_run, write_run_grid
from dfd.evaluate.report.shortcut_audit import shortcuts
from dfd.evaluate.report.slices import slices
from dfd.evaluate.report.summary import red_marks, summary
from dfd.outputs import check_file, output_file

PICTURES = "Pictures"
MOST_BYTES = 15_000_000  # of a page that is sent by mail and opened on a phone
HEAD = b"<!doctype html>"
CARD_HEAD = b"---\nlibrary_name: dfd\n"


@dataclass(frozen=True)
class Report:
    """What `dfd report` wrote; `str` of it is the command's answer."""

    page: Path
    num_cells: int
    missing: int
    marks: Sequence[Mark]
    size: int  # of the page, in bytes
    cards: Sequence[Path]
    logged: str  # what became of it in W&B, "" where that was not asked for

    def __str__(self) -> str:
        cells = counted(self.num_cells, "cell") + (f", {self.missing} missing" if self.missing else "")
        lines = [f"{cells}, {counted(len(self.marks), 'red mark')}"]
        lines += [f"RED: {mark.text}" for mark in self.marks]
        lines.append(f"page: {self.page} ({self.size / 1e6:.1f} MB)")
        lines += [f"model card: {path}" for path in self.cards]
        return "\n".join(lines + ([self.logged] if self.logged else []))


def report(source: Path, out: Path, allow: Sequence[str] = (), wandb: bool = False) -> Report:
    """Writes the page, and beside it a model card for each detector.

    Args:
        source: folder of `dfd evaluate`, finished or not, or of a run.
        out: the page's name, NAME.html.
        allow: packages beside dfd whose code the checkpoints may name.
        wandb: whether W&B gets page, table and figures too.

    Raises:
        ValueError: `source` is neither, or not as dfd writes it; or `out` cannot be written.
        ModuleNotFoundError: huggingface_hub is not installed.
        OSError: the disk is full.
    """
    import huggingface_hub  # noqa: F401  before any work

    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out {out} does not name a web page. Call it report.html or the like.")
    check_file(out, f"--out {out}", heads=(HEAD,))
    if (source / GRID).is_file():
        evidence = read_evidence(source)
        return _report(evidence, f"Evaluation: {source.resolve().name}", out, allow, wandb)
    if not is_run(source):
        raise ValueError(
            f"{source} is neither a grid (it has no {GRID}) nor a run of dfd. Name a folder that dfd "
            f"evaluate, dfd fit or dfd test filled."
        )
    with TemporaryDirectory() as folder:
        notes = write_run_grid(source, Path(folder), allow)
        evidence = read_evidence(Path(folder))
        evidence.notes[:0] = notes
        return _report(evidence, f"Run: {source.resolve().name}", out, allow, wandb)


def _report(evidence: Evidence, title: str, out: Path, allow: Sequence[str], wandb: bool) -> Report:
    marks = find_marks(evidence)
    cards = [model_card(evidence, each["name"], marks) for each in evidence.grid["detectors"]]
    files = _card_files(out, cards)
    for path in files:
        check_file(path, f"the model card {path}", heads=(CARD_HEAD,))
    parts = [
        summary(evidence, marks),
        red_marks(evidence, marks),
        matrix(evidence, marks),
        left_out(evidence),
        metrics(evidence),
        robustness(evidence),
        curves(evidence),
        Part(PICTURES),
        slices(evidence),
        shortcuts(evidence),
        failures(evidence),
        *(card.part() for card in cards),
        manifest(evidence),
    ]
    text = _within(evidence, title, parts, allow)
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, card in zip(files, cards, strict=True):
        with output_file(path) as temporary:
            temporary.write_text(card.markdown(str(evidence.grid.get("split") or "test")), encoding="utf-8")
    with output_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    logged = ""
    if wandb:
        from dfd.evaluate.report.wandb_run import log_report

        logged = log_report(out, evidence, parts, title)
    size = out.stat().st_size
    return Report(out, len(evidence.whole), len(evidence.missing), marks, size, files, logged)


def _card_files(out: Path, cards: Sequence[DetectorCard]) -> list[Path]:
    """MODEL_CARD.md beside the page; of several detectors each has its name in that of its file."""
    if len(cards) == 1:
        return [out.with_name(f"{CARD}.md")]
    return [out.with_name(f"{CARD}-{at}-{clean_name(card.detector)}.md") for at, card in enumerate(cards, 1)]


def _within(evidence: Evidence, title: str, parts: list[Part], allow: Sequence[str]) -> str:
    """The page with as many pictures as it holds."""
    at = next(at for at, part in enumerate(parts) if part.title == PICTURES)
    for each, quality in ((6, 82), (3, 70), (1, 60), (0, 60)):
        parts[at] = gallery(evidence, each, allow, quality)
        text = page(title, parts)
        if len(text.encode()) <= MOST_BYTES:
            return text
    return text
