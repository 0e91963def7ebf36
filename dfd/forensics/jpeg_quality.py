"""JPEG quality: quantization tables, the libjpeg quality that they are or are nearest to, and subsampling."""

from __future__ import annotations

from dfd.forensics.finding import Finding, Method, Table
from dfd.forensics.jpeg import jpeg_facts

METHOD = Method("jpeg_quality", "ITU-T T.81, annex K.1; tables of libjpeg")


def jpeg_quality(data: bytes) -> Finding:
    """Quality, tables and subsampling of a JPEG file; absent of any other."""
    facts = jpeg_facts(data)
    if facts is None:
        return METHOD("absent", "no_jpeg")
    table = Table(
        ("table", "steps"),
        tuple((number, " ".join(map(str, steps))) for number, steps in enumerate(facts.tables)),
    )
    said = {
        "quality": facts.quality,
        "subsampling": facts.subsampling,
        "progressive": facts.progressive,
        "table_id": facts.table_id,
    }
    answer = "standard" if facts.standard else "own_tables"
    return METHOD("clear", answer, facts=said, table=table)
