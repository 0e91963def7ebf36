"""Chromium without a screen, driven over two pipes by its DevTools protocol: what it shows of a page, and its
complaints.
"""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120  # seconds for any answer: the machine may be busy
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip
LOOK = """JSON.stringify({
    text: document.body.innerText,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    images: [...document.images].map(image => [image.alt, image.complete ? image.naturalWidth : 0]),
})"""


@dataclass
class Seen:
    """A page as the browser showed it."""

    text: str
    overflow: int  # pixels by which it is wider than the window; 0 or less where it fits
    # alternative text, width in the file's pixels: 0 where it could not be shown
    images: list[tuple[str, int]]
    # whatever was loaded, the page itself first; no data: addresses
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  # console and log, warnings and errors
    answer: Any = None  # of the expression that was asked


def missing() -> str:
    """Why no page can be opened; "" where one can."""
    return (
        ""
        if any(map(shutil.which, PROGRAMS))
        else "Chromium is not installed (Debian: apt-get install chromium)"
    )


def look_at(page: Path, profile: Path, width: int = 1280, expression: str = "null") -> Seen:
    """Opens a file in a window of that width.

    Args:
        profile: an empty folder for what the browser keeps.
        expression: JavaScript whose value becomes `Seen.answer`; it runs after the page was looked at, and may click.
    """
    with _started(profile) as browser:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            browser.call(f"{domain}.enable")
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        browser.call("Page.navigate", url=page.resolve().as_uri())
        browser.wait_for("Page.loadEventFired")
        found = json.loads(browser.call("Runtime.evaluate", expression=LOOK)["result"]["value"])
        asked = browser.call("Runtime.evaluate", expression=expression, returnByValue=True)
    seen = Seen(found["text"], found["overflow"], [tuple(image) for image in found["images"]])
    seen.answer = asked["result"].get("value")
    for event in browser.events:
        name, told = event["method"], event["params"]
        if name == "Network.requestWillBeSent" and not told["request"]["url"].startswith("data:"):
            seen.requests.append(told["request"]["url"])
        elif name in ("Runtime.exceptionThrown", "Network.loadingFailed"):
            seen.complaints.append(json.dumps(told))
        elif name == "Log.entryAdded" and told["entry"]["level"] in ("warning", "error"):
            seen.complaints.append(told["entry"]["text"])
        elif name == "Runtime.consoleAPICalled" and told["type"] in ("warning", "error", "assert"):
            seen.complaints.append(json.dumps(told["args"]))
    return seen


class _Pipes:
    """Messages to the browser and from it, each ended by a zero byte."""

    def __init__(self, incoming: int, outgoing: int):
        self.incoming, self.outgoing, self.buffer = incoming, outgoing, b""
        self.events: list[dict[str, Any]] = []
        self.session, self.number = "", 0

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": arguments}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.outgoing, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.incoming], [], [], max(end - time.monotonic(), 0))
            data = os.read(self.incoming, 1 << 16) if ready else b""
            assert data, f"the browser {'has ended' if ready else f'says nothing for {PATIENCE} seconds'}"
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)


@contextmanager
def _started(profile: Path) -> Iterator[_Pipes]:
    program = next(path for path in map(shutil.which, PROGRAMS) if path)
    (theirs, outgoing), (incoming, answers) = os.pipe(), os.pipe()
    # Chromium takes its pipes to be numbers 3 and 4; bash, since sh knows no numbers above 9
    shell = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{answers}', "bash"]
    command = [*shell, program, *QUIET, f"--user-data-dir={profile}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    browser = subprocess.Popen(command, pass_fds=(theirs, answers), **quiet)
    os.close(theirs)
    os.close(answers)
    try:
        yield _Pipes(incoming, outgoing)
    finally:
        os.close(outgoing)  # at which it ends by itself
        try:
            browser.wait(20)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait()
        os.close(incoming)
