"""Words for who asks the service and has no command line: what a reader can do, in an option's place."""

from __future__ import annotations

from collections.abc import Callable

from dfd.detector.face_cutter import OR_WHOLE, WITH_WHOLE
from dfd.inference.verdict_words import OF_DRAWINGS, OF_FACES
from dfd.media.face_mesh import BY_MESH
from dfd.media.faces import NO_WEIGHTS

_TICK = 'tick "Each file is a crop of one face, as in training" (a program: whole=true)'
_ASK = "ask whoever runs this service"
_NO_FACES = "this service has no face detector"
# of the command line, and in their place; the longer before what it holds
_WORDS = (
    (f"{NO_WEIGHTS}; {OR_WHOLE}", f"{_NO_FACES}; if the file is a crop of one face, {_TICK}"),
    (NO_WEIGHTS, f"{_NO_FACES}; {_ASK} for one"),
    (WITH_WHOLE, f"may be judged as one: {_TICK}"),
    (BY_MESH, f"this service was given none; {_ASK} for it"),
    (OF_FACES, "Whoever runs this service can name that one."),
    (OF_DRAWINGS, f"If these files are the toy set's own drawings, {_ASK}."),
)


def for_reader(text: str, shown: Callable[[str], str] = str) -> str:
    """A sentence, or a page of them, without options of the command line.

    Args:
        shown: how the text writes its letters, such as `markupsafe.escape` in HTML.
    """
    for said, instead in _WORDS:
        text = text.replace(shown(said), shown(instead))
    return text
