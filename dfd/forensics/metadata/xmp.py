"""XMP packets: every property by name and value (ISO 16684-1).

A packet comes from a stranger: no document type, no entities (defusedxml), and no more elements than are
counted before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

MAX_PACKET = 2_000_000  # bytes that are parsed; a photograph's has 2 to 50 KB, history of edits included
_MAX_MARKS = 40_000  # tags and attributes, by the signs that begin them
_MAX_DEPTH = 16
_MAX_PROPERTIES = 1_000
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_X = "adobe:ns:meta/"
_CONTAINERS = (f"{{{RDF}}}Seq", f"{{{RDF}}}Bag", f"{{{RDF}}}Alt")
# namespaces are told apart by their URI; a file may give them any prefix
_PREFIXES = {
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/xap/1.0/sType/ResourceRef#": "stRef",
    "http://ns.adobe.com/xmp/note/": "xmpNote",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/camera-raw-settings/1.0/": "crs",
    "http://ns.adobe.com/lightroom/1.0/": "lr",
    "http://ns.adobe.com/pdf/1.3/": "pdf",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.useplus.org/ldf/xmp/1.0/": "plus",
    "http://ns.google.com/photos/1.0/creations/": "GCreations",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://ns.google.com/photos/1.0/container/": "Container",
    "http://ns.microsoft.com/photo/1.0": "MicrosoftPhoto",
    "http://ns.microsoft.com/photo/1.0/": "MicrosoftPhoto",
    "http://www.gimp.org/xmp/": "GIMP",
    "http://www.gimp.org/ns/2.10/": "GIMP",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
    RDF: "rdf",
    "http://www.w3.org/XML/1998/namespace": "xml",
    _X: "x",
}


class Property(NamedTuple):
    """A value of an XMP packet.

    A list gives one property an item; a structure's are named by the way to them, as in
    xmpMM:History/stEvt:softwareAgent.
    """

    name: str
    value: str


def read_xmp(packet: bytes) -> tuple[list[Property], str]:
    """The properties of a packet, and what is wrong with it, "" for nothing."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if packet[:2] in (b"\xff\xfe", b"\xfe\xff"):
        packet = packet[: 2 * MAX_PACKET].decode("utf-16", "ignore").encode()
    packet = packet.strip(b"\0 \t\r\n")
    if len(packet) > MAX_PACKET or packet.count(b"<") + packet.count(b"=") > _MAX_MARKS:
        return [], f"XMP of {len(packet)} bytes, which is not read"
    try:
        root = fromstring(packet, forbid_dtd=True)
    except DefusedXmlException:
        return [], "XMP with a document type or entities, which is not read"
    except (ParseError, ValueError, LookupError) as error:  # ValueError, LookupError: of its encoding
        return [], f"XMP that is not well-formed: {error}"
    found: list[Property] = []
    toolkit = root.get(f"{{{_X}}}xmptk")
    if toolkit:
        found.append(Property("x:xmptk", toolkit))
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    for description in rdf if rdf is not None else ():
        for found_one in _properties(description, "", 0):
            found.append(found_one)
            if len(found) >= _MAX_PROPERTIES:
                return found, f"XMP with more than {_MAX_PROPERTIES} properties"
    return found, ""


def _properties(node: Element, above: str, depth: int) -> Iterator[Property]:
    """Those of a description or a structure: its attributes and its children."""
    for name, value in node.attrib.items():
        short = _short(name)
        if not short.startswith(("rdf:", "xml:")):
            yield Property(above + short, value)
    if depth < _MAX_DEPTH:
        for child in node:
            yield from _property(child, above + _short(child.tag), depth + 1)


def _property(node: Element, name: str, depth: int) -> Iterator[Property]:
    resource = node.get(f"{{{RDF}}}resource")
    if resource is not None:
        yield Property(name, resource)
    elif len(node) == 1 and node[0].tag in _CONTAINERS:
        for item in node[0]:
            if depth < _MAX_DEPTH:
                yield from _property(item, name, depth + 1)
    elif len(node) == 1 and node[0].tag == f"{{{RDF}}}Description":
        yield from _properties(node[0], f"{name}/", depth)
    elif len(node) or any(not _short(each).startswith(("rdf:", "xml:")) for each in node.attrib):
        value = node.find(f"{{{RDF}}}value")
        if value is not None and value.text:
            yield Property(name, value.text.strip())
        for inner in _properties(node, f"{name}/", depth):
            if not inner.name.endswith("/rdf:value"):
                yield inner
    elif node.text and node.text.strip():
        yield Property(name, node.text.strip())


def _short(name: str) -> str:
    """A name as people know it, xmp:CreatorTool; of an unknown namespace with the last part of its URI."""
    if not name.startswith("{"):
        return name
    uri, _, local = name[1:].partition("}")
    prefix = _PREFIXES.get(uri) or uri.rstrip("/#").rpartition("/")[2] or uri
    return f"{prefix}:{local}"
