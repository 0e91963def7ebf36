"""Evidence of an inspection: findings in words, each with its tool's measured error rate, the most
trustworthy first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dfd.forensics import STATUSES, Catalogue, Finding
from dfd.forensics.finding import Kind
from dfd.forensics.measured import Measured, measured

# tools of what the file says of itself, not of what its pixels look like
DECLARED = ("provenance", "metadata", "file_structure")
# the best first; untested and describes are what the edits of the benchmark say nothing of
TRUST = ("localises", "detects", "untested", "describes", "weak", "none")


@dataclass(frozen=True)
class Evidence:
    """A finding in words.

    Args:
        title, sentence, look, ignore: from the catalogue.
        figure: how often the tool errs, in a sentence; "" of a tool that only describes.
        measured: the same in numbers; None where this version of the tool was not measured.
        seconds: that the tool took.
    """

    finding: Finding
    title: str
    sentence: str
    look: str
    ignore: str
    figure: str
    measured: Measured | None
    seconds: float

    @property
    def is_found(self) -> bool:
        return self.finding.status == "found"


def in_order(findings: Sequence[Finding], seconds: Sequence[float], words: Catalogue) -> list[Evidence]:
    """The findings in words: those with a trace first, the most trustworthy of them before the others; then
    the rest by status, in the order of the tools.
    """
    listed = [_in_words(finding, spent, words) for finding, spent in zip(findings, seconds, strict=True)]
    return sorted(listed, key=lambda each: (STATUSES.index(each.finding.status), _doubt(each)))


def _doubt(each: Evidence) -> tuple[int, int, float]:
    """Of a trace, least first. What the file says of itself comes first, as a broken signed record; then a
    place in the picture; then how the whole picture was saved or scaled, which has many innocent causes. Of
    these the best measured trust; then how often at worst the tool finds one in an untouched photograph.
    """
    if not each.is_found:
        return 0, 0, 0.0
    reach = 0 if each.finding.tool in DECLARED else 1 if each.finding.regions else 2
    if each.measured is None:
        return reach, len(TRUST), 1.0
    rate = each.measured.false_alarm_rate
    return reach, TRUST.index(each.measured.trust), 1.0 if rate is None else rate.high


def _in_words(finding: Finding, seconds: float, words: Catalogue) -> Evidence:
    figures = measured(finding.tool, finding.version)
    return Evidence(
        finding=finding,
        title=words.title(finding.tool),
        sentence=words.answer(finding),
        look=words.look(finding.tool),
        ignore=words.ignore(finding.tool),
        figure=error_rate(figures, finding.kind, words),
        measured=figures,
        seconds=seconds,
    )


def error_rate(figures: Measured | None, kind: Kind, words: Catalogue) -> str:
    """How far a tool of this kind may be believed, in sentences; "" of one that only describes."""
    if kind == "describes":
        return ""
    if figures is None:
        return words.page("figure_unmeasured")
    said = [words.page(f"figure_{figures.trust}", on=_listed(figures.trusted_on, words))]
    if figures.trust != "none" and figures.trust_jpeg75 != figures.trust:
        after = _listed(figures.trusted_on_jpeg75, words)
        said.append(words.page(f"figure_jpeg75_{figures.trust_jpeg75}", on=after))
    rate = figures.false_alarm_rate
    if rate is not None and kind == "finds":
        said.append(
            words.page(
                "figure_false_alarms",
                count=round(rate.value * rate.num_images),
                low=f"{rate.low:.0%}",
                high=f"{rate.high:.0%}",
                images=rate.num_images,
            )
        )
    return " ".join(said)


def _listed(names: Sequence[str], words: Catalogue) -> str:
    return ", ".join(words.kind(name) for name in names)
