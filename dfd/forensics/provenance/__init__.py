"""Provenance: the C2PA manifest (Content Credentials) of a file, what it declares, and whether it holds.

containers (where a file keeps its manifest store) -> jumbf, cbor -> manifest (what is declared, own hashes)
checked (c2pa-python in a process of its own: signatures and trust) -> tool (the finding)
"""

from dfd.forensics.provenance.checked import read_trust
from dfd.forensics.provenance.containers import manifest_store, remote_manifest
from dfd.forensics.provenance.manifest import Manifest, read_manifest
from dfd.forensics.provenance.tool import METHOD, provenance

__all__ = [
    "METHOD",
    "Manifest",
    "manifest_store",
    "provenance",
    "read_manifest",
    "read_trust",
    "remote_manifest",
]
