"""The service: a network behind HTTP, for strangers. Small, bounded, and polite when it stops.

Whoever asks too much gets a 4xx with a reason, whoever comes when it is busy a 503 with Retry-After. It is
made for one machine or a private network; on the open one it stands behind a proxy that speaks TLS.
"""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import TypedDict
from uvicorn.protocols.http.h11_impl import H11Protocol

from dl_course.deploy.served import RAW, Limits, Refused, ServedModel
from dl_course.language import ENGLISH, chosen, say_page

DRAIN_S = 0.5  # how long, once it is to stop, open connections may ask once more
LOG = logging.getLogger("dl_course.service")
PICTURE = {"type": "string", "format": "binary"}
FORM = {"type": "object", "properties": {"pictures": {"type": "array", "items": PICTURE}}}
KINDS = {"multipart/form-data": {"schema": FORM}} | {kind: {"schema": PICTURE} for kind in RAW}
PAGES = {"/": "page.html", "/docs": "docs.html"}
OWN_ALONE = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

Prediction = TypedDict("Prediction", {"class": str, "confidence": float, "probabilities": dict[str, float]})


class Answer(TypedDict):
    """What /predict answers: a prediction a picture, in their order."""

    model: str
    predictions: list[Prediction]


class Problem(TypedDict):
    """What an error answers: what is wrong."""

    detail: str


class Service:
    """What the routes share: the model, its threads and places, and who is told of each request."""

    def __init__(
        self, model: ServedModel, limits: Limits, on_prediction: Callable[..., None] | None,
        on_refusal: Callable[[str], None] | None,
    ) -> None:  # fmt: skip
        self.model = model
        self.limits = limits
        self.stopping = False
        self.on_prediction = on_prediction
        self.on_refusal = on_refusal
        self.places = asyncio.Semaphore(limits.concurrent)
        self.pool = ThreadPoolExecutor(limits.threads, "dl_course service")

    def close(self) -> None:
        """Let the threads go, once what they work on is done."""
        self.pool.shutdown()

    async def predict(self, request: Request) -> Answer:
        """Name what one picture shows, or each of several."""
        if self.places.locked():
            raise _later(f"{self.limits.concurrent} requests are being answered, as many as may be")
        async with self.places:
            start = time.perf_counter()
            pictures, shares = await self._in_time(request)
            _tell(self.on_prediction, shares, time.perf_counter() - start, pictures)
        return {"model": self.model.name, "predictions": [self._named(row) for row in shares.tolist()]}

    async def _in_time(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        body = None
        kind = request.headers.get("content-type", "")
        try:
            async with asyncio.timeout(self.limits.seconds):  # a job still waiting for a thread ends with it
                body = await _body(request, self.limits.body_bytes)
                return await asyncio.get_running_loop().run_in_executor(self.pool, self._work, body, kind)
        except TimeoutError:
            if body is None:
                reason = f"the body took longer than {self.limits.seconds:g} s"
                raise HTTPException(408, reason, {"Connection": "close"}) from None
            raise _later(f"the answer took longer than {self.limits.seconds:g} s") from None
        except Refused as error:
            raise HTTPException(error.status, str(error)) from error

    def _work(self, body: bytes, kind: str) -> tuple[np.ndarray, np.ndarray]:
        pictures = self.model.pictures(body, kind, self.limits)
        return pictures, self.model.probabilities(pictures)

    def _named(self, row: list[float]) -> Prediction:
        share = dict.fromkeys(self.model.classes, 0.0)
        for name, part in zip(self.model.classes, row, strict=True):
            share[name] += part  # ImageNet has two cranes: the bird and the machine
        best = max(share, key=share.__getitem__)
        return {"class": best, "confidence": share[best], "probabilities": share}

    async def health(self) -> JSONResponse:
        """Say whether requests are welcome, and what the model takes: shape is (channels, height, width)."""
        about = {"model": self.model.name, "classes": self.model.classes, "shape": self.model.shape}
        if self.stopping:
            return JSONResponse({"status": "stopping"} | about, 503)
        return JSONResponse({"status": "ready"} | about)

    async def refuse(self, request: Request, error: Any) -> JSONResponse:
        """Answer with what is wrong, and never with where in the code."""
        status = getattr(error, "status_code", 400)
        reason = getattr(error, "detail", "the client left")
        _tell(self.on_refusal, f"{status} {reason}")
        return JSONResponse({"detail": reason}, status, getattr(error, "headers", None))


class Witness:
    """The app, with a line of log for each request; when the service stops, answers end their connection."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, as ASGI wants it."""
        start = time.perf_counter()
        seen = {"method": scope.get("method"), "path": scope.get("path")}

        async def witnessed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                message["headers"] += [(b"connection", b"close")] if self.service.stopping else []
            await send(message)

        try:
            await self.app(scope, receive, witnessed)
        finally:
            LOG.info(json.dumps(seen | {"ms": round((time.perf_counter() - start) * 1000, 2)}))


def create_app(
    model: Path | str, limits: Limits | None = None, on_prediction: Callable[..., None] | None = None,
    on_refusal: Callable[[str], None] | None = None,
) -> FastAPI:  # fmt: skip
    """Return the application for a file of ``to_onnx`` or ``Predictor.save``; ValueError where it is neither.

    on_prediction(probabilities, seconds, pictures) and on_refusal(reason), such as ``PredictionLog.record``
    and ``.refuse``, are called after each request, in the server's event loop: they are to be quick.
    """
    service = Service(ServedModel(model), limits or Limits(), on_prediction, on_refusal)
    app = FastAPI(title="dl_course: what a picture shows", docs_url=None, redoc_url=None)
    app.state.service = service
    problems: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem} for code in (400, 408, 413, 415, 503)
    }
    problems[503]["description"] = "busy, or too slow: come again after Retry-After seconds"
    body = {"requestBody": {"required": True, "content": KINDS}}
    app.post("/predict", responses=problems, openapi_extra=body)(service.predict)
    app.get("/health", responses={503: {}})(service.health)
    for path in PAGES:
        app.add_route(path, _page)
    app.add_exception_handler(HTTPException, service.refuse)
    app.add_exception_handler(ClientDisconnect, service.refuse)
    app.add_middleware(Witness, service=service)
    return app


def serve(model: Path | str, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what was accepted; options: as of ``create_app``.

    OSError where the port is taken.
    """
    app = create_app(model, **options)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    LOG.info(json.dumps({"serving": str(model), "host": host, "port": listening.getsockname()[1]}))
    try:
        _server(app).run([listening])
    except KeyboardInterrupt:  # which uvicorn hands on when it has stopped
        pass
    finally:
        app.state.service.close()


@contextmanager
def serving(model: Path | str, **options: Any) -> Iterator[str]:
    """Serve while the block runs, on a free port; gives the address. Options: as of ``create_app``."""
    app = create_app(model, **options)
    server = _server(app)
    listening = socket.create_server(("127.0.0.1", 0))  # keeps those who come before the server is up
    thread = threading.Thread(target=server.run, args=[[listening]], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        app.state.service.close()


class _Connection(H11Protocol):
    """A connection that is closed where no request comes in time; uvicorn would wait for its head forever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()

    def _wait(self) -> None:
        self._stop()
        seconds = self.config.app.state.service.limits.seconds  # type: ignore[union-attr]
        self._deadline = self.loop.call_later(seconds, self._close_unless_working)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def _close_unless_working(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # who comes now is refused, and knows it
        self.config.app.state.service.stopping = True  # type: ignore[union-attr]
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets)


def _server(app: FastAPI) -> uvicorn.Server:
    return _Server(uvicorn.Config(
        app, loop="asyncio", http=_Connection, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=round(app.state.service.limits.seconds + 1),
    ))  # fmt: skip


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            body += chunk
        elif size > 4 * most:  # up to there it is heard out, so that the client hears the answer
            break
    if size > most:
        raise HTTPException(413, f"a body has at most {most} bytes", {"Connection": "close"})
    return bytes(body)


async def _page(request: Request) -> Response:
    page = Path(__file__).with_name(PAGES[request.url.path])
    own = {"Content-Security-Policy": OWN_ALONE}
    if chosen() == ENGLISH:
        return FileResponse(page, headers=own)
    return HTMLResponse(say_page(page.read_text(encoding="utf-8")), headers=own)


def _later(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": "1"})


def _tell(listener: Callable[..., None] | None, *what: Any) -> None:
    try:
        if listener is not None:
            listener(*what)
    except Exception:  # a listener's fault is no reason to leave the client without an answer
        LOG.exception("a listener failed")
