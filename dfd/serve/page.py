"""Web page of the service: its HTML, its style and its script, which load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response

import dfd
from dfd import __version__
from dfd.html import render
from dfd.media.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from dfd.serve.service import Service

_FILES = {"serve.css": "text/css", "serve.js": "text/javascript"}


def add_page(app: FastAPI, service: Service) -> None:
    """Adds /, and the files that it names."""
    templates = Path(dfd.__file__).parent / "templates"

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        limits, about = service.limits, service.pool.about
        return HTMLResponse(
            render(
                "serve.html.j2",
                detector=about["name"],
                closing=about["closing"].split("\n"),
                finds_faces=about["finds_faces"],
                maps=about["maps"],
                no_maps=about["no_maps"],
                needs_token=bool(service.tokens),
                kept_minutes=None if service.keep is None else service.keep.minutes,
                max_bytes=limits.max_bytes,
                suffixes=" ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES)),
                version=__version__,
            )
        )

    def add(name: str, kind: str) -> None:
        text = (templates / name).read_text(encoding="utf-8")

        @app.get(f"/{name}", include_in_schema=False)
        async def file() -> Response:
            return Response(text, media_type=kind)

    for name, kind in _FILES.items():
        add(name, kind)
