import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dfd.serve.guards import Guards, known_hosts

APP = Starlette(routes=[Route("/", lambda request: PlainTextResponse("in"), methods=["GET", "POST"])])


def client(host="127.0.0.1", more=()):
    return TestClient(Guards(APP, known_hosts(host, more)), base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("host", "more", "asked", "status"),
    [
        ("127.0.0.1", (), "127.0.0.1:8000", 200),
        ("127.0.0.1", (), "LOCALHOST:8000", 200),
        ("127.0.0.1", (), "[::1]:8000", 200),
        ("127.0.0.1", (), "evil.example", 421),
        ("127.0.0.1", (), "localhost.evil.example:8000", 421),
        ("127.0.0.1", (), "localhost@evil.example", 421),
        ("127.0.0.1", (), "", 421),
        ("127.0.0.1", (), "192.168.0.7:8000", 421),
        ("127.0.0.1", ("dfd.example",), "dfd.example", 200),
        ("0.0.0.0", (), "192.168.0.7:8000", 200),
        ("0.0.0.0", (), "evil.example", 421),
        ("0.0.0.0", (), "[not an address", 421),
    ],
)
def test_a_service_is_asked_by_its_own_names_alone(host, more, asked, status):
    assert client(host, more).get("/", headers={"host": asked}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "null"}, 403),  # a file, a frame without rights
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_send(headers, status):
    assert client().post("/", headers=headers).status_code == status
    assert client().get("/", headers=headers).status_code == 200  # which it cannot read


def test_each_answer_has_the_headers_a_refusal_too():
    for answer in (client().get("/"), client().get("/", headers={"host": "evil.example"})):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.json()["code"] == "other_host"
