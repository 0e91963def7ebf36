"""FastAPI application of the service: routes of /v1, health, readiness, metrics, and the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from dfd import __version__
from dfd.serve import schema
from dfd.serve.faults import Fault
from dfd.serve.guards import Guards
from dfd.serve.page import add_page
from dfd.serve.service import Service, problem

_KEEP_LOOK = 60  # seconds between looks at what is kept

Whole = Annotated[
    bool, Query(description="Each file is a crop of one face, as in training: look for no face.")
]
Shown = Annotated[bool, Query(description="Also give the picture that was judged, made small.")]
Page = Annotated[bool, Query(description="Also give the page of dfd inspect as HTML.")]
FaceNumber = Annotated[int, Query(ge=1, le=1000, description="Which face, from 1, left to right.")]
Method = Annotated[
    str, Query(max_length=40, description="Of the map; by default the first that the net has.")
]


def make_app(service: Service, hosts: frozenset[str]) -> Any:
    """The ASGI application.

    Args:
        hosts: names by which it may be asked.
    """
    app = FastAPI(
        title="dfd serve",
        version=__version__,
        description="Verdicts on deepfake images, by one detector.",
        docs_url=None,  # they load scripts of other hosts
        redoc_url=None,
        lifespan=lambda app: _keeping(service),
    )
    _add_faults(app)
    _add_judging(app, service)
    _add_state(app, service)
    add_page(app, service)

    @app.middleware("http")
    async def count(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.monotonic()
        response = await call(request)
        # a path that no route has would be a label of a stranger's choice
        route = getattr(request.scope.get("route"), "path", "none")
        service.metrics.requests.labels(route, str(response.status_code)).inc()
        service.metrics.seconds.labels(route).observe(time.monotonic() - started)
        return response

    return Guards(app, hosts)


def _add_judging(app: FastAPI, service: Service) -> None:
    several = schema.form(service.limits.max_files)

    @app.post("/v1/score", response_model=schema.ScoredFiles, responses=schema.JUDGING, openapi_extra=several)
    async def score(request: Request, whole: Whole = False, picture: Shown = False) -> Response:
        """The verdict on each face of each file."""
        return await service.judge(request, "score", whole=whole, picture=picture)

    @app.post(
        "/v1/inspect",
        response_model=schema.InspectedFiles,
        responses=schema.JUDGING,
        openapi_extra=several,
    )
    async def inspect(request: Request, whole: Whole = False, page: Page = False) -> Response:
        """What each file says of its own making, beside the verdicts."""
        return await service.judge(request, "inspect", whole=whole, page=page)

    @app.post(
        "/v1/explain",
        response_model=schema.Explained,
        responses=schema.JUDGING,
        openapi_extra=schema.form(1),
    )
    async def explain(
        request: Request, whole: Whole = False, face: FaceNumber = 1, method: Method = ""
    ) -> Response:
        """A map of the verdict on one face of one file; takes many times as long as the verdict."""
        return await service.judge(request, "explain", whole=whole, face=face, method=method)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", response_model=schema.Models, responses=schema.READING)
    async def models(request: Request) -> Response:
        """The detector that judges here, and what its P(fake) rests on."""
        service.tokens.check(request.headers.get("authorization", ""), "")
        return JSONResponse({"models": [service.pool.about]})

    @app.get("/health", response_model=schema.State)
    async def health() -> Response:
        """Whether the service answers at all."""
        return JSONResponse({"state": "ok"})

    @app.get("/ready", response_model=schema.State, responses={503: {"model": schema.State}})
    async def ready() -> Response:
        """Whether a worker has its detector loaded."""
        there = bool(service.pool.processes)
        return JSONResponse({"state": "ready" if there else "not ready"}, 200 if there else 503)

    @app.get("/metrics", response_class=Response, responses=schema.READING)
    async def metrics(request: Request) -> Response:
        """Counters for Prometheus, as text."""
        service.tokens.check(request.headers.get("authorization", ""), "metrics")
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_faults(app: FastAPI) -> None:
    @app.exception_handler(Fault)
    async def fault(request: Request, error: Fault) -> Response:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def option(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][-1]
        wrong = "true or false" if first["type"] == "bool_parsing" else first["msg"]
        came = f"{name}={str(first['input'])[:40]}"
        said = f"The option {came} of the address: {wrong}. /openapi.json tells what it takes."
        return problem(Fault(400, "wrong_option", said))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        allowed = (error.headers or {}).get("Allow", "another method")
        code, said = {
            404: ("no_address", "There is nothing here. Open / for the page, /openapi.json for programs."),
            405: ("other_method", f"This address is not asked by {request.method}: it takes {allowed}."),
        }.get(error.status_code, ("not_taken", str(error.detail)))
        answer = problem(Fault(error.status_code, code, said))
        answer.headers.update(error.headers or {})
        return answer


@asynccontextmanager
async def _keeping(service: Service) -> AsyncIterator[None]:
    """Deletes kept uploads when their time is up."""

    async def delete() -> None:
        while service.keep is not None:
            await asyncio.to_thread(service.keep.delete_old)
            await asyncio.sleep(_KEEP_LOOK)

    deleting = asyncio.create_task(delete())
    try:
        yield
    finally:
        deleting.cancel()
