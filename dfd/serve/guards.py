"""Guards of the service: Host check against DNS rebinding, cross-site requests (CSRF), security headers."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from typing import Any

from dfd.serve.faults import PROBLEM, Fault

# one script and one style sheet of our own; pictures that the page has made itself
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-fA-F:.]+)\]|(?P<name>[\w.-]+))(?::\d+)?", re.ASCII)


def known_hosts(host: str, more: Sequence[str] = ()) -> frozenset[str]:
    """Names by which a service that listens on `host` may be asked."""
    return frozenset(name.lower() for name in (host, "localhost", "127.0.0.1", "::1", *more))


class Guards:
    """ASGI middleware: refuses what no client of this service sends, and adds headers to what it answers.

    A page of another site that is open in an analyst's browser could ask a service on the same machine. It
    cannot do so under a name that is not known here, and its requests say where they come from.

    Args:
        app: the application behind it.
        hosts: names by which it may be asked.
    """

    def __init__(self, app: Any, hosts: frozenset[str]):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def with_headers(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        fault = self._fault(scope["method"], headers)
        if fault is None:
            await self.app(scope, receive, with_headers)
            return
        kind = [(b"content-type", PROBLEM.encode())]
        await with_headers({"type": "http.response.start", "status": fault.status, "headers": kind})
        await send({"type": "http.response.body", "body": json.dumps(fault.plain()).encode()})

    def _fault(self, method: str, headers: dict[str, str]) -> Fault | None:
        host = headers.get("host", "")
        if not self._is_known(host):
            return Fault(
                421,
                "other_host",
                f"This service does not answer to the name {host[:80]!r}. Use the address that it printed "
                "when it started; whoever runs it adds names by --hosts.",
            )
        if method in ("GET", "HEAD"):
            return None
        # a browser says both, other programs neither
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        elsewhere = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if elsewhere or site not in ("same-origin", "none"):
            return Fault(
                403,
                "other_site",
                "The request comes from a page of another site, and such are refused. Open the page of this "
                "service itself, or send the request from a program.",
            )
        return None

    def _is_known(self, host: str) -> bool:
        parts = _HOST.fullmatch(host)
        name = (parts["address"] or parts["name"]).lower() if parts else ""
        if name in self.hosts:
            return True
        # a name that is a number cannot be made to lead elsewhere; it needs a service that listens on all
        return bool(self.hosts & {"0.0.0.0", "::"}) and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
