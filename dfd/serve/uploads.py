"""Uploads: the files of a multipart form, read within limits while they arrive, and held in memory alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dfd.media.files import elsewhere
from dfd.serve.faults import Fault
from dfd.serve.limits import Limits
from dfd.terminal import printable

if TYPE_CHECKING:
    from starlette.requests import Request

_FIELD_BYTES = 1000  # of a field that is no file
_NAME = 255  # letters of a file's name
_HOW = "curl -F file=@photo.jpg ADDRESS"


@dataclass
class Form:
    """What a form brought.

    Args:
        files: (name, bytes) each; of one that is too large a fault in place of its bytes.
        others: (name of the part, value, "" of a file) of what is no part named file.
    """

    files: list[tuple[str, bytes | Fault]] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)


async def read_form(request: Request, limits: Limits) -> Form:
    """The form of a request.

    Raises:
        Fault: it is none, breaks off, is too large as a whole or too slow, or has no file.
    """
    kind, options = _content_type(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        came = f"a body of type {printable(kind[:80])}" if kind else "a body without a type"
        raise Fault(415, "no_form", f"{came}: a multipart form with a part named file is read, as of {_HOW}.")
    from starlette.requests import ClientDisconnect

    reader = _Reader(options["boundary"], limits)
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                reader.feed(chunk)
    except ClientDisconnect as error:
        raise Fault(400, "broken_form", "The sender left before the request was whole.") from error
    except TimeoutError as error:
        raise Fault(
            408,
            "slow_sender",
            f"The request did not arrive whole within {limits.seconds:g} s. Send fewer or smaller files.",
        ) from error
    form = reader.end()
    if form.others or not form.files:
        raise _wrong_form(form)
    return form


def _content_type(header: str) -> tuple[str, dict[str, str]]:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(header)
    return kind.decode("latin-1"), {
        key.decode("latin-1"): value.decode("latin-1") for key, value in options.items()
    }


def _wrong_form(form: Form) -> Fault:
    if not form.others:
        return Fault(422, "no_file", f"an empty form: at least one file is needed. Send it so: {_HOW}.")
    name, value = form.others[0]
    came = f"a part named {printable(name)[:40]!r}{f' with {printable(value)[:80]!r}' if value else ''}"
    return Fault(
        422,
        "other_part",
        f"{came}: a form has files alone, each in a part named file. {elsewhere(value)}Send it so: {_HOW}; "
        "options stand in the address, as ?whole=true.",
    )


class _Reader:
    """A multipart form, fed in chunks."""

    def __init__(self, boundary: str, limits: Limits):
        from python_multipart.multipart import MultipartParser

        self.limits, self.form, self.total, self.is_whole = limits, Form(), 0, False
        self._size = 0  # of the part, whose bytes are dropped once they are too many
        self._header = self._value = b""
        self._headers: dict[str, str] = {}
        self._data = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        from python_multipart.exceptions import FormParserError

        self.total += len(chunk)
        if self.total > self.limits.max_request:
            raise too_large("The request has", self.total, self.limits.max_request)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Fault(
                400, "broken_form", f"The form cannot be read: {error}. Send it as {_HOW} does."
            ) from error

    def end(self) -> Form:
        if self.total and not self.is_whole:
            raise Fault(400, "broken_form", "The form breaks off before its end. Send the request again.")
        return self.form

    def _begin(self) -> None:
        self._headers, self._data, self._size = {}, bytearray(), 0

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        options = self._options()
        if options.get("filename") is None and self._size > _FIELD_BYTES:
            what = f"The part {printable(options.get('name', ''))[:40]!r} of the form has"
            raise too_large(what, self._size, _FIELD_BYTES)
        if self._size > self.limits.max_bytes:
            self._data.clear()
        else:
            self._data += data[start:end]

    def _on_part_end(self) -> None:
        options = self._options()
        name = options.get("filename")
        part = options.get("name", "")
        if name is None:
            self.form.others.append((part, self._data.decode("utf-8", "replace")))
        elif part != "file":
            self.form.others.append((part, ""))
        # a browser sends a nameless, empty file for a form in which none was chosen
        elif name or self._size:
            shown, limit = _plain(name), self.limits.max_bytes
            whole = self._size <= limit
            data = bytes(self._data) if whole else too_large(f"{shown} has", self._size, limit)
            self.form.files.append((shown, data))
        if len(self.form.files) + len(self.form.others) > self.limits.max_files:
            raise Fault(
                422,
                "too_many_files",
                f"The form has more than {self.limits.max_files} parts. Send the files in several requests.",
            )

    def _on_end(self) -> None:
        self.is_whole = True

    def _options(self) -> Mapping[str, str]:
        # the names of files are UTF-8 in forms, which headers are not
        found = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', self._headers.get("content-disposition", ""))
        return {key.lower(): value for key, value in found}


def _plain(name: str) -> str:
    """A file's name as answers repeat it, with the folders that a browser gives."""
    return printable(name.replace("\\", "/"), keep="")[-_NAME:] or "unnamed"


def too_large(what: str, size: int, limit: int) -> Fault:
    return Fault(
        413,
        "too_large",
        f"{what} {size:,} bytes or more, and {limit:,} are read. Send a smaller file, or fewer at once; "
        "whoever runs the service sets the limit by --max-bytes.",
    )
