"""A stand-in for W&B's server on the loopback address: what `wandb sweep`, `wandb agent`, `wandb sync` and
runs ask of it, and no more.

It hands out a grid's points in turn, or draws at random, and keeps what runs log, in memory.
"""

import itertools
import json
import math
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import yaml


class WandbServer(ThreadingHTTPServer):
    """A server that keeps what it is told.

    Attributes:
        runs: by id: params, config, summary, titles of alerts, and the history, a list of what was logged
            together.
        files: what runs and artifacts uploaded, by path.
        artifacts: by name: type, aliases, metadata and whether all of it came.
        frozen: set, it accepts everything and answers nothing any more.
        kind: of artifact that it says every name to have already; "" where it knows of none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.turn = threading.Lock()
        self.frozen = threading.Event()
        self.sweep: dict[str, Any] = {}
        self.points: Iterator[dict[str, Any]] = iter(())
        self.runs: dict[str, dict[str, Any]] = {}
        self.agents = itertools.count()
        self.files: dict[str, bytes] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.kind = ""

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        here = f"http://127.0.0.1:{self.server_port}"
        return {
            "WANDB_BASE_URL": here,
            "WANDB_API_KEY": "k" * 40,
            "WANDB_MODE": "online",
            "WANDB_SILENT": "false",
        }

    def best(self) -> dict[str, Any]:
        """The run with the best value of the sweep's metric."""
        name, goal = self.sweep["metric"]["name"], self.sweep["metric"]["goal"]
        choose = max if goal == "maximize" else min
        return choose(
            self.runs.values(), key=lambda run: choose(line[name] for line in run["history"] if name in line)
        )

    def answer(self, query: str, told: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer; nothing where the client can do without."""
        name = re.search(r"(?:query|mutation)\s+(\w+)", query)
        known = {
            "Viewer": self._viewer,
            "UpsertSweep": self._upsert_sweep,
            "SweepWithRuns": self._sweep,
            "CreateAgent": lambda told: {"createAgent": {"agent": {"id": f"agent{next(self.agents)}"}}},
            "Heartbeat": self._heartbeat,
            "UpsertBucket": self._upsert_run,
            "RunResumeStatus": self._resume_status,
            "CreateRunFiles": self._create_run_files,
            "NotifyScriptableRunAlert": self._alert,
            "ArtifactType": self._artifact_type,
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": self._commit_artifact,
        }
        with self.turn:
            return known[name[1]](told) if name and name[1] in known else {}

    def stream(self, path: str, told: dict[str, Any]) -> None:
        """What a run logs, line by line: POST /files/ENTITY/PROJECT/RUN/file_stream."""
        run, files = path.split("/")[-2], told.get("files") or {}
        with self.turn:
            lines = files.get("wandb-history.jsonl", {}).get("content", [])
            self.runs[run]["history"] += [json.loads(line) for line in lines]
            for text in files.get("wandb-summary.json", {}).get("content", []):
                self.runs[run]["summary"] = json.loads(text)

    def _viewer(self, told: dict[str, Any]) -> dict[str, Any]:
        person = {
            "id": "1",
            "entity": "tester",
            "username": "tester",
            "email": "",
            "flags": "{}",
            "teams": {"edges": []},
        }
        return {"viewer": person}

    def _upsert_sweep(self, told: dict[str, Any]) -> dict[str, Any]:
        self.sweep = yaml.safe_load(told["config"])
        self.points = itertools.islice(_points(self.sweep), self.sweep.get("run_cap"))
        sweep = {"name": "sweep1", "project": _project(told["projectName"])}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _sweep(self, told: dict[str, Any]) -> dict[str, Any]:
        text = yaml.safe_dump(self.sweep)
        return {
            "project": {
                "sweep": {
                    "id": "1",
                    "name": "sweep1",
                    "state": "RUNNING",
                    "config": text,
                    "runs": {"edges": []},
                }
            }
        }

    def _heartbeat(self, told: dict[str, Any]) -> dict[str, Any]:
        commands = []
        if not json.loads(told["runState"]):  # its agent is idle
            point = next(self.points, None)
            if point is None:
                commands = [{"type": "exit"}]
            else:
                run = f"run{len(self.runs)}"
                self.runs[run] = _new_run(point)
                args = {name: {"value": value} for name, value in point.items()}
                commands = [
                    {"type": "run", "run_id": run, "program": self.sweep.get("program"), "args": args}
                ]
        return {"agentHeartbeat": {"agent": {"id": told["id"]}, "commands": json.dumps(commands)}}

    def _upsert_run(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(told["name"], _new_run())
        config = json.loads(told.get("config") or "{}")
        run["config"] |= {name: entry["value"] for name, entry in config.items()}
        bucket = {
            "id": told["name"],
            "name": told["name"],
            "displayName": told["name"],
            "sweepName": told.get("sweep"),
        }
        bucket |= {"config": told.get("config"), "project": _project(told["project"]), "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _resume_status(self, told: dict[str, Any]) -> dict[str, Any]:
        """Where a run stands that goes on."""
        if (run := self.runs.get(told["name"])) is None:
            return {"model": {**_project(told["project"]), "bucket": None}}
        bucket = {
            "id": told["name"],
            "name": told["name"],
            "displayName": told["name"],
            "summaryMetrics": json.dumps(run["summary"]),
            "config": json.dumps({name: {"value": value} for name, value in run["config"].items()}),
            "historyLineCount": len(run["history"]),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(line) for line in run["history"][-1:]]),
            "eventsTail": "[]",
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps({"t": {}}),
        }
        return {"model": {**_project(told["project"]), "bucket": bucket}}

    def _place(self, path: str) -> str:
        """Where to upload a file."""
        return f"http://127.0.0.1:{self.server_port}/upload/{path}"

    def _create_run_files(self, told: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": self._place(name)} for name in told["files"]]
        return {"createRunFiles": {"runID": told["run"], "uploadHeaders": [], "files": files}}

    def _alert(self, told: dict[str, Any]) -> dict[str, Any]:
        self.runs[told["runName"]]["alerts"].append(told["title"])
        return {"notifyScriptableRunAlert": {"success": True}}

    def _artifact_type(self, told: dict[str, Any]) -> dict[str, Any]:
        known = {"artifact": {"artifactType": {"name": self.kind}}}
        return {"project": known if self.kind else None}

    def _create_artifact(self, told: dict[str, Any]) -> dict[str, Any]:
        given = told["input"]
        name = given["artifactCollectionName"]
        self.artifacts[name] = {
            "type": given["artifactTypeName"],
            "aliases": [each["alias"] for each in given["aliases"]],
            "metadata": json.loads(given.get("metadata") or "{}"),
            "committed": False,
        }
        artifact = {"id": name, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _create_manifest(self, told: dict[str, Any]) -> dict[str, Any]:
        path = f"{told['artifactID']}/manifest.json"
        file = {"id": path, "uploadUrl": self._place(path), "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": told["artifactID"], "file": file}}}

    def _create_artifact_files(self, told: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for given in told["input"]["artifactFiles"]:
            path = f"{given['artifactID']}/{given['name']}"
            node = {"storagePath": path, "uploadUrl": self._place(path), "uploadHeaders": []}
            edges.append({"node": {**node, "artifact": {"id": given["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, told: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[told["artifactID"]]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": told["artifactID"], "digest": ""}}}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer: dict[str, Any] = {}
        while self.server.frozen.is_set():
            time.sleep(0.1)
        if self.path.endswith("/graphql"):
            told = json.loads(body)
            answer = {"data": self.server.answer(told["query"], told.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            self.server.stream(self.path, json.loads(body))
        elif self.path.startswith("/upload/"):
            with self.server.turn:
                self.server.files[unquote(self.path.removeprefix("/upload/"))] = body
        text = json.dumps(answer).encode()
        with suppress(BrokenPipeError):  # a client that has waited long enough
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    do_GET = do_PUT = do_POST

    def log_message(self, *args: Any) -> None:
        """Nothing: the test's own output is enough."""


def _new_run(params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"params": params, "config": {}, "summary": {}, "history": [], "alerts": []}


def _project(name: str) -> dict[str, Any]:
    return {"id": "1", "name": name, "entity": {"id": "1", "name": "tester"}}


def _points(sweep: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parameters of one run after another, as W&B's method chooses them; bayes is left to W&B."""
    domains = sweep["parameters"]
    fixed = {name: told["value"] for name, told in domains.items() if "value" in told}
    varied = {name: told for name, told in domains.items() if "value" not in told}
    if sweep["method"] == "grid":
        for values in itertools.product(*(told["values"] for told in varied.values())):
            yield fixed | dict(zip(varied, values, strict=True))
    rng = random.Random(0)
    while sweep["method"] == "random":
        yield fixed | {name: _drawn(told, rng) for name, told in varied.items()}


def _drawn(told: dict[str, Any], rng: random.Random) -> Any:
    if "values" in told:
        return rng.choice(told["values"])
    if told["distribution"] == "int_uniform":
        return rng.randint(told["min"], told["max"])
    turn, back = (math.log, math.exp) if told["distribution"] == "log_uniform_values" else (float, float)
    return back(rng.uniform(turn(told["min"]), turn(told["max"])))


@contextmanager
def running() -> Iterator[WandbServer]:
    """A server that answers within the block."""
    with WandbServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
