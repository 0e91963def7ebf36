"""Provenance: C2PA manifests are read and checked as they are, and nothing is ever fetched."""

import contextlib
import datetime
import io
import json
import random
import socket
import struct
import threading
from pathlib import Path

import pytest
from c2pa_files import SOURCE_TYPES, box, cbor, changed, superbox, with_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import jpeg, photo, png

from dfd.forensics import Catalogue
from dfd.forensics.provenance import (
    checked,
    manifest_store,
    provenance,
    read_manifest,
    remote_manifest,
)
from dfd.forensics.provenance import tool as provenance_tool
from dfd.forensics.provenance.cbor import read_cbor
from dfd.forensics.provenance.jumbf import read_jumbf
from dfd.forensics.tools import Files, tools_with

PICTURE = jpeg(photo(1, 96))
SAMPLES = {
    "c2pa-rs__cli__tests__fixtures__C.jpg": ("clear", "untrusted"),
    # its ingredient's signature was broken when it was taken in, and the record says so
    "c2pa-rs__sdk__tests__fixtures__CIE-sig-CA.jpg": ("clear", "untrusted"),
    "c2pa-rs__sdk__tests__fixtures__IMG_0003.jpg": ("absent", "none"),
    "c2pa-rs__sdk__tests__fixtures__XCA.jpg": ("found", "content_changed"),
    "c2pa-rs__sdk__tests__fixtures__adobe-20220124-E-clm-CAICAI.jpg": ("found", "declaration_changed"),
    "c2pa-rs__sdk__tests__fixtures__cloud.jpg": ("absent", "remote"),
    "c2pa-rs__sdk__tests__fixtures__cloudx.jpg": ("absent", "remote"),
    "c2pa-rs__sdk__tests__fixtures__ingredient__contentauth_urn_uuid_b2b1f7fa-b119-4de1-9c0d-c97fbea3f2c3__"
    "c2pa.assertions__c2pa.thumbnail.claim.jpeg": ("absent", "none"),
    "c2pa-rs__sdk__tests__fixtures__libpng-test.png": ("absent", "none"),
    "c2pa-rs__sdk__tests__fixtures__mars.webp": ("absent", "none"),
    "c2pa-rs__sdk__tests__fixtures__no_alg.jpg": ("abstained", "unsupported"),
    "c2pa-rs__sdk__tests__fixtures__test_xmp.webp": ("absent", "none"),
    "public-testfiles__image__jpeg__adobe-20220124-CACAICAICICA.jpg": ("clear", "untrusted"),
    "public-testfiles__image__jpeg__adobe-20220124-CAICA.jpg": ("clear", "untrusted"),
    "public-testfiles__image__jpeg__adobe-20220124-CI.jpg": ("clear", "untrusted"),
    "public-testfiles__image__jpeg__adobe-20220124-E-uri-CA.jpg": ("found", "declaration_changed"),
    "public-testfiles__image__jpeg__adobe-20220124-XCA.jpg": ("found", "content_changed"),
}


@pytest.fixture
def no_extra(monkeypatch):
    """As on a machine without c2pa-python."""
    monkeypatch.setattr(provenance_tool, "checked", lambda data, trust: None)


@pytest.fixture(scope="module")
def samples(real_data) -> dict[str, bytes]:
    folder = real_data / "c2pa-samples"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def said(finding) -> tuple[str, str]:
    assert Catalogue().answer(finding)
    return finding.status, finding.answer


@pytest.mark.slow
def test_every_sample_is_what_its_name_says(samples):
    pytest.importorskip("c2pa")
    assert {name: said(provenance(data)) for name, data in samples.items()} == SAMPLES


def test_without_the_extra_tampered_samples_are_still_found(samples, no_extra):
    own = {name: said(provenance(data)) for name, data in samples.items()}
    # signatures are not checked then
    unverified = {"untrusted": ("abstained", "unverified"), "unsupported": ("abstained", "unverified")}
    assert own == {
        name: unverified.get(answer, (status, answer)) for name, (status, answer) in SAMPLES.items()
    }


def test_own_reading_agrees_with_c2pa(samples):
    """c2pa-python is the second implementation of what a manifest declares."""
    c2pa = pytest.importorskip("c2pa")
    num = 0
    for name, data in samples.items():
        if SAMPLES[name][0] == "absent" or "no_alg" in name:
            continue
        context = c2pa.Context(settings=c2pa.Settings.from_json(json.dumps(checked.settings())))
        found = json.loads(c2pa.Reader("image/jpeg", io.BytesIO(data), context=context).json())
        active = found["manifests"][found["active_manifest"]]
        own = read_manifest(manifest_store(data), data)
        assert own.label == found["active_manifest"] and own.title == active["title"]
        assert own.generator.replace(" ", "/") in active["claim_generator"].replace(" ", "/")
        theirs = [
            action["action"]
            for assertion in active["assertions"]
            if assertion["label"].startswith("c2pa.actions")
            for action in assertion["data"]["actions"]
        ]
        assert [action for action, *_ in own.actions] == theirs
        assert [title for title, _ in own.ingredients] == [
            each["title"] for each in active.get("ingredients", ())
        ]
        num += 1
    assert num == 9


@pytest.mark.parametrize(
    "at", [0.5, pytest.param(0.1, marks=pytest.mark.slow), pytest.param(0.9, marks=pytest.mark.slow)]
)
def test_a_changed_pixel_and_a_changed_assertion_are_caught(samples, at):
    data = samples["c2pa-rs__cli__tests__fixtures__C.jpg"]
    pixels = data.rfind(b"\xff\xda") + 20
    place = pixels + int(at * (len(data) - pixels - 20))
    assert said(provenance(_flipped(data, place))) == ("found", "content_changed")
    assertion = data.find(b"c2pa.drawing")
    assert said(provenance(_flipped(data, assertion + 5))) == ("found", "declaration_changed")


def test_a_broken_signature_is_caught(samples):
    pytest.importorskip("c2pa")
    data = samples["c2pa-rs__cli__tests__fixtures__C.jpg"]
    # the title stands in the claim, over which the signature is
    place = data.rfind(b"dc:title")
    assert said(provenance(_flipped(data, place + 10)))[0] == "found"


def test_hand_made_manifests_are_read():
    for boxes in (1, 3):
        data = with_manifest(PICTURE, boxes=boxes)
        own = read_manifest(manifest_store(data), data)
        assert (own.generator, own.title, own.binding) == ("A drawing program 3", "A picture", "match")
        assert own.actions == [("c2pa.created", "2026-01-02", "", "digitalCapture")] and own.ai == ""
        assert said(provenance(changed(data))) == ("found", "content_changed")


def test_a_declaration_of_a_trained_model_has_its_own_sentence(no_extra):
    for source, kind in (
        ("trainedAlgorithmicMedia", "unverified_ai"),
        ("compositeWithTrainedAlgorithmicMedia", "unverified_ai_parts"),
        ("algorithmicMedia", "unverified"),
    ):
        finding = provenance(with_manifest(PICTURE, source))
        assert said(finding) == ("abstained", kind)
        assert (source in Catalogue().answer(finding)) == (kind != "unverified")


@pytest.mark.parametrize("wrapped", ["png", "webp", "tiff", "bmff", "gif"])
def test_other_containers(wrapped):
    store = manifest_store(with_manifest(PICTURE))
    files = {
        "png": png(photo(1, 16))[:33] + struct.pack(">I", len(store)) + b"caBX" + store + bytes(4),
        "webp": b"RIFF\0\0\0\0WEBPVP8 \3\0\0\0abc\0C2PA" + struct.pack("<I", len(store)) + store,
        "tiff": b"II*\0\10\0\0\0\1\0" + struct.pack("<HHII", 0xCD41, 7, len(store), 26) + bytes(4) + store,
        "bmff": box(b"ftyp", b"avif")
        + box(
            b"uuid",
            bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(4) + b"manifest\0" + bytes(8) + store,
        ),
        "gif": b"GIF89a"
        + b"\x21\xff\x0bC2PA_GIF\x01\x00\x00"
        + b"".join(
            bytes((len(store[at : at + 255]),)) + store[at : at + 255] for at in range(0, len(store), 255)
        )
        + b"\0",
    }
    assert manifest_store(files[wrapped]) == store


# ---- no network ----


@pytest.fixture
def listener():
    """A loopback server that counts who connects."""
    server = socket.create_server(("127.0.0.1", 0))
    met = []

    def count():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            met.append(connection.recv(1000))
            connection.close()

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    yield server.getsockname()[1], met
    server.close()


def test_a_remote_manifest_is_named_and_not_fetched(samples, listener):
    port, met = listener
    data = samples["c2pa-rs__sdk__tests__fixtures__cloud.jpg"]
    address = remote_manifest(data)
    assert address.startswith("https://cai-manifests.adobe.com/")
    local = f"http://127.0.0.1:{port}/".ljust(len(address), "a")
    finding = provenance(data.replace(address.encode(), local.encode()))
    assert said(finding) == ("absent", "remote")
    assert finding.facts["address"] == local[:200] and local[:60] in Catalogue().answer(finding)
    assert not met


def test_c2pa_itself_fetches_nothing_with_our_settings(samples, listener):
    c2pa = pytest.importorskip("c2pa")
    port, met = listener
    data = samples["c2pa-rs__sdk__tests__fixtures__cloud.jpg"]
    address = remote_manifest(data)
    data = data.replace(address.encode(), f"http://127.0.0.1:{port}/".ljust(len(address), "a").encode())
    assert checked.checked(data).state == "" and not met
    # the proof that this test can fail: as the library comes, it connects
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(data))
    assert met


# ---- signed here ----


def signed(data: bytes, mime: str, source_type: str, ocsp: str | None = None) -> tuple[bytes, str]:
    """A file signed by a certificate of our own, and the root that it hangs on (PEM)."""
    c2pa = pytest.importorskip("c2pa")
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

    def name(common):
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Our Press"),
            ]
        )

    def certificate(common, key, issuer, signer, ca):
        now = datetime.datetime.now(datetime.UTC)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        made = (
            x509.CertificateBuilder()
            .subject_name(name(common))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )
        if not ca:
            made = made.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=True
            )
        if not ca and ocsp:
            access = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp)
            )
            made = made.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("Root", root_key, "Root", root_key, True)
    leaf = certificate("Ada Photographer", key, "Root", root_key, False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = c2pa.C2paSignerInfo(b"es256", leaf + root, private, None)
    claim = {
        "claim_generator_info": [{"name": "Camera", "version": "1"}],
        "title": "A picture",
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {
                    "actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + source_type}]
                },
            }
        ],
    }
    out = io.BytesIO()
    with c2pa.Builder(json.dumps(claim)) as builder, c2pa.Signer.from_info(info) as signer:
        builder.sign(signer, mime, io.BytesIO(data), out)
    return out.getvalue(), root.decode()


@pytest.mark.parametrize("mime", ["image/jpeg", pytest.param("image/png", marks=pytest.mark.slow)])
def test_trusted_untrusted_and_tampered(mime):
    picture = PICTURE if mime == "image/jpeg" else png(photo(1, 96))
    data, root = signed(picture, mime, "digitalCapture")
    finding = provenance(data, trust=root)
    assert said(finding) == ("clear", "trusted")
    assert finding.facts["signer"] == "Ada Photographer" and finding.facts["generator"] == "Camera 1"
    assert finding.table.rows[1] == ("c2pa.created", "", "", "digitalCapture")
    assert said(provenance(data)) == ("clear", "untrusted")
    assert "anybody" in Catalogue().answer(provenance(data))
    place = len(data) - 40 if mime == "image/jpeg" else data.rfind(b"IDAT") + 30
    assert said(provenance(_flipped(data, place), trust=root)) == ("found", "content_changed")


def test_a_trusted_declaration_of_a_trained_model_is_found():
    data, root = signed(PICTURE, "image/jpeg", "trainedAlgorithmicMedia")
    assert said(provenance(data, trust=root)) == ("found", "trusted_ai")
    assert said(provenance(data)) == ("clear", "untrusted_ai")


def test_no_server_is_asked_whether_a_certificate_was_revoked(listener):
    port, met = listener
    data, root = signed(PICTURE, "image/jpeg", "digitalCapture", ocsp=f"http://127.0.0.1:{port}/ocsp")
    assert said(provenance(data, trust=root)) == ("clear", "trusted")
    assert not met
    c2pa = pytest.importorskip("c2pa")
    asked = checked.settings(root)
    asked["verify"]["ocsp_fetch"] = True
    del asked["core"]
    c2pa.Reader(
        "image/jpeg",
        io.BytesIO(data),
        context=c2pa.Context(settings=c2pa.Settings.from_json(json.dumps(asked))),
    )
    assert met  # the proof that this test can fail


def test_a_trust_list_is_read_and_one_without_certificates_is_refused(tmp_path: Path):
    path = tmp_path / "list.pem"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="holds no certificate"):
        tools_with(Files(trust=path))
    data, root = signed(PICTURE, "image/jpeg", "digitalCapture")
    path.write_text(root)
    tool = next(tool for tool in tools_with(Files(trust=path)) if tool.name == "provenance")
    assert said(tool.run(data)) == ("clear", "trusted")


# ---- hostile files ----


def test_a_check_that_hangs_or_breaks_is_ended(monkeypatch, tmp_path: Path):
    pytest.importorskip("c2pa")
    data = with_manifest(PICTURE)
    program = tmp_path / "program.py"
    monkeypatch.setattr(checked, "_PROCESS", program)
    monkeypatch.setattr(checked, "SECONDS", 0.3)
    program.write_text("import time\ntime.sleep(60)")
    assert said(provenance(data)) == ("abstained", "check_failed")
    monkeypatch.setattr(checked, "SECONDS", 20)
    program.write_text("import os\nos.abort()")
    assert said(provenance(data)) == ("abstained", "check_failed")


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_no_cbor_or_a_value(data):
    for read in (read_cbor, read_jumbf):
        with contextlib.suppress(ValueError):
            read(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_cbor_is_read_as_it_was_written(value):
    assert read_cbor(cbor(value)) == value


def test_deep_and_endless_boxes_are_refused():
    deep = superbox(b"c2pa", "c2pa")
    for _ in range(40):
        deep = superbox(b"c2pa", "c2pa", deep)
    with pytest.raises(ValueError, match="levels"):
        read_jumbf(deep)
    with pytest.raises(ValueError, match="boxes"):
        read_jumbf(superbox(b"c2pa", "c2pa", box(b"free", b"") * 30_000))
    with pytest.raises(ValueError, match="levels"):
        read_cbor(b"\x81" * 100_000)
    with pytest.raises(ValueError, match="items"):
        read_cbor(b"\x9f" + b"\x00" * 200_000 + b"\xff")


def test_mutated_files_are_answered(no_extra):
    data = with_manifest(PICTURE, boxes=2)
    head = data.find(b"\xff\xdb")
    for seed in range(400):
        rng = random.Random(seed)
        mutated = bytearray(data)
        for _ in range(rng.choice((1, 2, 8, 40))):
            at = rng.randrange(2, head)
            mutated[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        assert said(provenance(bytes(mutated)))


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
