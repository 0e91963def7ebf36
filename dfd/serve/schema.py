"""OpenAPI schema of the service: what requests take and answers hold.

Answers are sent as the workers write them; a test holds them against these classes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class Problem(BaseModel):
    """Why there is no answer."""

    status: int
    code: str
    message: str


class Moment(BaseModel):
    """One face in one frame of a video."""

    frame: int
    seconds: float
    box: tuple[float, float, float, float]
    status: str
    verdict: str | None
    prob: float | None
    logit: float | None
    familiarity: float | None
    reason: str


class Face(BaseModel):
    """What is said of one face, as `dfd score --json` prints it, with words for people; of a video also when
    it was seen, and each of its moments.
    """

    status: Literal["ok", "no_face", "too_small", "no_detector", "unreadable"]
    face: int
    faces: int
    box: tuple[float, float, float, float] | None
    crop: tuple[int, int, int, int] | None
    verdict: Literal["no_trace", "fake", "inconclusive", "unfamiliar"] | None
    expert: str
    prob: float | None
    logit: float | None
    familiarity: float | None
    threshold: float | None
    inconclusive: tuple[float, float] | None
    calibrated_on: str
    reason: str
    face_detector: str
    word: str
    sentences: list[str]
    start: float | None = None
    end: float | None = None
    looked: int | None = None
    interval: tuple[float, float] | None = None
    moments: list[Moment] | None = None


class Picture(BaseModel):
    """The picture in whose pixels boxes are given, made small, as a data: address."""

    width: int
    height: int
    address: str


class ShownMoment(BaseModel):
    """A moment that looks most fake, as a data: address."""

    face: int
    seconds: float
    prob: float | None
    address: str


class Clip(BaseModel):
    """P(fake) of a video's faces over time, as a data: address, and the moments that look most fake."""

    curve: str | None
    moments: list[ShownMoment]


class Scored(BaseModel):
    """A file's scores; or only its name, and the problem that it met."""

    name: str
    sha256: str | None = None
    bytes: int | None = None
    scores: list[Face] | None = None
    picture: Picture | None = None
    clip: Clip | None = None
    problem: Problem | None = None


class Inspected(Scored):
    """A file's scores, and what it says of its own making, as `dfd inspect --json` prints it."""

    inspection: dict[str, Any] | None = None
    summary: list[str] | None = None
    evidence: list[dict[str, Any]] | None = None
    page: str | None = None


class ScoredFiles(BaseModel):
    """In the order of the request."""

    files: list[Scored]


class InspectedFiles(BaseModel):
    """In the order of the request."""

    files: list[Inspected]


class Explained(BaseModel):
    """A map of one face's verdict, and how far to believe it; pictures as data: addresses. Of a face without
    a verdict of fake or no trace found, `no_verdict` says that the map explains none, and why.
    """

    name: str
    face: int
    method: str
    title: str
    meaning: str
    signed: bool
    holds: bool
    no_verdict: str
    how_far: str
    seen: str
    map: str
    width: int
    height: int


class Model(BaseModel):
    """A detector, what its P(fake) rests on, and whether maps are made here, or in `no_maps` why not."""

    name: str
    sha256: str
    net: str
    dfd: str
    calibrated_on: str
    threshold: float | None
    inconclusive: tuple[float, float] | None
    knows_strange_pictures: bool
    finds_faces: bool
    face_detector: str
    maps: bool
    no_maps: str
    closing: str


class Models(BaseModel):
    """Those that the service judges by."""

    models: list[Model]


class State(BaseModel):
    """Whether the service can judge now."""

    state: Literal["ok", "ready", "not ready"]


def form(max_files: int) -> dict[str, Any]:
    """What a route adds to the schema, since its form is read by hand.

    Args:
        max_files: of one request.
    """
    one = {"type": "string", "format": "binary"}
    file = one if max_files == 1 else {"type": "array", "items": one, "minItems": 1, "maxItems": max_files}
    whole = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": file},
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": whole}}}}


_MEANINGS = {
    400: "The form or an option cannot be read.",
    401: "There is no token, or an unknown one.",
    403: "The token has other scopes, or a page of another site asks.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    415: "The body is no form.",
    421: "The service is asked by a name that it does not know.",
    422: "There is no file, or it cannot be judged.",
    429: "Too much is underway; Retry-After says when to come again.",
    500: "The worker ended, or dfd is at fault.",
    503: "No worker can judge now.",
    504: "Judging took too long.",
    507: "The file cannot be kept.",
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": Problem.model_json_schema()}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


READING = _problems(401, 403, 421)
JUDGING = _problems(*_MEANINGS)
