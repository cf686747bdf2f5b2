"""More phrasing of expressions by a language model, whose every rewording is checked and refused if facts change.

What the model writes is untrusted: it is bounded, parsed as JSON and nothing else, and taken only through `kept`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from georefer.building.phrases.keeping import Refused, Vocabulary, kept
from georefer.errors import ConfigError
from georefer.tasks import Expression, GroupExpression

Phrase = TypeVar("Phrase", bound=Expression | GroupExpression)

Rewriter = Callable[[list[str]], list[list[str]]]
"""Gives rewordings for each of the phrases, in their order; none where it has none."""

PROMPT = (
    "You reword phrases that name one or several objects in an aerial image. Keep every fact: class, attributes, "
    "position, size, numbers and units, neighbours, singular or plural. Add nothing. Keep class names and attribute "
    'values word for word. Each rewording is a noun phrase that begins with "the". Answer with JSON only: a list with, '
    "for each phrase in order, a list of {count} rewordings."
)
MOST_BYTES = 1_000_000
"""Of an answer; a longer one is not read."""

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RewriteSettings:
    """An OpenAI-compatible endpoint that rewords expressions; off unless `url` is given."""

    url: str = ""
    """Base address, as "http://localhost:8000/v1"; "/chat/completions" is added."""
    model: str = ""
    key_variable: str = ""
    """Environment variable that holds the key; left out, none is sent."""
    per_phrase: int = 2
    """Rewordings asked for, and taken at most, of each expression."""
    batch: int = 20
    """Phrases in one request."""
    budget: int = 1000
    """Requests at most, retries included; beyond it expressions stay as they are."""
    retries: int = 2
    timeout_s: float = 60.0
    """For one request as a whole."""
    temperature: float = 0.7
    cache: Path | None = None
    """File of JSON lines that keeps every answer: a build that was stopped goes on, and repeats give the same."""

    def __post_init__(self) -> None:
        if self.url and (urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc):
            raise ValueError(f"url is {self.url!r}; expected the http or https address of an endpoint")
        if self.url and not self.model:
            raise ValueError("a rewriter's url comes without a model; name the model to be asked")
        if min(self.per_phrase, self.batch) < 1 or min(self.budget, self.retries) < 0 or self.timeout_s <= 0:
            raise ValueError("per_phrase, batch and timeout_s must be above 0, budget and retries not below")


def reworded(
    found: Sequence[Phrase], rewriter: Rewriter, vocabulary: Vocabulary, counts: Counter[str], most: int = 2
) -> list[Phrase]:
    """The expressions of one scene, each followed by at most `most` rewordings that keep its facts.

    `counts` gets "taken", and "refused: " with the reason; the rewriter must give a list for each phrase.
    """
    offered = rewriter([expression.text for expression in found])
    if not isinstance(offered, list) or len(offered) != len(found):
        counts["refused: the answer does not fit the phrases"] += len(found)
        return list(found)
    seen = {expression.text.casefold() for expression in found}
    result = []
    for expression, texts in zip(found, offered, strict=True):
        result.append(expression)
        taken = 0
        for text in texts[: 4 * most] if isinstance(texts, list) else ():
            try:
                new = kept(expression, text, vocabulary)
            except Refused as refused:
                counts[f"refused: {refused}"] += 1
                continue
            if taken < most and new.casefold() not in seen:
                seen.add(new.casefold())
                result.append(replace(expression, text=new))
                taken += 1
            else:
                counts["refused: it is there already, or one too many"] += 1
        counts["taken"] += taken
    return result


class _Failed(Exception):
    """One request brought nothing; the reason is counted."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Endpoint:
    """A `Rewriter` over an OpenAI-compatible endpoint.

    A failing or talking-nonsense endpoint never stops a build: its phrases stay unworded and `counts` says why. Only
    a refusal that no retry will change (a wrong key or address: 401, 403, 404) is a ConfigError. The key is read from
    the environment for each request and stands in no message, no cache and no representation.
    """

    settings: RewriteSettings
    wait: Callable[[float], None] = time.sleep
    counts: Counter[str] = field(default_factory=Counter)
    _known: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.settings.cache is not None and self.settings.cache.exists():
            self._known = _read_cache(self.settings.cache)

    def __call__(self, phrases: list[str]) -> list[list[str]]:
        new = [p for p in dict.fromkeys(phrases) if self._key(p) not in self._known]
        for start in range(0, len(new), self.settings.batch):
            batch = new[start : start + self.settings.batch]
            try:
                answers = self._ask(batch)
            except _Failed as failed:
                self.counts[f"no answer: {failed}"] += 1
                continue
            self._keep(batch, answers)
        return self.known(phrases)

    def known(self, phrases: list[str]) -> list[list[str]]:
        """What was answered so far, without asking."""
        return [self._known.get(self._key(phrase), []) for phrase in phrases]

    def _key(self, phrase: str) -> str:
        asked = [PROMPT, self.settings.model, self.settings.per_phrase, self.settings.temperature, phrase]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def _keep(self, batch: list[str], answers: list[list[str]]) -> None:
        rows = []
        for phrase, answer in zip(batch, answers, strict=True):
            self._known[self._key(phrase)] = answer
            rows.append({"key": self._key(phrase), "phrase": phrase, "rewordings": answer})
        if self.settings.cache is not None:
            self.settings.cache.parent.mkdir(parents=True, exist_ok=True)
            _end_line(self.settings.cache)
            with self.settings.cache.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)

    def _ask(self, batch: list[str]) -> list[list[str]]:
        """The answer to one batch, asked again while there is hope and budget."""
        for attempt in range(self.settings.retries + 1):
            if self.counts["requests"] >= self.settings.budget:
                raise _Failed("the budget is spent")
            if attempt:
                self.wait(min(2.0**attempt, 30.0))
            self.counts["requests"] += 1
            try:
                return _read_answer(self._request(batch), len(batch), self.settings.per_phrase)
            except urllib.error.HTTPError as error:
                if error.code in (401, 403, 404):
                    raise ConfigError(
                        f"the rewriter at {_place(self.settings.url)} answered {error.code}; expected it to take the "
                        "request; correct url, model or the key in key_variable"
                    ) from None
                reason, again = f"status {error.code}", error.code in _RETRIED
            except _Failed as failed:
                reason, again = str(failed), True
            except (OSError, ValueError, HTTPException):
                # its words are not repeated: a server may put anything there, the key too
                reason, again = "the connection failed", True
            if not again:
                break
        raise _Failed(reason)

    def _request(self, batch: list[str]) -> bytes:
        settings = self.settings
        body = {
            "model": settings.model,
            "temperature": settings.temperature,
            "messages": [
                {"role": "system", "content": PROMPT.format(count=settings.per_phrase)},
                {"role": "user", "content": json.dumps(batch, ensure_ascii=False)},
            ],
        }
        request = urllib.request.Request(
            f"{settings.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), self._headers(), method="POST"
        )
        deadline = time.monotonic() + settings.timeout_s
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=settings.timeout_s) as response:
            return _read_bounded(response, deadline)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if name := self.settings.key_variable:
            key = os.environ.get(name, "").strip()
            if not key or not key.isascii() or not key.isprintable():
                raise ConfigError(f"the environment variable {name} holds no key; set it, or leave key_variable out")
            headers["Authorization"] = f"Bearer {key}"
        return headers


def _place(url: str) -> str:
    """An address without the user and password that it may hold."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _read_bounded(response: Any, deadline: float) -> bytes:
    parts, size = [], 0
    while part := response.read1(65536):
        size += len(part)
        if size > MOST_BYTES:
            raise _Failed("the answer is too long")
        if time.monotonic() > deadline:
            raise _Failed("the answer takes too long")
        parts.append(part)
    return b"".join(parts)


def _read_answer(raw: bytes, phrases: int, most: int) -> list[list[str]]:
    """The lists of rewordings in a chat completion; _Failed where it is anything else."""
    try:
        content = json.loads(raw)["choices"][0]["message"]["content"]
        start, end = content.index("["), content.rindex("]") + 1
        lists = json.loads(content[start:end])
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise _Failed("the answer is not what was asked for") from None
    if not isinstance(lists, list) or len(lists) != phrases:
        raise _Failed("the answer does not fit the phrases")
    return [[t for t in one[: 4 * most] if isinstance(t, str)] if isinstance(one, list) else [] for one in lists]


def _read_cache(path: Path) -> dict[str, list[str]]:
    """What was answered before; a line that was cut off, or is none of ours, is left out."""
    known: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                key, answer = row["key"], row["rewordings"]
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            if isinstance(key, str) and isinstance(answer, list) and all(isinstance(text, str) for text in answer):
                known[key] = answer
    return known


def _end_line(path: Path) -> None:
    """Ends the last line of a file, which a killed run may have left open."""
    if path.exists() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
