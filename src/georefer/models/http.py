"""Any OpenAI-compatible server (vLLM, SGLang, georefer's own, hosted) behind georefer's Model contract.

    http://host:8000/v1#model                              the model of that name
    http://host:8000/v1#model,dialect=qwen2.5-vl           settings after the name: any key of HttpSettings
    http://host:8000/v1                                    the server's only model

**The frame is an assumption.** A server shrinks, pads or crops an image by settings of its own, and its answers do not
say how. A dialect that counts in pixels of what the model saw (Qwen2.5-VL) is read wrongly where server and client
disagree. What is assumed is the dialect's usual frame (`Dialect.frame_for`), for Qwen's models within the `min_pixels`
and `max_pixels` that the server was started with, if you name them. Only georefer's own server (`georefer serve`)
tells its dialect and its frames, and is believed where `dialect` is left out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from georefer.config import load_settings
from georefer.dialects import DIALECTS, Dialect
from georefer.errors import ConfigError, InputError
from georefer.geometry import Frame
from georefer.imagery.encode import encode_image
from georefer.models.base import Ask
from georefer.models.endpoint import Endpoint, Garbled, Refused, Spent, address_of
from georefer.models.spans import Told, told
from georefer.runlog import JsonLines

_EXAMPLE = "http://localhost:8000/v1#model-name,dialect=qwen2.5-vl"

_QWEN_LIMITS = {"qwen2.5-vl": {"max_pixels": 12_845_056}, "qwen3-vl": {"min_pixels": 65_536, "max_pixels": 16_777_216}}
"""Of the released checkpoints; others than the defaults of `Frame.qwen`."""


@dataclass(frozen=True)
class HttpSettings:
    """How a served model is asked; each can stand in its address after the model's name."""

    dialect: str = ""
    """Left out: what georefer's own server says."""
    system: str = ""
    """A sentence before the conversation."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    """Qwen's limits of a resized image, as the server was told them; left out, the dialect's usual ones."""
    image: Literal["png", "jpeg"] = "png"
    """How pixels travel: exactly, or as JPEG of quality 92, which a model sees a little differently."""
    key_variable: str = ""
    """Environment variable that holds the key; left out, none is sent."""
    concurrency: int = 8
    """Questions under way at once."""
    retries: int = 5
    timeout_s: float = 120.0
    """For one request as a whole."""
    max_requests: int | None = None
    """Budget: requests, retries included, that this model may make before it stops with an error."""
    max_tokens: int | None = None
    """Budget: tokens, as the server counts them, after which it stops; what is under way is still kept."""
    cache: Path | None = None
    """File of JSON lines that gets every answer at once; what it holds is not asked again. A budget needs one."""
    skip_refused: bool = False
    """Take "" for the answer where the server refuses a question (too long, filtered) instead of stopping."""
    logprobs: bool = False
    """Also ask for each token's log probability: answers then have confidences. Kept in `cache`."""

    def __post_init__(self) -> None:
        if self.dialect and self.dialect not in DIALECTS:
            raise ValueError(f"there is no dialect '{self.dialect}'; choose among {', '.join(DIALECTS)}")
        if self.concurrency < 1 or self.retries < 0 or self.timeout_s <= 0:
            raise ValueError("concurrency and timeout_s must be above 0, retries not below")


@dataclass(eq=False)
class HttpModel:
    """A served model. `name` is the server's name for it, which does not tell weights apart: give new ones a new name.

    `counts` of the endpoint say what was asked, and what had to be asked again and why.
    """

    name: str
    dialect: Dialect
    settings: HttpSettings
    endpoint: Endpoint = field(repr=False)
    frames: Callable[[tuple[int, int]], Frame] = field(repr=False)

    def __post_init__(self) -> None:
        self._known: dict[str, Told] = {}
        self._lock = threading.Lock()
        self._rows = JsonLines(self.settings.cache) if self.settings.cache else None
        if self._rows is not None:
            self._rows.path.parent.mkdir(parents=True, exist_ok=True)
            self._rows.cut_tail()
            self._known = _read_known(self._rows)

    def frame_for(self, size: tuple[int, int]) -> Frame:
        try:
            return self.frames(size)
        except ValueError as error:
            raise InputError(str(error)) from error

    def generate(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[str]:
        """Answers in the order asked, at temperature 0; equal asks are sent once.

        Where it ends with an error (the budget, a server that is gone), all answers that came are in the cache.
        """
        return [answer.text for answer in self.told(asks, max_new_tokens)]

    def told(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[Told]:
        """The answers of `generate` with their tokens, where `logprobs` is set and the server tells of them."""
        pictures = Pictures(self.settings.image)
        keys = [self._key(ask, pictures, max_new_tokens) for ask in asks]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in found}
        if new:
            found |= self._ask_all(new, pictures, max_new_tokens)
        return [found[key] for key in keys]

    def _ask_all(self, new: dict[str, Ask], pictures: Pictures, max_new_tokens: int) -> dict[str, Told]:
        jobs = [partial(self._ask, key, ask, pictures, max_new_tokens) for key, ask in new.items()]
        try:
            return dict(zip(new, self.endpoint.all(jobs, self.settings.concurrency), strict=True))
        except Spent as failure:
            raise Spent(
                f"{failure}; answers so far are kept in {self.settings.cache}, run the same again to go on"
            ) from failure

    def _ask(self, key: str, ask: Ask, pictures: Pictures, max_new_tokens: int) -> Told:
        body = {
            "model": self.name,
            "messages": chat(self.settings.system, pictures.data_url(ask.image_HW3), ask.prompt),
            "temperature": 0,
            "max_tokens": max_new_tokens,
            **({"logprobs": True} if self.settings.logprobs else {}),
        }
        try:
            answer = self.endpoint.ask("/chat/completions", _read_answer, body)
        except Refused:
            if not self.settings.skip_refused:
                raise
            self.endpoint.counts["refused"] += 1
            return Told("")  # not kept: another server may take it
        self._keep(key, ask.prompt, answer)
        return answer.told

    def _keep(self, key: str, prompt: str, answer: _Answer) -> None:
        if self._rows is not None:
            more = {"logprobs": answer.logprobs, "ends": answer.told.ends} if answer.logprobs else {}
            row = {"key": key, "model": self.name, "prompt": _storable(prompt), "text": answer.told.text, **more}
            with self._lock:
                self._rows.append([row])
                self._known[key] = answer.told
        self.endpoint.spend(answer.tokens)

    def _key(self, ask: Ask, pictures: Pictures, max_new_tokens: int) -> str:
        settings = self.settings
        said = (
            self.name, settings.system, ask.prompt, pictures.digest(ask.image_HW3), settings.image, max_new_tokens,
            settings.logprobs,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def load(name: str | Path, **settings: Any) -> HttpModel:
    """What `georefer.load_model` calls for an address; `settings` are those of HttpSettings, its own come first.

    The server is asked what it has where the model's name or the dialect is left out, and not otherwise.
    """
    model, chosen, endpoint = connect(str(name), **settings)
    if (chosen.max_requests is not None or chosen.max_tokens is not None) and chosen.cache is None:
        raise ConfigError("a budget comes without a cache, so that paid answers would be lost; give cache a file")
    served = {} if model and chosen.dialect else endpoint.ask("/models", _read_models)
    model = model or _only(served, endpoint.url)
    # a server of ours has one model, which it may list under another name than it is asked by
    dialect = chosen.dialect or served.get(model) or "".join(set(served.values()) if len(served) == 1 else ())
    if dialect not in DIALECTS:
        raise InputError(
            f"the server at {endpoint.place} does not say which dialect '{model}' speaks; name it, as in {_EXAMPLE}"
        )
    local = bool(chosen.dialect or chosen.min_pixels or chosen.max_pixels)
    frames = _local_frames(DIALECTS[dialect], chosen) if local else _served_frames(endpoint)
    return HttpModel(model, DIALECTS[dialect], chosen, endpoint, frames)


def connect(name: str, **settings: Any) -> tuple[str, HttpSettings, Endpoint]:
    """The model that an address names ("" where it names none), the settings, and the server, not yet asked."""
    address, _, rest = name.partition("#")
    model, *said = rest.split(",")
    chosen = _chosen(address, said, settings)
    return model, chosen, Endpoint(
        address_of(address), chosen.key_variable, chosen.timeout_s, chosen.retries,
        chosen.max_requests, chosen.max_tokens,
    )  # fmt: skip


def chat(system: str, image_url: str, prompt: str) -> list[dict[str, Any]]:
    """The messages of a question: a system sentence where there is one, the image, the text."""
    content = [{"type": "image_url", "image_url": {"url": image_url}}, {"type": "text", "text": prompt}]
    begun = [{"role": "system", "content": system}] if system else []
    return [*begun, {"role": "user", "content": content}]


def _chosen(address: str, said: Sequence[str], settings: dict[str, Any]) -> HttpSettings:
    own = load_settings(HttpSettings, None, said)
    keys = [text.partition("=")[0].strip() for text in said]
    try:
        return HttpSettings(**{**settings, **{key: getattr(own, key) for key in keys}})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{address}: {error}") from error


def _only(served: dict[str, str], address: str) -> str:
    if len(served) != 1:
        known = ", ".join(list(served)[:10]) or "none"
        raise InputError(f"{address} serves {len(served)} models ({known}); name one, as in {_EXAMPLE}")
    return next(iter(served))


# --- frames -----------------------------------------------------------------------------------------------------


def _local_frames(dialect: Dialect, settings: HttpSettings) -> Callable[[tuple[int, int]], Frame]:
    """The dialect's usual frames, for Qwen's within the limits that are set."""
    limits: dict[str, int] = {}
    for key, value in (("min_pixels", settings.min_pixels), ("max_pixels", settings.max_pixels)):
        if value is not None:
            limits[key] = value
    if not limits:
        return dialect.frame_for
    rule, _, factor = dialect.frame_for((1000, 1000)).rule.rpartition(" ")
    if rule != "smart resize":
        raise ConfigError(
            f"min_pixels or max_pixels was found with the dialect {dialect.name}, whose models resize by another rule; "
            "leave it out"
        )
    usual = _QWEN_LIMITS.get(dialect.name, {})
    whole = {"factor": int(factor), **usual, **limits}
    return lambda size: Frame.qwen(size, **whole)


def _served_frames(endpoint: Endpoint) -> Callable[[tuple[int, int]], Frame]:
    """What georefer's server says, asked once for a size."""

    @cache
    def frame_for(size: tuple[int, int]) -> Frame:
        return endpoint.ask(f"/frame?width={size[0]}&height={size[1]}", partial(_read_frame, size))

    return frame_for


# --- what a server says -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    told: Told
    tokens: int | None = None
    """Of prompt and answer; None where the server does not count."""
    logprobs: tuple[float, ...] = ()


def _read_answer(said: Any) -> _Answer:
    """The text of a chat completion; a model that said nothing, such as one that only thought, said ""."""
    try:
        choice = said["choices"][0]
        text = choice["message"]["content"]
        usage, scores = said.get("usage"), choice.get("logprobs")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise Garbled("something that is no chat completion") from None
    if text is not None and not isinstance(text, str):
        raise Garbled("an answer that is no text")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    is_count = isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0
    return _Answer(told(_storable(text or ""), scores), tokens if is_count else None, _read_logprobs(scores))


def _read_logprobs(scores: Any) -> tuple[float, ...]:
    try:
        return tuple(round(float(token["logprob"]), 6) for token in scores["content"])
    except (TypeError, KeyError, ValueError):
        return ()


def _read_models(said: Any) -> dict[str, str]:
    """Names of the models served, with the dialect that georefer's own server says."""
    try:
        rows = {str(row["id"]): row.get("georefer") for row in said["data"][:10_000]}
    except (TypeError, KeyError, AttributeError):
        raise Garbled("something that is no list of models") from None
    return {name: str(about.get("dialect", "")) if isinstance(about, dict) else "" for name, about in rows.items()}


def _read_frame(size: tuple[int, int], said: Any) -> Frame:
    try:
        frame = Frame(**said)
        values = [value for key, value in frame.describe().items() if key != "rule"]
        is_sound = all(isinstance(value, int | float) and abs(value) < 1e9 for value in values)
    except (TypeError, ValueError):
        raise Garbled("something that is no frame") from None
    if not is_sound or (frame.scene_width, frame.scene_height) != size or not isinstance(frame.rule, str):
        raise Garbled("another frame than that asked for")
    return frame


# --- images and files -------------------------------------------------------------------------------------------


class Pictures:
    """Images that are asked about together, each hashed and encoded once; the caller holds them meanwhile."""

    def __init__(self, kind: str):
        self._kind = kind
        self._digests: dict[int, str] = {}
        self._urls: dict[int, str] = {}
        self._lock = threading.Lock()

    def digest(self, image_HW3: np.ndarray) -> str:
        if id(image_HW3) not in self._digests:
            digest = hashlib.sha256(str(image_HW3.shape).encode())
            digest.update(np.ascontiguousarray(image_HW3).data)
            self._digests[id(image_HW3)] = digest.hexdigest()
        return self._digests[id(image_HW3)]

    def data_url(self, image_HW3: np.ndarray) -> str:
        with self._lock:
            if id(image_HW3) not in self._urls:
                data = base64.b64encode(encode_image(image_HW3, self._kind.upper())).decode()
                self._urls[id(image_HW3)] = f"data:image/{self._kind};base64,{data}"
            return self._urls[id(image_HW3)]


def _read_known(rows: JsonLines) -> dict[str, Told]:
    try:
        return {str(row["key"]): _kept(row) for row in rows.read()}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{rows.path} was found where the answers kept of a served model are expected; mend or remove it"
        ) from error


def _kept(row: dict[str, Any]) -> Told:
    """An answer of the cache; of one kept by a georefer that did not place its tokens, the text alone."""
    ends, logprobs = (tuple(row.get(key, ())) for key in ("ends", "logprobs"))
    return Told(str(row["text"]), ends, logprobs) if len(ends) == len(logprobs) else Told(str(row["text"]))


def _storable(text: str) -> str:
    """The text itself; half of a surrogate pair, which UTF-8 cannot hold, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
