"""Talking to an OpenAI-compatible server: bounded, patient, within a budget, and to that server only.

What the server says is untrusted: it is bounded, parsed as JSON, and its words are shown shortened, without the key.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from georefer.errors import ConfigError, GeoreferError, InputError, MissingExtra

Read = TypeVar("Read")

MOST_BYTES = 8_000_000

LONGEST_WAIT_S = 60.0
"""Between two tries, whatever the server asks for."""

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
REFUSING = frozenset({400, 413, 415, 422})
"""The server is well and will not answer this question, however often it is asked."""


class Garbled(Exception):
    """What came is not what was asked for; asked again it may be."""


class Refused(InputError):
    """The server will not answer this question; others it may. `said` is its own reason in brackets, or empty."""

    said = ""


class NotFound(InputError):
    """The server has no such address, or no such model; `said` as of Refused."""

    said = ""


class Spent(GeoreferError):
    """The budget is spent."""


class Stopped(Exception):
    """`stop` was called: something else went wrong, and says what."""


@dataclass(eq=False)
class Endpoint:
    """One server; threads may share it.

    `max_requests` bounds requests, retries included; `max_tokens` the tokens that the server says were used, and is
    overshot by what is under way when it is reached. The key is read from the environment variable `key_variable`
    for each request and stands in no message and no representation. Redirects are not followed: they would take the
    key elsewhere.
    """

    url: str
    key_variable: str = ""
    timeout_s: float = 120.0
    retries: int = 5
    max_requests: int | None = None
    max_tokens: int | None = None
    wait: Callable[[float], object] | None = field(default=None, repr=False)
    most_bytes: int = MOST_BYTES
    """Of an answer; a longer one is not read."""
    counts: Counter[str] = field(default_factory=Counter)
    """Of "requests", "tokens", and "again: " with the reason."""

    def __post_init__(self) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("asking a server", "http") from error
        self._httpx = httpx
        self._client = httpx.Client(timeout=self.timeout_s, follow_redirects=False)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._not_before = 0.0
        self._was_there = False
        if self.wait is None:
            self.wait = self._stopped.wait  # ends early where there is no more to wait for

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    def begin(self) -> None:
        """Takes requests (again)."""
        self._stopped.clear()

    def stop(self) -> None:
        """No request is begun from now on, and nobody waits for a second try."""
        self._stopped.set()

    def ask(self, path: str, read: Callable[[Any], Read], body: dict[str, Any] | None = None) -> Read:
        """What `read` makes of the JSON answer to a POST of `body`, or to a GET; it raises Garbled for another.

        Asked again, ever later or as the server wishes, while there is hope. Refused, InputError (a wrong key or
        address), Spent, Stopped, or GeoreferError where all tries failed.
        """
        return self._tried(path, body, lambda data: read(_parsed(data)))

    def tell(self, path: str, body: dict[str, Any]) -> None:
        """A POST of `body` to a server that answers it with no more than words; errors as of `ask`."""
        self._tried(path, body, lambda data: None)

    def all(self, jobs: Sequence[Callable[[], Read]], at_once: int) -> list[Read]:
        """What jobs that ask give, in their order, so many at once.

        Where one fails, what is under way ends, nothing more is begun, and its exception is raised.
        """
        if not jobs:
            return []
        self.begin()
        with ThreadPoolExecutor(min(at_once, len(jobs))) as pool:
            futures = [pool.submit(self._or_stop, job) for job in jobs]
            try:
                wait(futures)
            except BaseException:
                self.stop()
                raise
        for future in futures:
            if (failure := future.exception()) is not None and not isinstance(failure, Stopped):
                raise failure
        return [future.result() for future in futures]

    def spend(self, tokens: int | None) -> None:
        """Counts tokens that an answer took; InputError where nobody says and there is a budget of them."""
        if tokens is not None:
            with self._lock:
                self.counts["tokens"] += tokens
        elif self.max_tokens is not None:
            raise InputError(
                f"the server at {self.place} does not say how many tokens an answer took, which max_tokens "
                "needs; set the budget in requests with max_requests"
            )

    # --- one request ------------------------------------------------------------------------------------------

    def _or_stop(self, job: Callable[[], Read]) -> Read:
        try:
            return job()
        except Exception:
            self.stop()
            raise

    def _tried(self, path: str, body: dict[str, Any] | None, read: Callable[[bytes], Read]) -> Read:
        reason = said = ""
        for attempt in range(self.retries + 1):
            self._begin_request()
            said = ""
            try:
                status, headers, data = self._fetch(path, body)
            except Garbled as error:
                reason, wish_s = str(error), None
            except self._httpx.TimeoutException:
                reason, wish_s = f"no answer within {self.timeout_s:g} s", None
            except self._httpx.ConnectError as error:
                if not self._was_there:
                    raise self._absent() from error
                reason, wish_s = "no connection", None
            except self._httpx.HTTPError:
                # its words are not repeated: they may hold the whole request
                reason, wish_s = "a broken connection", None
            else:
                self._was_there = True
                if status == 200:
                    try:
                        return read(data)
                    except Garbled as error:
                        reason, wish_s = str(error), None
                elif status in RETRIED:
                    reason, wish_s = f"status {status}", _wish_s(headers.get("retry-after", ""))
                    said = self._words(data)
                else:
                    raise self._final(status, data)
            with self._lock:
                self.counts[f"again: {reason}"] += 1
            self._pause(attempt, wish_s)
        raise GeoreferError(
            f"the server at {self.place} gave {reason}{said} at the last of {self.retries + 1} tries where an answer "
            "is expected; look after it and run the same again"
        )

    def _begin_request(self) -> None:
        assert self.wait is not None
        if (left_s := self._not_before - time.monotonic()) > 0:
            self.wait(left_s)
        with self._lock:
            if self._stopped.is_set():
                raise Stopped
            for what, most in (("requests", self.max_requests), ("tokens", self.max_tokens)):
                if most is not None and self.counts[what] >= most:
                    raise Spent(f"the budget of {most:,} {what} is spent")
            self.counts["requests"] += 1

    def _pause(self, attempt: int, wish_s: float | None) -> None:
        assert self.wait is not None
        if attempt == self.retries:
            return
        if wish_s is None:
            # some chance in it, or all threads come back at once
            self.wait(min(2.0**attempt, LONGEST_WAIT_S) * random.uniform(0.5, 1.0))
        else:
            with self._lock:
                # for all threads: the server is too busy for any of them
                self._not_before = max(self._not_before, time.monotonic() + min(wish_s, LONGEST_WAIT_S))

    def _fetch(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any, bytes]:
        deadline = time.monotonic() + self.timeout_s
        # packed answers are not asked for: a small one can be huge unpacked
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", **self._key_header()}
        method, content = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        parts, size = [], 0
        with self._client.stream(method, f"{self.url}{path}", content=content, headers=headers) as response:
            for part in response.iter_raw(65536):
                size += len(part)
                if size > self.most_bytes:
                    raise Garbled(f"an answer of more than {self.most_bytes:,} bytes")
                if time.monotonic() > deadline:
                    raise Garbled(f"no whole answer within {self.timeout_s:g} s")
                parts.append(part)
            return response.status_code, response.headers, b"".join(parts)

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "").strip() if self.key_variable else ""

    def _key_header(self) -> dict[str, str]:
        if not self.key_variable:
            return {}
        key = self._key()
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError(
                f"the environment variable {self.key_variable} holds no key; set it, or leave key_variable out"
            )
        return {"Authorization": f"Bearer {key}"}

    # --- what went wrong --------------------------------------------------------------------------------------

    def _absent(self) -> InputError:
        return InputError(
            f"nothing answers at {self.place} where a server is expected; start it, or correct the address"
        )

    def _final(self, status: int, data: bytes) -> InputError:
        said = self._words(data)
        if status in REFUSING:
            refused = Refused(f"the server at {self.place} refused a question with status {status}{said}")
            refused.said = said
            return refused
        hint = {
            401: "give the key's environment variable as key_variable",
            403: "give the key's environment variable as key_variable",
            404: "correct the address (it often ends in /v1) or the model's name",
        }.get(status, "correct the address")
        what = "a redirect, which is not followed" if 300 <= status < 400 else f"status {status}{said}"
        sentence = f"the server at {self.place} answered with {what} where an answer is expected; {hint}"
        if status != 404:
            return InputError(sentence)
        missing = NotFound(sentence)
        missing.said = said
        return missing

    def _words(self, data: bytes) -> str:
        """The server's own reason in brackets: short, printable, without the key; empty where it gives none."""
        try:
            error = json.loads(data)
            error = error.get("error", error)
            said = error if isinstance(error, str) else error.get("message", "")
        except (ValueError, AttributeError, RecursionError):
            return ""
        if not isinstance(said, str):
            return ""
        if key := self._key():
            said = said.replace(key, "***")
        said = "".join(letter if letter.isprintable() else " " for letter in said[:2000])
        said = " ".join(said.split())[:300]
        return f" ({said})" if said else ""


def address_of(text: str) -> str:
    """The base address of a server, without a slash at its end; InputError where it is none to be used."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (raises where it is no number)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise InputError(
            f"'{text}' is no address of a server; expected one such as http://localhost:8000/v1#model-name"
        )
    if "@" in parts.netloc:
        raise InputError(
            f"the address of {parts.hostname} holds a user or password; give the key by an environment variable, "
            "named as key_variable"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Garbled("something that is no JSON") from None


def _wish_s(text: str) -> float | None:
    """Seconds of a Retry-After header, given as a number or a date; None where it says neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None
