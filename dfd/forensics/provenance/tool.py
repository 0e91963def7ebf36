"""Provenance as a finding: a manifest that holds, or does not, or that is not there."""

from __future__ import annotations

import math

from dfd.forensics.finding import Finding, Method, Plain, Table
from dfd.forensics.provenance.checked import BY_ITSELF, Checked, checked
from dfd.forensics.provenance.containers import manifest_store, remote_manifest
from dfd.forensics.provenance.manifest import MAX_WORD, Manifest, read_manifest
from dfd.terminal import printable

METHOD = Method("provenance", "C2PA Technical Specification 2.2")

# what a failure code of C2PA means, the gravest first
_MEANINGS = (
    (
        "content_changed",
        ("assertion.dataHash.", "assertion.bmffHash.", "assertion.boxesHash.", "assertion.collectionHash."),
    ),
    ("signature_broken", ("claimSignature.mismatch", "claimSignature.missing")),
    ("declaration_changed", ("assertion.", "ingredient.", "claim.", "hashedURI.")),
    ("unsupported", ("algorithm.",)),
    ("certificate", ("signingCredential.", "claimSignature.outsideValidity", "timeStamp.")),
)
# a certificate that has run out is no trace of a change; what is not here was changed
_STATUS = {
    "trusted": "clear",
    "untrusted": "clear",
    "certificate": "clear",
    "unverified": "abstained",
    "unsupported": "abstained",
    "check_failed": "abstained",
}
_NOT_ON_THE_LIST = "signingCredential.untrusted"


def provenance(data: bytes, trust: str = "") -> Finding:
    """The C2PA manifest of a file: whether it is there and holds, who signed it, and what it declares.

    With the extra dfd[c2pa] signatures are checked, in a process of its own; without it only the hashes
    are. The network is never used: a manifest that lies elsewhere is named and not fetched, and revocation
    is not asked for.

    Args:
        data: the file.
        trust: the certificates (PEM) of those whose signatures are trusted, as `read_trust` gives them. By
            default nobody's: then a good signature says that nothing was changed since, and not by whom.
    """
    store = manifest_store(data)
    if store is None:
        if address := remote_manifest(data):
            return METHOD("absent", "remote", facts={"address": printable(address)[:MAX_WORD]})
        return METHOD("absent", "none")
    try:
        manifest = read_manifest(store, data)
    except ValueError:
        manifest = None
    answer = checked(data, trust)
    facts = _facts(manifest, answer)
    table = _table(manifest, answer)
    said = _meaning(manifest, answer)
    if said in ("trusted", "untrusted", "unverified"):
        said += _declared(manifest)
    # a trusted signer who declares a trained model's work says more than nothing
    if said.startswith("trusted_ai"):
        return METHOD("found", said, facts=facts, table=table, score=0.0, unit="invalid")
    status = _STATUS.get(said.partition("_ai")[0], "found")
    score = {"found": 1.0, "clear": 0.0}.get(status, math.nan)
    return METHOD(status, said, facts=facts, table=table, score=score, unit="invalid")


def _meaning(manifest: Manifest | None, answer: Checked | None) -> str:
    """The key of the answer. What c2pa-python decides is decided; else dfd's own reading of the hashes is."""
    if answer is not None and answer.state:
        return _by_c2pa(answer)
    if manifest is None:
        return "broken"
    if manifest.binding in ("changed", "altered"):
        return "content_changed" if manifest.binding == "changed" else "declaration_changed"
    if answer is None:
        return "unverified"
    if answer.error.startswith(BY_ITSELF):
        return "check_failed"
    return "unsupported" if "unknown algorithm" in answer.error else "broken"


def _by_c2pa(answer: Checked) -> str:
    if answer.state in ("Trusted", "Valid"):
        return "trusted" if answer.state == "Trusted" else "untrusted"
    codes = [code for code in answer.failures if code != _NOT_ON_THE_LIST]
    return next(
        (said for said, starts in _MEANINGS if any(code.startswith(starts) for code in codes)), "broken"
    )


def _declared(manifest: Manifest | None) -> str:
    """The part of the answer's key for a declaration of a trained model's work."""
    return {"whole": "_ai", "parts": "_ai_parts"}.get(manifest.ai, "") if manifest else ""


def _facts(manifest: Manifest | None, answer: Checked | None) -> dict[str, Plain]:
    facts: dict[str, Plain] = {
        "verified": answer is not None and bool(answer.state),
        "trusted": answer is not None and answer.state == "Trusted",
        "generator": "?",
    }
    if manifest is not None:
        facts |= {
            "generator": manifest.generator or "?",
            "title": manifest.title,
            "declares_ai": manifest.ai,
            "source_types": ", ".join(manifest.source_types),
            "num_actions": len(manifest.actions),
            "num_ingredients": len(manifest.ingredients),
            "hashes": manifest.binding,
            "manifest": manifest.label,
        }
    if answer is not None:
        facts |= {
            "signer": answer.signer or answer.organisation or "?",
            "organisation": answer.organisation or "?",
            "signed": answer.time,
            "failures": ", ".join(answer.failures),
            "ingredient_failures": ", ".join(
                code for code in answer.ingredient_failures if code != _NOT_ON_THE_LIST
            ),
            "why": answer.error,
        }
    return facts


def _table(manifest: Manifest | None, answer: Checked | None) -> Table | None:
    rows: list[tuple[Plain, ...]] = []
    if answer is not None and (answer.signer or answer.organisation):
        rows.append(("signature", f"{answer.signer} ({answer.organisation})", answer.time, ""))
    if manifest is not None:
        rows += [(action, agent, when, source) for action, when, agent, source in manifest.actions]
        rows += [(f"ingredient: {relation}", title, "", "") for title, relation in manifest.ingredients]
    return Table(("entry", "by", "when", "source_type"), tuple(rows)) if rows else None
