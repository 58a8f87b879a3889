"""The application: which address does what."""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import escape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from droplab.errors import DroplabError
from droplab.lab import _limits as limits
from droplab.lab import _masks
from droplab.lab._body import Body, read, read_object
from droplab.lab._disk import ID
from droplab.lab._doctor import Source, examine
from droplab.lab._files import INDEX, PAGE, PageFiles
from droplab.lab._limits import Refusal
from droplab.lab._log import dumps
from droplab.lab._origin import REPORT_POLICY, OriginCheck, answer, error, own_hosts
from droplab.lab._practice import Answer, PracticeRoom
from droplab.lab._process import Start, WorkerProcess
from droplab.lab._queue import RunQueue
from droplab.lab._recipes import listing
from droplab.lab._request import requested_recipe
from droplab.lab._stream import stream
from droplab.lab._uncertainty import OfArm, UncertaintyPages
from droplab.recipe import METRICS

VIEWS = ("/", "/experiment", "/sweep", "/see", "/doctor", "/practice", "/runs")
"""The addresses of the page's views; all are the same page."""

AFTER_PAGE = 1.5
"""Seconds after the first page when torch is loaded, which holds up everything for a moment."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    runs: Path,
    *,
    port: int = 8765,
    start: Start = WorkerProcess,
    warm: bool = False,
    closing: threading.Event | None = None,
) -> Starlette:
    """Return the lab as an ASGI application.

    It answers only requests that name this machine and `port` in Host, and takes posts only from
    its own pages. It runs what droplab ships: built-in recipes, in worker processes, and the
    exercises' snippets.

    Args:
        runs: The folder whose folders are the runs.
        port: The port that it is served on.
        start: Starts a worker; tests give another.
        warm: Keep a worker ready, so that a run begins at once.
        closing: Set when event streams are to end, as the server is about to.
    """
    lab = Lab(runs, start=start, warm=warm, closing=closing)
    app = Starlette(
        routes=lab.routes(),
        middleware=[
            Middleware(OriginCheck, hosts=own_hosts(port)),
            Middleware(GZipMiddleware, compresslevel=5),
        ],
        exception_handlers={
            Refusal: lab.refused,
            HTTPException: lab.refused,
            Exception: _failed,
        },
        lifespan=lab.lifespan,
    )
    app.router.redirect_slashes = False
    return app


class Lab:
    """What the endpoints share.

    Args:
        runs: The folder whose folders are the runs.
        start: Starts a worker.
        warm: Keep a worker ready.
        closing: Set when event streams are to end.
    """

    def __init__(
        self, runs: Path, *, start: Start, warm: bool, closing: threading.Event | None
    ) -> None:
        self._queue = RunQueue(runs, start=start, warm=warm)
        self._practice = PracticeRoom()
        self._files = PageFiles()
        self._closing = closing or threading.Event()
        self._uncertainty = UncertaintyPages(
            self._queue.disk.folder, self._queue.find, self._closing
        )
        self._streams = 0
        self._warm = warm
        self._shown = threading.Event()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Get ready; at the end leave nothing running."""
        app.state.begin_close = self.begin_close
        self._queue.open()
        if self._warm:
            threading.Thread(target=self._load_torch, daemon=True).start()
        try:
            yield
        finally:
            self.begin_close()
            await run_in_threadpool(self._queue.close)

    def _load_torch(self) -> None:
        """Load what sweeps and masks need; it takes seconds, so not before the page is shown."""
        self._shown.wait()
        if not self._closing.wait(AFTER_PAGE):
            for name in ("droplab.studies", "droplab.lab._masks_network"):
                importlib.import_module(name)

    def begin_close(self) -> None:
        """Let streams end, and ask every process to."""
        self._closing.set()
        self._queue.begin_close()
        self._practice.close()

    def routes(self) -> list[BaseRoute]:
        """Return every address."""
        get: list[tuple[str, Endpoint]] = [
            *((view, self.page) for view in VIEWS),
            ("/runs/{id}", self.run_page),
            ("/runs/{id}/report", self.report),
            ("/runs/{id}/uncertainty", self.uncertainty),
            ("/favicon.ico", self.no_icon),
            ("/api/metrics", self.metrics),
            ("/api/recipes", self.recipes),
            ("/api/runs", self.list_runs),
            ("/api/compare", self.compare),
            ("/api/runs/{id}", self.run),
            ("/api/runs/{id}/events", self.events),
            ("/api/practice", self.list_practice),
            ("/api/practice/{number}/hints/{place}", self.hint),
        ]
        post: list[tuple[str, Endpoint]] = [
            ("/api/runs", self.begin),
            ("/api/runs/{id}/stop", self.stop),
            ("/api/runs/{id}/resume", self.resume),
            ("/api/runs/{id}/uncertainty", self.make_uncertainty),
            ("/api/doctor", self.doctor),
            ("/api/practice/{number}", self.try_answer),
        ]
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in get),
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in post),
            *_masks.routes(self._queue.disk.root),
            Mount("/static", self._files),
        ]

    async def page(self, request: Request) -> Response:
        """Return the page."""
        self._shown.set()
        return await self._files.get_response(INDEX, request.scope)

    async def run_page(self, request: Request) -> Response:
        """Return the page for a run, whose id is checked when the page asks for the run."""
        if not ID.fullmatch(request.path_params["id"]):
            raise Refusal(404, "there is no such run")
        return await self.page(request)

    async def no_icon(self, request: Request) -> Response:
        """Browsers ask for it; the page has its own."""
        return Response(status_code=204)

    async def metrics(self, request: Request) -> Response:
        """Return what the metrics are called, their units, and which way is better."""
        return answer(
            {
                each.name: {
                    "label": each.label,
                    "unit": each.unit,
                    "higher": each.higher_is_better,
                }
                for each in METRICS.values()
            }
        )

    async def recipes(self, request: Request) -> Response:
        """Return the built-in recipes and the limits."""
        return answer(listing())

    async def list_runs(self, request: Request) -> Response:
        """Return all runs."""
        return answer(await run_in_threadpool(self._queue.summaries))

    async def begin(self, request: Request) -> Response:
        """Begin a run, or let it wait."""
        body = await read_object(request)

        def work() -> str:
            return self._queue.add(requested_recipe(body)).id

        return answer({"id": await run_in_threadpool(work)}, 201)

    async def run(self, request: Request) -> Response:
        """Return everything about a run."""
        id = request.path_params["id"]

        def work() -> str:
            return dumps(self._queue.find(id).snapshot())

        return Response(await run_in_threadpool(work), media_type="application/json")

    async def events(self, request: Request) -> Response:
        """Return the stream of a run's events."""
        id, known = request.path_params["id"], request.headers.get("last-event-id", "")
        run = await run_in_threadpool(self._queue.find, id)
        if known and run.all_told(known):
            return Response(status_code=204)  # tells a browser not to come again
        if self._streams >= limits.STREAMS:
            raise Refusal(429, "too many pages watch already; close one")

        async def counted() -> AsyncIterator[bytes]:
            self._streams += 1
            try:
                async for part in stream(self._queue, id, known, self._closing):
                    yield part
            finally:
                self._streams -= 1

        return StreamingResponse(counted(), media_type="text/event-stream")

    async def stop(self, request: Request) -> Response:
        """Stop a run."""
        return await self._change(request, self._queue.stop)

    async def resume(self, request: Request) -> Response:
        """Resume a run."""
        return await self._change(request, self._queue.resume)

    async def _change(self, request: Request, change: Callable[[str], Any]) -> Response:
        await read(request, Body)
        run = await run_in_threadpool(change, request.path_params["id"])
        return answer({"state": run.state}, 202)

    async def report(self, request: Request) -> Response:
        """Return the report of a run, to be looked at or kept."""
        id = request.path_params["id"]
        return _shown(request, await run_in_threadpool(self._report, id), id)

    def _report(self, id: str) -> str:
        from droplab.report import render
        from droplab.verdict import judge

        result = self._queue.disk.result(id)
        try:
            return render(result, judge(result))
        except DroplabError as problem:
            raise Refusal(409, str(problem)) from None

    async def make_uncertainty(self, request: Request) -> Response:
        """Predict by many passes with the models of an arm, and keep the page."""
        body, id = await read(request, OfArm), request.path_params["id"]
        await run_in_threadpool(self._uncertainty.make, id, body.arm)
        return answer({"page": f"/runs/{id}/uncertainty?{urlencode({'arm': body.arm})}"}, 201)

    async def uncertainty(self, request: Request) -> Response:
        """Return the page of an arm's passes, to be looked at or kept."""
        id, arm = request.path_params["id"], request.query_params.get("arm", "")
        page = await run_in_threadpool(self._uncertainty.read, id, arm)
        return _shown(request, page, f"{id}-uncertainty")

    async def compare(self, request: Request) -> Response:
        """Return runs side by side, those that the address names with commas."""
        ids = [id for id in request.query_params.get("runs", "").split(",") if id]
        return answer(await run_in_threadpool(self._compare, ids))

    def _compare(self, ids: list[str]) -> dict[str, Any]:
        from droplab.report import MOST_COMPARED, compare_runs

        if len(ids) > MOST_COMPARED:  # before so many are read
            raise Refusal(400, f"expected at most {MOST_COMPARED} runs to compare, got {len(ids)}")
        results = [self._queue.disk.result(id) for id in ids]
        try:
            return compare_runs(results).to_dict()
        except DroplabError as problem:
            raise Refusal(400, str(problem)) from None

    async def doctor(self, request: Request) -> Response:
        """Check a piece of source."""
        body = await read(request, Source, limit=limits.DOCTOR_BODY)
        return answer(await run_in_threadpool(examine, body.text))

    async def list_practice(self, request: Request) -> Response:
        """Return the exercises."""
        return answer(await run_in_threadpool(self._practice.listing))

    async def hint(self, request: Request) -> Response:
        """Return one hint of an exercise."""
        number, place = (_number(request, name) for name in ("number", "place"))
        return answer(await run_in_threadpool(self._practice.hint, number, place))

    async def try_answer(self, request: Request) -> Response:
        """Run the options of an exercise."""
        body = await read(request, Answer)
        number = _number(request, "number")
        return answer(await run_in_threadpool(self._practice.answer, number, body.answer))

    async def refused(self, request: Request, problem: Exception) -> Response:
        """Say no: a page to people who go astray, one sentence to the page."""
        message, status = "the request cannot be answered", 400
        if isinstance(problem, Refusal):
            message, status = problem.message, problem.status
        elif isinstance(problem, HTTPException):
            status = problem.status_code
            words = {404: "there is nothing at this address", 405: "it takes another method"}
            message = words.get(status, message)
        to_data = request.url.path.startswith(("/api/", "/static/"))
        if to_data or request.method not in ("GET", "HEAD"):
            return error(status, message)
        page = (PAGE / INDEX).read_text(encoding="utf-8")
        if status != 404:
            page = page.replace("<main", f'<main data-problem="{escape(message)}"')
        return HTMLResponse(page, status)


def _shown(request: Request, page: str, name: str) -> Response:
    """Return a page that needs nothing but itself, to be looked at or kept."""
    headers = {"content-security-policy": REPORT_POLICY}
    if request.query_params.get("download"):
        headers["content-disposition"] = f'attachment; filename="{name}.html"'
    return Response(page, media_type="text/html", headers=headers)


def _number(request: Request, name: str) -> int:
    """Return a number in the address; int() alone takes more than digits, and fails on many."""
    text = request.path_params[name]
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise Refusal(404, f"expected a number in the address for the {name}, got something else")
    return int(text)


async def _failed(request: Request, problem: Exception) -> Response:
    name = type(problem).__name__
    return error(500, f"droplab failed with {name}; this is a defect, please report it")
