"""The HTTP side of serving: routes, bounds on what strangers can make us hold, errors in OpenAI's form.

POST /v1/chat/completions   one question about one image
GET  /v1/models             the model; its dialect stands under "georefer"
GET  /v1/frame              ?width=&height=: the frame in which it speaks of such an image, as `Frame.describe`
GET  /health                200 while it answers
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from georefer.errors import ConfigError, GeoreferError, InputError, MissingExtra
from georefer.models.base import Ask, Model
from georefer.models.spans import Told
from georefer.serving.questions import Asked, Images, Wrong, read_request
from georefer.serving.worker import Answer, Job, Worker, tells_tokens

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ImportError as error:
    raise MissingExtra("serving a model", "serve") from error

_ENDED = 499
"""Status for a client that is gone; nobody reads it."""

_MOST_SIDE = 1_000_000
"""Of an image whose frame is asked for; a frame is only reckoned."""


@dataclass(frozen=True)
class ServeSettings:
    """Where a model is served, and how much at once."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    key_variable: str = ""
    """Environment variable with the key that requests must bear; left out, anyone who reaches the port may ask."""
    batch: int = 32
    """Questions answered together at most."""
    waiting: int = 64
    """Requests under way at most; others are told to come again (429)."""
    most_bytes: int = 32_000_000
    """Of a request."""
    most_pixels: int = 25_000_000
    """Of an image."""
    body_s: float = 60.0
    """Within which a request must have arrived."""

    def __post_init__(self) -> None:
        if min(self.batch, self.waiting, self.most_bytes, self.most_pixels) < 1 or self.body_s <= 0:
            raise ValueError("batch, waiting, most_bytes, most_pixels and body_s must be above 0")


def serve(model: Model, settings: ServeSettings, alias: str = "", ready: Callable[[str], None] = print) -> None:
    """Serves the model until interrupted; `ready` gets the base address once it listens.

    The model goes by its own name and by `alias`. InputError where the address cannot be had.
    """
    with _listening(settings) as listening:
        server = _server(model, settings, alias)
        ready(_address(listening, settings.host))
        server.run(sockets=[listening])


@contextmanager
def running(model: Model, settings: ServeSettings | None = None, alias: str = "") -> Iterator[str]:
    """The model served in a thread of this process, on a free port; gives the base address."""
    settings = settings or ServeSettings(port=0)
    with _listening(settings) as listening:
        server = _server(model, settings, alias)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield _address(listening, settings.host)
        finally:
            server.should_exit = True
            thread.join()


def _server(model: Model, settings: ServeSettings, alias: str) -> uvicorn.Server:
    config = uvicorn.Config(
        _App(model, settings, alias).asgi, log_level="warning", access_log=False, server_header=False, ws="none",
        timeout_graceful_shutdown=5, limit_concurrency=settings.waiting + 256,
        log_config=None,  # uvicorn's own would close every handler that this process has, and some close its stderr
    )  # fmt: skip
    return uvicorn.Server(config)


@contextmanager
def _listening(settings: ServeSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {settings.port} of {settings.host} cannot be served on ({error}); give another host or port"
        ) from error
    with listening:
        yield listening


def _address(listening: socket.socket, host: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _App:
    """The routes around one worker."""

    def __init__(self, model: Model, settings: ServeSettings, alias: str):
        self._model = model
        self._settings = settings
        self._names = tuple(dict.fromkeys(name for name in (model.name, alias) if name))
        self._key = _key(settings.key_variable)
        self._images = Images(settings.most_pixels)
        self._worker = Worker(model, settings.batch)
        self._under_way = 0
        self._started = int(time.time())
        handlers: Any = {Wrong: _say_wrong, HTTPException: _say_http, Exception: _say_failed}
        hosts = ["localhost", "127.0.0.1", "[::1]", "::1", settings.host] if is_loopback(settings.host) else ["*"]
        self.asgi = Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/frame", self._frame),
                Route("/health", self._health),
            ],
            # no web site may reach a server of this machine only through a name of its own that leads here
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
            exception_handlers=handlers,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette):
        self._worker.start()
        yield
        await run_in_threadpool(self._worker.close)

    async def _complete(self, request: Request) -> JSONResponse:
        self._check_key(request)
        # a web page can send other types without asking, and would have this server work for it
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Wrong("the request's Content-Type is not application/json; send it so", 415)
        if self._under_way >= self._settings.waiting:
            raise Wrong("too many requests are under way; come again", 429, "rate_limit_exceeded")
        self._under_way += 1
        try:
            asked, job = await run_in_threadpool(self._job, await self._body(request))
            self._worker.put(job)
            answer = await _while_there(request, asyncio.wrap_future(job.answer))
        finally:
            self._under_way -= 1
        return JSONResponse(self._completion(answer, asked.logprobs))

    def _job(self, body: bytes) -> tuple[Asked, Job]:
        try:
            asked = read_request(json.loads(body), self._names)
        except (ValueError, RecursionError):
            raise Wrong("the request is no JSON; send an object with model and messages") from None
        if asked.logprobs and not tells_tokens(self._model):
            raise Wrong(f"the model {self._names[0]} tells no log probabilities; leave logprobs out")
        return asked, Job(Ask(self._images.decoded(asked.encoded), asked.prompt), asked.max_tokens)

    async def _body(self, request: Request) -> bytes:
        most, body = self._settings.most_bytes, bytearray()
        try:
            async with asyncio.timeout(self._settings.body_s):
                async for part in request.stream():
                    body += part
                    if len(body) > most:
                        raise Wrong(f"the request has more than {most:,} bytes; send a smaller image", 413)
        except TimeoutError:
            raise Wrong("the request took too long to arrive", 408) from None
        except ClientDisconnect:
            raise Wrong("the client is gone", _ENDED) from None
        return bytes(body)

    def _completion(self, answer: Answer, logprobs: bool) -> dict[str, Any]:
        """In OpenAI's form; prompts are not counted in tokens, so `usage` is left out."""
        said = _sendable(answer.told.text).decode("utf-8")
        message = {"role": "assistant", "content": said, "refusal": None}
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._names[0],
            "choices": [{
                "index": 0, "message": message, "finish_reason": "length" if answer.is_cut else "stop",
                "logprobs": {"content": _tokens(answer.told), "refusal": None} if logprobs else None,
            }],
        }  # fmt: skip

    async def _models(self, request: Request) -> JSONResponse:
        self._check_key(request)
        row = {
            "id": self._names[0], "object": "model", "created": self._started, "owned_by": "georefer",
            "georefer": {"dialect": self._model.dialect.name},
        }  # fmt: skip
        return JSONResponse({"object": "list", "data": [row]})

    async def _frame(self, request: Request) -> JSONResponse:
        self._check_key(request)
        try:
            size = int(request.query_params["width"]), int(request.query_params["height"])
        except (KeyError, ValueError):
            raise Wrong("width and height in pixels are expected, as in /v1/frame?width=640&height=480") from None
        if not all(1 <= side <= _MOST_SIDE for side in size):
            raise Wrong(f"width and height are expected to be from 1 to {_MOST_SIDE:,} pixels")
        try:
            return JSONResponse(self._model.frame_for(size).describe())
        except (GeoreferError, ValueError) as error:
            raise Wrong(str(error)) from error

    async def _health(self, _: Request) -> JSONResponse:
        alive = self._worker.is_alive
        return JSONResponse({"status": "ok" if alive else "the model's thread has ended"}, 200 if alive else 503)

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if self._key and not hmac.compare_digest(given, b"Bearer " + self._key):
            raise Wrong("the request bears no key, or a wrong one; send it as Authorization: Bearer KEY", 401)


def _key(variable: str) -> bytes:
    key = os.environ.get(variable, "").strip().encode() if variable else b""
    if variable and not key:
        raise ConfigError(f"the environment variable {variable} holds no key; set it, or leave key_variable out")
    return key


def _tokens(told: Told) -> list[dict[str, Any]]:
    """What each token adds to the text and its log probability, in OpenAI's form."""
    pieces = [_sendable(told.text[start:end]) for start, end in told.spans]
    return [
        {"token": piece.decode("utf-8"), "bytes": list(piece), "logprob": logprob, "top_logprobs": []}
        for piece, logprob in zip(pieces, told.logprobs, strict=True)
    ]


def _sendable(text: str) -> bytes:
    """Half characters, which JSON cannot hold, are spelled."""
    return text.encode("utf-8", "backslashreplace")


async def _while_there(request: Request, answer: asyncio.Future[Answer]) -> Answer:
    """The answer; given up when the client goes, so that no work is done for nobody."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watching = asyncio.ensure_future(gone())
    first: set[asyncio.Future[Any]] = {answer, watching}
    try:
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise Wrong("the client is gone", _ENDED)
        return answer.result()
    except GeoreferError as error:
        raise Wrong(str(error)) from error
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]


def _said(sentence: str, status: int, code: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"Retry-After": "1"} if status == 429 else {}
    error = {"message": sentence, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status, headers)


async def _say_wrong(_: Request, wrong: Wrong) -> JSONResponse:
    return _said(str(wrong), wrong.status, wrong.code)


async def _say_http(_: Request, error: HTTPException) -> JSONResponse:
    return _said(f"{error.detail}; see /v1/models and /v1/chat/completions", error.status_code, "not_found")


async def _say_failed(_: Request, error: Exception) -> JSONResponse:
    return _said("the model failed on this question; the server's log says why", 500, "model_failed")
