"""Programs that a file names: generators, which declare it synthetic; apps that change faces; editors.

An edit is no forgery, and anybody may have written a generator's name: what counts is what the file says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

from dfd.forensics.metadata.file import File
from dfd.forensics.metadata.program_names import (
    EDITORS,
    FACE_APPS,
    GENERATOR_CREDITS,
    GENERATORS,
    GENERATORS_ALONE,
)
from dfd.forensics.metadata.read import Field, Metadata

# fields in which programs name themselves
_PROGRAM_FIELDS = frozenset({
    ("EXIF", "Software"),
    ("EXIF", "ProcessingSoftware"),
    ("XMP", "xmp:CreatorTool"),
    ("XMP", "tiff:Software"),
    ("XMP", "xmpMM:History/stEvt:softwareAgent"),
    ("IPTC", "OriginatingProgram"),
    ("tEXt", "Software"),
    ("zTXt", "Software"),
    ("iTXt", "Software"),
    ("tEXt", "Source"),
    ("iTXt", "Source"),
})  # fmt: skip
_PNG_TEXTS = ("tEXt", "zTXt", "iTXt")
_MAX_NAMED = 100  # fields in which programs are looked for; a long history of edits has as many
_COMMENTS = frozenset({("COM", "Comment"), ("GIF", "Comment")})
_CREDITS = frozenset({("XMP", "photoshop:Credit"), ("IPTC", "Credit")})

# IPTC digital source types (cv.iptc.org/newscodes/digitalsourcetype): made by a model, or changed by one
_SYNTHETIC_TYPES = {
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "compositeSynthetic",
    "algorithmicMedia",
}
# which IPTC has for generators alone since 2025
_AI_FIELDS = ("Iptc4xmpExt:AISystemUsed", "Iptc4xmpExt:AIPromptInformation")
# What the web interfaces of image generators write as text, by keyword, and what such a text has in it: all
# of these patterns, one by one, since a single one of both could take long on a hostile text.
_PARAMETERS = {
    "parameters": (r"\bSteps: ?\d|sui_image_params", r"\b(Sampler|CFG scale|Seed): ?|\"(seed|model)\""),
    "prompt": (r'"class_type"\s*:|"inputs"\s*:',),
    "workflow": (r'"nodes"\s*:|"last_node_id"\s*:',),
    "dream": (r"-[sS] ?\d+",),
    "sd-metadata": (r'"model|"image"',),
    "invokeai_metadata": (r"\{",),
    "invokeai_graph": (r"\{",),
    "fooocus_scheme": (r"\w",),
    "generation_data": (r'"prompt"|"model',),
    "title": (r"^NovelAI generated image|^AI generated image$",),
    "comment": (r'"(sampler|uncond_scale|uc)"\s*:', r'"(seed|steps)"\s*:'),
    "description": (r"--(v|ar|style|niji|stylize|chaos)\b", r"\bJob ID: ?[0-9a-f-]{36}"),
    "sd:prompt": (r"\w",),
}
_STEPS = re.compile(r"\bSteps: ?\d+, .{0,200}\b(Sampler|CFG scale|Seed): ?", re.DOTALL)
# the label that China asks for since September 2025 (GB 45438-2025); 1: made by a generator
_LABEL = re.compile(r'"?Label"?\s*[:=]\s*"?1\b')
_FREE_TEXTS = (
    ("EXIF", "UserComment"),
    ("EXIF", "ImageDescription"),
    ("XMP", "dc:description"),
    ("COM", "Comment"),
)


def declared_synthetic(file: File) -> str:
    """The file says that a generator made it, or changed it."""
    fields = file.metadata.fields
    found = [*_source_types(fields), *_parameters(fields), *_labels(fields)]
    found += [f"{origin} {name}: {_short(value)}" for origin, name, value in fields if name in _AI_FIELDS]
    found += _named(file.metadata, GENERATORS.search, _PROGRAM_FIELDS)
    found += _named(file.metadata, GENERATORS_ALONE.fullmatch, _PROGRAM_FIELDS)
    found += _named(file.metadata, GENERATOR_CREDITS.fullmatch, _CREDITS)
    return "; ".join(dict.fromkeys(found))


def face_app_named(file: File) -> str:
    """The file names a program that is made to change or to swap faces."""
    return "; ".join(dict.fromkeys(_named(file.metadata, FACE_APPS.search, _PROGRAM_FIELDS)))


def editor_named(file: File) -> str:
    """The file names a program by which pictures are edited or converted."""
    return "; ".join(dict.fromkeys(_named(file.metadata, EDITORS.search, _PROGRAM_FIELDS | _COMMENTS)))


def last_program(metadata: Metadata) -> str:
    """The program that the file names as its last, in EXIF's Software or XMP's CreatorTool."""
    return metadata.get("EXIF", "Software") or metadata.get("XMP", "xmp:CreatorTool")


def _named(
    metadata: Metadata, is_named: Callable[[str], object], where: frozenset[tuple[str, str]]
) -> Iterator[str]:
    named = (field for field in metadata.fields if field[:2] in where)
    for origin, name, value in islice(named, _MAX_NAMED):
        if is_named(value[:500].strip()):
            yield f"{origin} {name}: {_short(value)}"


def _source_types(fields: tuple[Field, ...]) -> Iterator[str]:
    for origin, name, value in fields:
        kind = value.rstrip("/").rpartition("/")[2]
        is_type = name.lower().endswith(("digitalsourcetype", "digitalsourcefiletype"))
        if origin == "XMP" and is_type and kind in _SYNTHETIC_TYPES:
            yield f"XMP {name}: {kind}"


def _parameters(fields: tuple[Field, ...]) -> Iterator[str]:
    for origin, name, value in fields:
        patterns = _PARAMETERS.get(name.lower(), ()) if origin in _PNG_TEXTS else ()
        is_of_interface = patterns and all(re.search(each, value) for each in patterns)
        if is_of_interface or ((origin, name) in _FREE_TEXTS and _STEPS.search(value)):
            yield f"{origin} {name}: {_short(value)}"


def _labels(fields: tuple[Field, ...]) -> Iterator[str]:
    for origin, name, value in fields:
        is_label = "aigc" in name.lower() or ("AIGC" in value[:200] and (origin, name) in _FREE_TEXTS)
        if is_label and _LABEL.search(value[:2000]):
            yield f"{origin} {name}: {_short(value)}"


def _short(value: str) -> str:
    value = " ".join(value.split())
    return value if len(value) <= 120 else value[:119] + "…"
