"""Index of several inspected files: one sortable table, a line a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dfd.forensics import Catalogue
from dfd.html import data_address, render, script

COLUMNS = ("picture", "file", "traces", "strongest", "metadata", "provenance", "detector", "not_judged")


@dataclass(frozen=True)
class Line:
    """A file of the index.

    Args:
        path: as it was named.
        page: its page beside the index; "" where there is none.
        photo: a small JPEG file of it; empty where it cannot be decoded.
        traces: how many tools found a trace.
        strongest: title of the one that may be believed most.
        metadata: its answer, as a word.
        provenance: likewise.
        detector: words of the detector, one a face.
        not_judged: why there is no page, or which tools failed.
    """

    path: str
    page: str
    photo: bytes
    traces: int
    strongest: str
    metadata: str
    provenance: str
    detector: str
    not_judged: str


def index_page(lines: Sequence[Line], others: Sequence[str], words: Catalogue, cut_short: str = "") -> str:
    """The page as text.

    Args:
        others: files of the folders that were not tried.
        cut_short: a sentence where not all files could be inspected; it comes first.
    """
    left = [words.page("index_others", count=len(others), names=", ".join(others[:20]))] if others else []
    with_traces = sum(line.traces > 0 for line in lines)
    return render(
        "inspect_index.html.j2",
        title=words.page("index_title", files=len(lines)),
        language=words.language,
        script=script("inspect.js"),
        columns=[words.page(f"column_{column}") for column in COLUMNS],
        summary=[
            *([cut_short] if cut_short else []),
            words.page("index_summary", files=len(lines), with_traces=with_traces),
        ],
        rows=[
            {
                "number": number,
                "photo": data_address(line.photo, "jpeg") if line.photo else "",
                "page": line.page,
                "path": line.path,
                "cells": [
                    line.traces if line.page else "",
                    line.strongest,
                    line.metadata,
                    line.provenance,
                    line.detector,
                    line.not_judged,
                ],
            }
            for number, line in enumerate(lines, 1)
        ],
        others=left,
    )
