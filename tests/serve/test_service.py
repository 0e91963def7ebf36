import asyncio
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from clips import brightening, film
from serving import png
from starlette.testclient import TestClient

from dfd.cli import main
from dfd.detector import load
from dfd.inference import score_files
from dfd.inference.verdict_words import no_verdict, sentences
from dfd.serve.jobs import Job
from dfd.serve.keep import Keep
from dfd.serve.limits import Limits
from dfd.serve.maps import explain, no_maps
from dfd.serve.schema import Explained, InspectedFiles, Models, ScoredFiles
from dfd.serve.tokens import Token, Tokens

GREY, BRIGHT = png((90, 90, 90)), png((230, 230, 230))
WHOLE = {"whole": "true"}


def files(*pairs):
    return [("file", pair) for pair in pairs]


def test_a_file_gets_the_numbers_of_dfd_score(client, detector_file, tmp_path, capsys):
    path = tmp_path / "a.png"
    path.write_bytes(BRIGHT)
    assert score_files(detector_file, [path], whole=True, json=True, allow=("unruly_net.",)) == 0
    own = json.loads(capsys.readouterr().out)
    said = client.post("/v1/score", params=WHOLE, files=files(("a.png", BRIGHT)))
    assert said.status_code == 200
    (found,) = said.json()["files"]
    assert (found["name"], found["sha256"]) == ("a.png", hashlib.sha256(BRIGHT).hexdigest())
    (face,) = found["scores"]
    for name, value in own.items():
        if isinstance(value, float):
            assert face[name] == pytest.approx(value, abs=1e-5), name
        elif name != "path":
            assert face[name] == value, name
    assert face["word"] == "fake" == own["verdict"]
    (score,) = load(detector_file, allow=("unruly_net.",)).score(BRIGHT, whole=True)
    assert face["sentences"] == sentences(score)


def test_several_files_have_their_answers_in_order(client):
    names = [f"folder/{number}.png" for number in range(4)]
    said = client.post(
        "/v1/score", params=WHOLE, files=files(*((name, png((40 * n, 9, 9))) for n, name in enumerate(names)))
    )
    found = said.json()["files"]
    assert [each["name"] for each in found] == names
    logits = [each["scores"][0]["logit"] for each in found]
    assert logits == sorted(logits) and len(set(logits)) == 4
    ScoredFiles.model_validate(said.json())


def test_a_picture_is_given_where_it_is_asked_for(client):
    asked = {**WHOLE, "picture": "true"}
    good, bad = client.post("/v1/score", params=asked, files=files(("a.png", GREY), ("b", b"x"))).json()[
        "files"
    ]
    assert good["picture"]["width"] == 96 and good["picture"]["address"].startswith("data:image/jpeg;base64,")
    assert "picture" not in bad
    assert (
        "picture"
        not in client.post("/v1/score", params=WHOLE, files=files(("a.png", GREY))).json()["files"][0]
    )


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jpg", b"just a text", "not a picture in a format that is read"),
        ("a.zip", b"PK\x03\x04" + bytes(100), "a zip archive: unpack it"),
        ("a.png", GREY[:60], "truncated PNG"),
        ("a.png", b"", "the file is empty"),
    ],
    ids=["text", "zip", "truncated", "empty"],
)
def test_a_file_that_is_no_picture_is_an_answer_too(client, name, data, reason):
    said = client.post("/v1/score", params=WHOLE, files=files((name, data))).json()
    (face,) = said["files"][0]["scores"]
    assert face["status"] == "unreadable" and face["verdict"] is None and reason in face["reason"]


def test_without_a_face_detector_that_is_said(client):
    (face,) = client.post("/v1/score", files=files(("a.png", GREY))).json()["files"][0]["scores"]
    assert face["status"] == "no_detector" and "--whole" in face["reason"]
    # who asks has no command line
    assert (
        'tick "Each file is a crop of one face' in face["sentences"][0] and "--" not in face["sentences"][0]
    )


def test_a_file_that_is_too_large_has_its_problem_and_the_others_their_scores(client):
    sent = files(("big.png", bytes(200_001)), ("a.png", GREY))
    said = client.post("/v1/score", params=WHOLE, files=sent)
    assert said.status_code == 200
    ScoredFiles.model_validate(said.json())
    big, good = said.json()["files"]
    assert (big["name"], big["problem"]["status"], big["problem"]["code"]) == ("big.png", 413, "too_large")
    assert (good["name"], good["scores"][0]["status"]) == ("a.png", "ok")


def test_an_inspection_has_the_evidence_and_the_page(client):
    said = client.post("/v1/inspect", params={**WHOLE, "page": "true"}, files=files(("a.png", GREY)))
    InspectedFiles.model_validate(said.json())
    (found,) = said.json()["files"]
    assert found["inspection"]["sha256"] == found["sha256"] and found["scores"][0]["status"] == "ok"
    assert len(found["evidence"]) == len(found["inspection"]["findings"]) > 10
    assert found["page"].startswith("<!doctype html>") and "a.png" in found["page"]
    # the page holds the verdict, apart from the tools
    assert found["scores"][0]["sentences"][0][:20] in found["page"]
    # the counts of its page, and advice that needs no command line
    tools = len(found["evidence"])
    assert found["summary"][0].startswith((f"None of {tools} tools", f"1 of {tools} tools"))
    assert re.search(r"[1-9]\d* could not judge this picture", found["summary"][-1])
    assert found["summary"][-1] in found["page"]
    advice = [each["sentence"] for each in found["evidence"] if "ask whoever runs this" in each["sentence"]]
    assert advice and not [text for text in (*advice, found["page"]) if re.search("--(faces|mesh)", text)]


@pytest.mark.slow
def test_an_inspection_of_a_video_is_that_of_the_command_line_and_opens_no_path(
    client, detector_file, tmp_path, capsys
):
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    path = film(tmp_path / "it.mp4", brightening())
    words = [str(path), "--out", str(tmp_path / "out"), "--workers", "1", "--json", "--allow", "unruly_net"]
    assert main(["inspect", *words, "--checkpoint", str(detector_file)]) == 0
    own = told(json.loads(capsys.readouterr().out))
    other = film(tmp_path / "other.mp4", brightening()[::-1]).read_bytes()
    # by the name of a film that is there, what is sent is inspected
    for sent in (path.read_bytes(), other, b"x" * 50):
        said = client.post("/v1/inspect", params={"page": "true"}, files=files((str(path), sent)))
        InspectedFiles.model_validate(said.json())
        (found,) = said.json()["files"]
        assert found["inspection"]["sha256"] == found["sha256"] == hashlib.sha256(sent).hexdigest()
        tools = {each["tool"] for each in found["evidence"]}
        assert {"clip_blinks", "clip_jitter", "clip_warping"} <= tools
        assert all(f'id="{tool}"' in found["page"] for tool in tools)
        if sent == path.read_bytes():
            assert told(found["inspection"]) == own
        else:
            assert told(found["inspection"]) != own
    assert found["inspection"]["status"] == "undecodable"


def told(inspection):
    """What is the same of one file wherever it is inspected."""
    for finding in inspection["findings"]:
        del finding["seconds"]
    for score in inspection["detector"]:
        del score["path"]
    return {name: value for name, value in inspection.items() if name not in ("inspected_at", "path")}


def test_a_video_gets_the_verdict_of_the_command_line_and_its_curve(client, detector_file, tmp_path, capsys):
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'dfd[video]'")
    path = film(tmp_path / "it.mp4", brightening())
    said = client.post(
        "/v1/score",
        params={**WHOLE, "picture": "true"},
        files=files(("it.mp4", path.read_bytes()), ("a.png", GREY)),
    )
    ScoredFiles.model_validate(said.json())
    clip, picture = said.json()["files"]
    assert "clip" not in picture and "moments" not in picture["scores"][0]
    (found,) = clip["scores"]
    score_files(detector_file, [path], whole=True, json=True, allow=("unruly_net.",))
    expected = json.loads(capsys.readouterr().out)
    assert len(found["moments"]) == len(expected["moments"]) > 10
    for name in ("logit", "prob", "familiarity", "end"):
        assert found[name] == pytest.approx(expected[name], abs=1e-5), name
    assert (found["verdict"], found["looked"]) == (expected["verdict"], expected["looked"])
    assert any("Seen 0:00.0 to 0:0" in line and "P(fake)" in line for line in found["sentences"])
    assert clip["clip"]["curve"].startswith("data:image/png") and len(clip["clip"]["moments"]) == 3
    broken = client.post("/v1/score", params=WHOLE, files=files(("b.mp4", path.read_bytes()[:300])))
    assert broken.json()["files"][0]["scores"][0]["status"] == "unreadable"


@pytest.mark.slow
def test_a_map_says_how_far_to_believe_it(client):
    said = client.post("/v1/explain", params={**WHOLE, "method": "occlusion"}, files=files(("a.png", BRIGHT)))
    assert said.status_code == 200, said.text
    found = Explained.model_validate(said.json())
    assert (found.method, found.width, found.height) == ("occlusion", 96, 96) and found.how_far
    assert found.no_verdict == ""
    assert found.map.startswith("data:image/png") and found.seen.startswith("data:image/jpeg")


@pytest.mark.parametrize(
    ("params", "sent", "status", "said"),
    [
        ({"face": "2"}, [GREY], 422, "face 2 of 1"),
        ({"method": "tea_leaves"}, [GREY], 422, "tea_leaves"),
        ({}, [b"x"], 422, "No verdict: not a picture"),
        ({}, [b"\0\0\0\x18ftypisom" + bytes(50)], 422, "a.png is a video, and videos have no map"),
        ({}, [GREY, GREY], 422, "Send it alone"),
        ({"face": "0"}, [GREY], 400, "option face=0 of the address"),
        ({"whole": "maybe"}, [GREY], 400, "option whole=maybe of the address: true or false"),
        ({"hole": "true"}, [GREY], 400, "no option 'hole'"),
    ],
)
def test_a_map_that_cannot_be_made_is_said(client, params, sent, status, said):
    answer = client.post(
        "/v1/explain", params={**WHOLE, **params}, files=files(*(("a.png", each) for each in sent))
    )
    assert answer.status_code == status and said in answer.json()["message"]
    assert ".." not in answer.json()["message"]


@pytest.mark.slow
def test_a_map_of_no_verdict_begins_with_that(pool):
    detector = load(pool.setup.checkpoint, allow=("unruly_net.",))
    for grey, verdict in ((128, "inconclusive"), (230, "fake")):
        data = png((grey, grey, grey), 64)
        (score,) = detector.score(data, whole=True)
        found = explain(detector, Job("explain", "a.png", data, whole=True, method="occlusion"))
        assert score.verdict == verdict and found["no_verdict"] == no_verdict(score)
        assert found["no_verdict"].startswith("This map explains no verdict") == (verdict == "inconclusive")


def test_without_torch_there_are_no_maps_and_clients_know(client, pool, monkeypatch):
    detector = load(pool.setup.checkpoint, allow=("unruly_net.",))
    assert no_maps(detector) == "" and 'data-maps="yes"' in client.get("/").text
    monkeypatch.setitem(sys.modules, "captum", None)
    why = no_maps(detector)
    assert why.startswith("maps need captum, which is not installed") and "dfd[train]" in why
    monkeypatch.setattr(pool, "about", pool.about | {"maps": False, "no_maps": why})
    (model,) = Models.model_validate(client.get("/v1/models").json()).models
    assert not model.maps and model.no_maps == why
    page = client.get("/").text
    assert 'data-maps=""' in page and "There are no maps here: maps need captum" in page
    said = client.post("/v1/explain", params=WHOLE, files=files(("a.png", BRIGHT)))
    assert (said.status_code, said.json()["code"]) == (422, "no_map") and why in said.json()["message"]


def test_models_health_and_readiness(client, detector_file):
    (model,) = Models.model_validate(client.get("/v1/models").json()).models
    assert model.sha256 == hashlib.sha256(detector_file.read_bytes()).hexdigest()
    assert "val, 300 images" in model.calibrated_on and "calibrated on" in model.closing
    assert model.finds_faces == bool(model.face_detector), "which file looks for faces"
    assert client.get("/health").json() == {"state": "ok"}
    assert client.get("/ready").json() == {"state": "ready"}


def test_not_ready_without_a_worker(client, pool, monkeypatch):
    monkeypatch.setattr(pool, "_ready", {})
    assert client.get("/ready").status_code == 503 and client.get("/health").status_code == 200


def test_metrics_count_what_was_asked(client):
    for data in (GREY, BRIGHT, b"x"):
        client.post("/v1/score", params=WHOLE, files=files(("a", data)))
    client.post("/v1/score")
    client.get("/made/up/by/a/stranger")
    text = client.get("/metrics").text
    assert 'dfd_requests_total{route="/v1/score",status="200"} 3.0' in text
    assert 'dfd_requests_total{route="/v1/score",status="415"} 1.0' in text
    assert 'dfd_requests_total{route="none",status="404"} 1.0' in text and "stranger" not in text
    assert 'dfd_faces_total{verdict="fake"} 1.0' in text
    assert 'dfd_faces_total{verdict="unreadable"} 1.0' in text
    assert "dfd_workers 1.0" in text and "dfd_requests_underway 0.0" in text


def test_a_token_opens_its_own_routes_alone(app_with):
    tokens = Tokens(
        tuple(
            Token(name, frozenset([name]), hashlib.sha256(name.encode()).hexdigest())
            for name in ("score", "inspect", "metrics")
        )
    )
    client = TestClient(app_with(tokens=tokens)[1], base_url="http://localhost")
    for route, method, opens in (
        ("/v1/score", "post", {"score"}),
        ("/v1/explain", "post", {"score"}),
        ("/v1/inspect", "post", {"inspect"}),
        ("/metrics", "get", {"metrics"}),
        ("/v1/models", "get", {"score", "inspect", "metrics"}),
    ):
        for name in ("score", "inspect", "metrics"):
            # an empty form: whoever is let in is told that
            said = client.request(method, route, headers={"Authorization": f"Bearer {name}"})
            assert (said.status_code == 403) == (name not in opens), (route, name)
        said = client.request(method, route)
        assert said.status_code == 401 and said.headers["www-authenticate"] == "Bearer"
    assert client.get("/health").status_code == client.get("/").status_code == 200
    assert 'id="token"' in client.get("/").text


def test_more_than_the_queue_is_told_to_come_again(app_with):
    _, app = app_with(limits=Limits(queue=2, max_bytes=200_000))

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await asyncio.gather(
                *(client.post("/v1/score", params=WHOLE, files=files(("a.png", GREY))) for _ in range(8))
            )

    answers = asyncio.run(ask())
    assert Counter(each.status_code for each in answers) == {200: 2, 429: 6}
    assert all(int(each.headers["retry-after"]) >= 1 for each in answers if each.status_code == 429)


def test_uploads_are_kept_only_where_that_is_asked_for(app_with, client, tmp_path):
    client.post("/v1/score", params=WHOLE, files=files(("a.png", GREY)))
    assert not list(tmp_path.iterdir())
    keeping = TestClient(app_with(keep=Keep(tmp_path, 5))[1], base_url="http://localhost")
    keeping.post("/v1/score", params=WHOLE, files=files(("a.png", GREY)))
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == GREY
    assert "keeps what you send for 5 minutes" in keeping.get("/").text
    assert "not stored" in client.get("/").text
    tmp_path.chmod(0o700)
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()
    tmp_path.write_text("a file in the folder's place")
    said = keeping.post("/v1/score", params=WHOLE, files=files(("a.png", GREY)))
    assert (said.status_code, said.json()["code"]) == (507, "not_kept")


@pytest.mark.parametrize(
    ("method", "route", "status", "code"),
    [
        ("GET", "/v1/score", 405, "other_method"),
        ("GET", "/v2", 404, "no_address"),
        ("GET", "/docs", 404, "no_address"),
    ],
)
def test_what_is_not_there_is_a_problem_like_the_others(client, method, route, status, code):
    said = client.request(method, route)
    assert said.json()["code"] == code and (status == 404 or "it takes POST." in said.json()["message"])
    assert said.status_code == said.json()["status"] == status
    assert said.headers["content-type"] == "application/problem+json"


def test_too_much_is_refused(client):
    big = client.post("/v1/score", files=files(("a.png", bytes(200_001))))
    assert (big.status_code, big.json()["code"]) == (413, "too_large") and "200,000 are read" in big.json()[
        "message"
    ]
    many = client.post("/v1/score", files=files(*((f"{n}.png", GREY) for n in range(7))))
    assert (many.status_code, many.json()["code"]) == (422, "too_many_files")


def test_the_page_names_its_own_files_alone(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for name, kind in (("serve.css", "text/css"), ("serve.js", "text/javascript")):
        assert f'"{name}"' in page.text
        answer = client.get(f"/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "://" not in page.text and "<style" not in page.text and " style=" not in page.text


def test_the_name_of_a_detector_cannot_write_the_page(app_with, pool, monkeypatch):
    monkeypatch.setattr(pool, "about", {**pool.about, "name": '"><script>alert(1)</script>'})
    assert "<script>alert" not in TestClient(app_with()[1], base_url="http://localhost").get("/").text


def test_limits_are_of_a_service(app_with):
    service, _ = app_with(limits=replace(Limits(), max_bytes=10))
    assert service.admission.limits.max_request == 40
