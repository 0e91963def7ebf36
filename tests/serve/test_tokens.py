import hashlib

import pytest

from dfd.serve.faults import Fault
from dfd.serve.tokens import Tokens


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(
        f"# who may ask\n\nnewsroom score,inspect {digest('one')}\nprometheus metrics {digest('two')}  # ours\n"
    )
    return Tokens.read(path)


def test_a_token_opens_its_scopes(tokens):
    tokens.check("Bearer one", "score")
    tokens.check("bearer one", "inspect")
    tokens.check("Bearer two", "metrics")
    tokens.check("Bearer two", "")


@pytest.mark.parametrize(
    ("header", "scope", "status", "said"),
    [
        ("", "score", 401, "no token"),
        ("Basic b25l", "score", 401, "of another kind"),
        ("Bearer ", "score", 401, "of another kind"),
        ("Bearer three", "score", 401, "not known"),
        ("Bearer ", "", 401, "another kind"),
        ("Bearer two", "score", 403, "prometheus may do metrics, and this needs score"),
    ],
)
def test_everything_else_is_refused(tokens, header, scope, status, said):
    with pytest.raises(Fault, match=said) as caught:
        tokens.check(header, scope)
    assert caught.value.status == status
    assert ("WWW-Authenticate" in caught.value.headers) == (status == 401)


def test_a_hash_is_no_token(tokens):
    with pytest.raises(Fault, match="not known"):
        tokens.check(f"Bearer {digest('one')}", "score")


def test_without_a_file_everybody_may_ask():
    Tokens().check("", "score")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no token"),
        ("# none\n", "has no token"),
        ("newsroom score\n", ":1: 2 words"),
        (f"newsroom judge {digest('one')}\n", "no scope 'judge'"),
        ("newsroom score one\n", "no SHA-256"),
    ],
)
def test_a_file_that_is_none_is_refused_by_its_line(tmp_path, text, said):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        Tokens.read(path)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_file_is_said_with_what_belongs_into_one(tmp_path, name):
    with pytest.raises(ValueError, match=r"--tokens .*: there is no such file\. Write a line each: NAME"):
        Tokens.read(tmp_path / name)
