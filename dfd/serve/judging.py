"""Judging of uploaded files in a worker process: scores, inspections and maps as plain JSON values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from markupsafe import escape

from dfd import __version__
from dfd.calibration import WORDS
from dfd.detector import Detector, Score
from dfd.detector.inputs import read_input
from dfd.detector.published import detector_file
from dfd.durable import sha256_of
from dfd.forensics import Catalogue
from dfd.forensics.tools import Files
from dfd.html import data_address
from dfd.inference.clip import is_clip, score_clip
from dfd.inference.clip_page import FACES, curve_png, moment_pictures, worst_moments
from dfd.inference.verdict_words import closing, sentences
from dfd.inspection.drawings import small_photo
from dfd.inspection.inspect import face_title
from dfd.inspection.one_file import Task, inspect_bytes
from dfd.inspection.page import DetectorSays, badge, summary
from dfd.media.formats import Undecodable
from dfd.serve.faults import Fault
from dfd.serve.jobs import Job, Setup
from dfd.serve.maps import no_maps
from dfd.serve.reader_words import for_reader


def about(detector: Detector, checkpoint: Path) -> dict[str, Any]:
    """What the service says of its detector."""
    digest = sha256_of(detector_file(checkpoint))
    speaks = detector.speaks and bool(detector.card.calibrated_on)
    why = no_maps(detector)
    return {
        "name": checkpoint.name,
        "sha256": digest,
        "net": str(detector.card.net.get("class_path", "")),
        "dfd": __version__,
        "calibrated_on": detector.basis if speaks else "",
        "threshold": detector.threshold if speaks else None,
        "inconclusive": list(detector.band) if speaks else None,
        "knows_strange_pictures": detector.gate is not None,
        "finds_faces": detector.faces is not None,
        "face_detector": detector.faces.identity if detector.faces is not None else "",
        "maps": not why,
        "no_maps": why,
        "closing": for_reader(closing(detector)),
    }


def score(detector: Detector, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The scores of several files, whose faces go through the net together; as `dfd score --json` prints
    them, with words for people beside them.
    """
    faces = [detector.crop_faces(job.data, job.whole) for job in jobs]
    scores = iter(detector.judge([face for each in faces for face in each]))
    return [_file(job, [next(scores) for _ in each]) for job, each in zip(jobs, faces, strict=True)]


def score_video(detector: Detector, job: Job) -> dict[str, Any]:
    """The scores of a video, one a face; with its picture the curves over time and the worst moments."""
    scores = score_clip(detector, job.data, job.whole)
    said = _file(replace(job, picture=False), scores)
    shown = [score for score in scores if score.moments][:FACES]
    if not (job.picture and shown):
        return said
    worst = {score.face: worst_moments(score) for score in shown}
    pictures = moment_pictures(
        job.data, [moment for each in worst.values() for moment in each], detector.view.margin
    )
    moments = [
        {
            "face": face,
            "seconds": moment.seconds,
            "prob": moment.prob,
            "address": data_address(pictures[moment.frame, moment.box], "png"),
        }
        for face, each in worst.items()
        for moment in each
    ]
    judged = any(moment.prob is not None for score in shown for moment in score.moments)
    curve = data_address(curve_png(shown, detector.band), "png") if judged else None
    return said | {"clip": {"curve": curve, "moments": moments}}


def inspect(detector: Detector, job: Job, setup: Setup) -> dict[str, Any]:
    """What a file says of its own making, as `dfd inspect --json` prints it, with the detector's verdict."""
    scores: Sequence[Score]
    if is_clip(Path(job.name), job.data):
        scores = score_clip(detector, job.data, job.whole)
    else:
        scores = detector.score(job.data, job.whole)
    says = DetectorSays([(face_title(each), sentences(each)) for each in scores], closing(detector))
    task = Task(
        path=Path(Path(job.name).name),
        shown=job.name,
        folder=Path(),
        name=job.name,
        files=Files(faces=setup.faces, mesh=setup.mesh),
        language="en",
        detector=says,
        detector_facts=[asdict(each) for each in scores],
    )
    try:
        examined = inspect_bytes(task, job.data)
    except ModuleNotFoundError as error:
        raise Fault(
            422,
            "no_inspection",
            f"{job.name} is a video, and {error.name}, which decodes it, is not installed where the service "
            "runs. Whoever runs it adds it by pip install 'dfd[video]'.",
        ) from error
    words = Catalogue(task.language)
    evidence = [
        {
            "tool": each.finding.tool,
            "status": each.finding.status,
            "word": badge(each.finding, words),
            "title": each.title,
            "sentence": for_reader(each.sentence),
            "figure": each.figure,
        }
        for each in examined.evidence
    ]
    said = _file(job, scores) | {
        "inspection": examined.facts,
        "summary": summary(examined.examination, examined.evidence, words),
        "evidence": evidence,
    }
    # its words are of the command line, whose options a reader of the page does not have
    return said | ({"page": for_reader(examined.page, escape)} if job.page else {})


def _file(job: Job, scores: Sequence[Score]) -> dict[str, Any]:
    said = {
        "name": job.name,
        "sha256": hashlib.sha256(job.data).hexdigest(),
        "bytes": len(job.data),
        "scores": [_face(each) for each in scores],
    }
    if job.picture and any(each.status != "unreadable" for each in scores):
        said["picture"] = _picture(job)
    return said


def _face(found: Score) -> dict[str, Any]:
    plain = asdict(found)
    del plain["path"]  # the file's name stands beside its faces
    word = WORDS.get(found.verdict or "", "no verdict")
    return plain | {"word": word, "sentences": [for_reader(each) for each in sentences(found)]}


def _picture(job: Job) -> dict[str, Any] | None:
    """The picture in whose pixels boxes are given, made small."""
    try:
        pixels = read_input(job.data).pixels
    except Undecodable:  # a picture of which only parts may be judged
        return None
    address = data_address(small_photo(pixels), "jpeg")
    return {"width": pixels.shape[1], "height": pixels.shape[0], "address": address}
