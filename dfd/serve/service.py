"""Service: a request's files through admission, upload and workers to one answer, or to its fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from dfd.inference.clip import is_clip
from dfd.inference.explain import NO_MAP_OF_VIDEO
from dfd.serve.admission import Admission
from dfd.serve.faults import PROBLEM, Fault
from dfd.serve.jobs import Job, Kind
from dfd.serve.limits import Limits
from dfd.serve.metrics import Metrics
from dfd.serve.tokens import Tokens
from dfd.serve.uploads import Form, read_form
from dfd.terminal import printable

if TYPE_CHECKING:
    from dfd.serve.keep import Keep
    from dfd.serve.pool import WorkerPool


@dataclass
class Service:
    """What all requests share.

    Args:
        pool: judges files.
        keep: where uploads are kept; None keeps none.
    """

    pool: WorkerPool
    limits: Limits
    metrics: Metrics
    tokens: Tokens = field(default_factory=Tokens)
    keep: Keep | None = None
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.limits)
        self.metrics.watch(self.pool, self.admission)

    async def judge(self, request: Request, kind: Kind, **options: Any) -> JSONResponse:
        """The answer to a form of files: an object a file, in their order, or of a map the object alone.

        Args:
            options: of each file's `Job`.

        Raises:
            Fault: as `read_form`, the tokens and the admission say; of a file where no file has an answer.
        """
        # a map is of a verdict
        self.tokens.check(request.headers.get("authorization", ""), "score" if kind == "explain" else kind)
        # a mistyped option, passed over, would be another answer than was asked for
        if strange := set(request.query_params) - set(options):
            what = f"There is no option {printable(min(strange))[:40]!r} of this address."
            raise Fault(400, "wrong_option", f"{what} It takes: {', '.join(sorted(options))}.")
        if kind == "explain" and (why := self.pool.about["no_maps"]):
            raise Fault(422, "no_map", f"There are no maps here: {why}.")
        started = time.monotonic()
        with self.admission.enter(request.headers.get("content-length")):
            form = await read_form(request, self.limits)
            if kind == "explain":
                _check_one_picture(form)
            files = [
                data if isinstance(data, Fault) else Job(_kind(kind, name, data), name, data, **options)
                for name, data in form.files
            ]
            if self.keep is not None:
                for job in files:
                    if isinstance(job, Job):
                        await asyncio.to_thread(self.keep.add, job.data)
            answers = await self._answers(files)
        self.admission.took(time.monotonic() - started)
        faults = [each for each in answers if isinstance(each, Fault)]
        if len(faults) == len(answers):
            raise faults[0]
        if kind == "explain":
            return JSONResponse(answers[0])
        said = [
            {"name": name, "problem": answer.plain()} if isinstance(answer, Fault) else answer
            for (name, _), answer in zip(form.files, answers, strict=True)
        ]
        for answer in said:
            self.metrics.count(answer)
        return JSONResponse({"files": said})

    async def _answers(self, files: Sequence[Job | Fault]) -> list[dict[str, Any] | Fault]:
        """An answer a file, in their order; a file that was not taken in keeps its fault."""
        jobs = [each for each in files if isinstance(each, Job)]
        waiting = [asyncio.wrap_future(self.pool.submit(job)) for job in jobs]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        for each in answers:
            if isinstance(each, BaseException) and not isinstance(each, Fault):
                raise each
        left = iter(answers)
        return [next(left) if isinstance(each, Job) else each for each in files]


def _check_one_picture(form: Form) -> None:
    """Fault where a form holds more than the one picture that a map is of."""
    if len(form.files) > 1:
        raise Fault(422, "too_many_files", f"{len(form.files)} files: a map is made of one. Send it alone.")
    ((name, data),) = form.files
    if not isinstance(data, Fault) and is_clip(Path(name), data):
        raise Fault(
            422,
            "no_map",
            f"{name} is {NO_MAP_OF_VIDEO}. What /v1/score?picture=true says of a video has its P(fake) over "
            "time, and the moments that look most fake.",
        )


def _kind(asked: Kind, name: str, data: bytes) -> Kind:
    """A video is no picture to be judged with others in a batch: it takes many times as long."""
    return "clip" if asked == "score" and is_clip(Path(name), data) else asked


def problem(fault: Fault) -> JSONResponse:
    """A fault as the service answers it."""
    return JSONResponse(fault.plain(), fault.status, fault.headers, media_type=PROBLEM)
