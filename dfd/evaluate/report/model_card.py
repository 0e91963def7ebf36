"""Model card of a judged detector: use, training, results, limits, and what a false accusation costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dfd import __version__
from dfd.batch import FAKE, REAL
from dfd.evaluate.report.evidence import (
    CLEAN,
    Cell,
    Evidence,
    Line,
    certified_words,
    without_sources,
    words_of,
)
from dfd.evaluate.report.marks import Mark
from dfd.evaluate.report.page import Heading, Part, Shaded, Table, Text, counted, number, percent, span
from dfd.evaluate.report.verdict_shares import share_interval
from dfd.evaluate.warnings import FLAGS
from dfd.html import render
from dfd.plots import shortened

CARD, RESULTS = "MODEL_CARD", "Evaluation results"
# metrics of the card's data, as the Hub's leaderboards name them
_EVALUATED = {
    "auroc": "AUROC",
    "balanced_acc": "balanced accuracy",
    "eer": "equal error rate",
    "ece": "calibration error",
}
_ODDS = (2, 10, 1000)  # pictures of which one is fake


@dataclass(frozen=True)
class CardSection:
    title: str
    text: Sequence[str]
    table: Table | None = None


@dataclass(frozen=True)
class DetectorCard:
    """What there is to say of one detector, for the page and for MODEL_CARD.md."""

    detector: str
    sections: Sequence[CardSection]
    results: Sequence[Line] = field(default_factory=list)  # of clean pictures, the worst first

    def part(self) -> Part:
        """As a part of the page."""
        blocks = []
        for section in self.sections:
            if section.title == RESULTS:  # they are the page itself
                continue
            blocks += [Heading(section.title), *(Text(text) for text in section.text)]
            blocks += [section.table] if section.table else []
        return Part(f"Model card of {shortened(self.detector, 40)}", blocks)

    def markdown(self, split: str) -> str:
        """As a file of the Hugging Face Hub, whose data lists the results with their intervals.

        Raises:
            ModuleNotFoundError: huggingface_hub is not installed.
        """
        from huggingface_hub import EvalResult, ModelCard, ModelCardData

        results = [
            EvalResult(
                task_type="image-classification",
                task_name="Deepfake detection",
                dataset_type="dfd-shards",
                dataset_name=line.place.root,
                dataset_config=line.place.root,  # results are put together by it, not by the name
                dataset_split=split,
                metric_type=name,
                metric_name=title,
                metric_value=round(line.number(name), 6),
                metric_args={
                    end: round(value, 6)
                    for end, value in zip(("low", "high"), line.ends(name), strict=True)
                    if math.isfinite(value)
                }
                | {"images": line.count("num_images"), "families": line.count("num_families")},
            )
            for line in self.results
            for name, title in _EVALUATED.items()
            if math.isfinite(line.number(name))
        ]
        data = ModelCardData(
            library_name="dfd",
            pipeline_tag="image-classification",
            tags=["deepfake-detection", "image-forensics"],
            **({"model_name": self.detector, "eval_results": results} if results else {}),
        )
        body = render("model_card.md.j2", detector=self.detector, sections=self.sections, version=__version__)
        return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}").content)


def model_card(evidence: Evidence, detector: str, marks: Sequence[Mark]) -> DetectorCard:
    """The card of a detector, by what it was judged on."""
    facts = evidence.facts("detector", detector)
    lines = [line for place, line in evidence.whole.items() if place.detector == detector]
    lines = sorted(
        (line for line in lines if math.isfinite(line.number("auroc"))), key=lambda line: line.number("auroc")
    )
    clean = [line for line in lines if line.place.condition == CLEAN]
    return DetectorCard(
        detector,
        [
            CardSection("Intended use", _use(facts)),
            _false_accusations(evidence, clean),
            CardSection("Trained on", _training(facts)),
            _results(lines),
            CardSection("Limits", _limits(evidence, detector, lines, marks)),
        ],
        clean,
    )


def _use(facts: Mapping[str, Any]) -> list[str]:
    trained = words_of(facts.get("trained_on"))
    drawn = (
        ["It was trained on drawings and knows nothing of photographs."] if facts.get("of_drawings") else []
    )
    return [
        *drawn,
        "To help a person who checks pictures of faces: it says how a picture compares with the real and "
        "fake pictures that "
        f"it was trained on ({trained}), and where it cannot tell it says inconclusive or unfamiliar.",
        "Its words are one piece of evidence beside the picture's origin, its metadata and other witnesses. "
        '"No trace '
        'found" does not mean that a picture is real: a forgery of a kind that it has never met leaves no '
        "trace that it knows.",
        "Not for: decisions without a person, moderation by a threshold alone, claims about a named person, "
        "pictures of other things than faces, or proof in court.",
    ]


def _false_accusations(evidence: Evidence, clean: Sequence[Line]) -> CardSection:
    """What the word "fake" is worth, by how rare fakes are."""
    text = [
        "A real picture that is called fake takes from somebody the truth of what they show or say; a "
        "correction seldom "
        "reaches those who read the accusation. So count what the word is worth before it is said.",
    ]
    rows = []
    for line in clean:
        cell = evidence.cell(line.place)
        rates = _rates(cell) if cell is not None else None
        if rates is None:
            continue
        (found, *_), (alarms, low, high) = rates
        worth = [
            Shaded(_innocent(found, alarms, odds), f"at most {_innocent(found, high, odds)}")
            for odds in _ODDS
        ]
        rows.append(
            (
                line.place.root,
                Shaded(percent(alarms), f"{percent(low)} to {percent(high)}"),
                percent(found),
                *worth,
            )
        )
    if not rows:
        return CardSection("What a false accusation costs", [*text, "It was not measured here."])
    odds = [f"1 fake in {each:,}" for each in _ODDS]
    header = ("pictures of", "reals called fake", "fakes called fake", *odds)
    caption = "Of the clean pictures called fake, the share that is real, where one in so many is fake"
    return CardSection("What a false accusation costs", text, Table(header, rows, caption))


def _rates(cell: Cell) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """Share of fakes and of reals called fake, each with its interval; None where a class lacks."""
    rates = []
    for truth in (FAKE, REAL):
        mine = cell.predictions.label == truth
        if not mine.any():
            return None
        hit = cell.verdict[mine] == "fake"
        rates.append((float(hit.mean()), *share_interval(hit, cell.predictions.family[mine])))
    return rates[0], rates[1]


def _innocent(found: float, alarms: float, odds: int) -> str:
    """Of pictures called fake, the share that is real, where one of `odds` pictures is fake."""
    called = found + (odds - 1) * alarms
    return percent((odds - 1) * alarms / called) if called else "none called"


def _training(facts: Mapping[str, Any]) -> list[str]:
    known = {
        "Pictures": "trained_on",
        "Net": "net",
        "Checkpoint chosen by": "selected_on",
        "Temperature, thresholds and familiarity from": "calibrated_on",
        "Seed": "seed",
        "View": "view",
        "SHA-256 of the file": "sha256",
        "dfd version": "version",
    }
    told = [f"{title}: {words_of(without_sources(facts.get(name)))}." for title, name in known.items()]
    return told + certified_words(facts)


def _results(lines: Sequence[Line]) -> CardSection:
    rows = [
        (
            f"{line.place.root}, {line.place.step}",
            Shaded(number(line.number("auroc")), span(*line.ends("auroc"))),
            Shaded(number(line.number("balanced_acc")), span(*line.ends("balanced_acc"))),
            number(line.number("ece")),
            percent(line.number("coverage")),
            f"{line.count('num_images'):,} / {line.count('num_families'):,}",
        )
        for line in lines
    ]
    header = (
        "pictures of, condition",
        "AUROC",
        "balanced accuracy",
        "ECE",
        "coverage",
        "pictures / families",
    )
    if not rows:
        return CardSection(RESULTS, ["None: no pictures of both classes were judged."])
    text = ["The worst first; 95% intervals over families."]
    if any("limited" in line.flags for line in lines):
        text.append(f"{FLAGS['limited'].capitalize()}.")
    return CardSection(RESULTS, text, Table(header, rows))


def _limits(evidence: Evidence, detector: str, lines: Sequence[Line], marks: Sequence[Mark]) -> list[str]:
    told = []
    if lines:
        worst, low = lines[0], lines[0].ends("auroc")[0]
        guess = " That cannot be told from guessing." if not low > 0.5 else ""
        told.append(
            f"Worst: an AUROC of {number(worst.number('auroc'))} "
            f"({span(*worst.ends('auroc')) or 'no interval'}) on "
            f"{worst.place.root}, {worst.place.step}, {counted(worst.count('num_images'), 'picture')}.{guess}"
        )
    told.append(
        f"It was judged on {counted(len(evidence.names('root')), 'root')}. On pictures of other cameras, "
        f"generators and forgeries nothing is known of it."
    )
    if not any(evidence.is_attack(place.condition) for place in evidence.whole if place.detector == detector):
        told.append("It was not attacked here: what somebody who wants to fool it can do is not known.")
    if evidence.missing:
        told.append(f"The evaluation is not finished: {counted(len(evidence.missing), 'cell')} are missing.")
    own = [mark for mark in marks if any(place.detector == detector for place in mark.places)]
    return told + [f"RED MARK: {mark.text}" for mark in own]
