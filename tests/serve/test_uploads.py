import asyncio

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from dfd.serve.faults import Fault
from dfd.serve.limits import Limits
from dfd.serve.uploads import _Reader, read_form

LIMITS = Limits(max_bytes=1000, max_files=4, seconds=1)
NAMES = st.text("abcé .-_/", min_size=1, max_size=20)


def read(body: bytes, content_type: str, sizes=(), limits=LIMITS, pause=0.0):
    """What `read_form` makes of a body that arrives in chunks of these sizes, and the rest."""
    chunks, at = [], 0
    for size in sizes:
        chunks.append(body[at : at + size])
        at += size
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": body[at:], "more_body": False})

    async def receive():
        await asyncio.sleep(pause)
        return messages.pop(0)

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}
    return asyncio.run(read_form(Request(scope, receive), limits))


def form(files=(), fields=()):
    """The same form as another library writes it."""
    request = httpx.Request("POST", "http://x", files=[("file", each) for each in files], data=dict(fields))
    return request.read(), request.headers.get("content-type", "")


def multipart(fields):
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    )
    return f"{parts}--b--\r\n".encode(), "multipart/form-data; boundary=b"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=300)), min_size=1, max_size=3),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_a_form_is_the_same_however_it_is_cut(files, sizes):
    body, kind = form(files)
    assert read(body, kind, sizes).files == files


@pytest.mark.parametrize(
    "body", [form([("a.png", b"1")], [("whole", "true")]), multipart([("whole", "true")])]
)
def test_an_option_in_the_form_is_not_passed_over(body):
    with pytest.raises(Fault, match=r"part named 'whole' with 'true'.*\?whole=true"):
        read(*body)


@pytest.mark.parametrize(
    ("files", "fields", "status", "said"),
    [
        ([("a.png", b"1" * 900)] * 5, (), 413, "4,000 are read"),
        ([(f"{n}.png", b"1") for n in range(5)], (), 422, "more than 4 parts"),
        ((), [("url", "http://example.org/a.jpg")], 422, "Addresses are not opened"),
        ((), [("note", "x" * 1001)], 413, "part 'note' of the form has 1,001 .* 1,000 are read"),
    ],
)
def test_what_is_too_much_or_no_file_is_said(files, fields, status, said):
    # httpx writes fields alone as no multipart form
    body, kind = form(files) if files else multipart(fields)
    with pytest.raises(Fault, match=said) as caught:
        read(body, kind)
    assert caught.value.status == status


@pytest.mark.parametrize("sizes", [(), [7] * 200], ids=["at once", "in chunks"])
def test_a_file_that_is_too_large_costs_the_others_nothing(sizes):
    sent = [("first.png", b"1" * 1000), ("big.png", b"2" * 1001), ("last.png", b"3")]
    body, kind = form(sent)
    first, (name, fault), last = read(body, kind, sizes).files
    assert (first, last) == (sent[0], sent[2])
    assert (name, fault.status, fault.code) == ("big.png", 413, "too_large")
    assert fault.message.startswith("big.png has 1,001 bytes") and "1,000 are read" in fault.message
    assert "--max-bytes" in fault.message


def test_of_a_file_that_is_too_large_nothing_is_held():
    reader = _Reader("b", Limits(max_bytes=1000, max_files=4))
    reader.feed(b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.png"\r\n\r\n')
    for _ in range(30):
        reader.feed(b"1" * 100)
    assert not reader._data and reader.total > 3000


def test_a_form_in_which_no_file_was_chosen_has_none():
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n'
    with pytest.raises(Fault, match="an empty form"):
        read(body, "multipart/form-data; boundary=b")


@pytest.mark.parametrize("kind", ["", "image/png", "application/json", "multipart/form-data", "\x00;;="])
def test_what_is_no_form_is_refused_by_its_type(kind):
    with pytest.raises(Fault) as caught:
        read(b"1", kind)
    assert caught.value.status == 415


def test_a_form_that_breaks_off_is_none():
    body, kind = form([("a.png", b"1" * 100)])
    with pytest.raises(Fault, match="breaks off"):
        read(body[:-30], kind)
    with pytest.raises(Fault, match="cannot be read"):
        read(b"--b\r\n\x00: no header\r\n", "multipart/form-data; boundary=b")


def test_too_much_is_refused_before_the_rest_is_read():
    body, kind = form([("a.png", b"1" * 100_000)])
    seen = []

    async def receive():
        seen.append(1)
        return {"type": "http.request", "body": body[:500], "more_body": True}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
    with pytest.raises(Fault, match="4,000 are read"):
        asyncio.run(read_form(Request(scope, receive), LIMITS))
    assert len(seen) <= 9


def test_a_sender_that_is_too_slow_is_not_waited_for():
    body, kind = form([("a.png", b"1" * 100)])
    with pytest.raises(Fault, match="did not arrive whole within 1 s"):
        read(body, kind, [10] * 8, pause=0.4)


def test_a_name_commands_no_terminal():
    body, kind = form([("\x1b[31m\\a.png", b"1")])
    name = read(body, kind).files[0][0]
    assert name.isprintable() and name.endswith("a.png")
