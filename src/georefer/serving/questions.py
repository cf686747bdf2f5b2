"""A chat completion request, checked: what a model of ours cannot do is refused, never passed over.

Nothing is fetched: an image is in the request or it is not seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import threading
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from georefer.errors import RasterError
from georefer.imagery.encode import decode_image

MOST_TOKENS = 4096
"""Of an answer, where a request does not ask for fewer."""

DEFAULT_TOKENS = 256

_ONLY: dict[str, tuple[Any, ...]] = {
    "temperature": (0,),
    "n": (1,),
    "stream": (False,),
    "logprobs": (False, True),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that would change the answer, with the only values that do not."""

_IGNORED = frozenset({
    "model", "messages", "max_tokens", "max_completion_tokens", "top_p", "seed", "user", "metadata", "store",
    "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls",
})  # fmt: skip
"""Fields that are read elsewhere, or that change nothing where the likeliest token is always taken."""


class Wrong(Exception):
    """A request that cannot be answered: a sentence, its HTTP status and OpenAI's word for it."""

    def __init__(self, sentence: str, status: int = 400, code: str = "invalid_request"):
        super().__init__(sentence)
        self.status = status
        self.code = code


@dataclass(frozen=True, eq=False)
class Asked:
    """What a request asks: its prompt, its image as the bytes of a PNG or JPEG, and how long the answer may be.

    With `logprobs` the answer comes with its tokens and how sure the model was of each.
    """

    prompt: str
    encoded: bytes
    max_tokens: int
    logprobs: bool = False


def read_request(body: Any, names: tuple[str, ...]) -> Asked:
    """The question of a parsed request to one of these models; Wrong says what is not right about it."""
    if not isinstance(body, dict):
        raise Wrong("the request is no JSON object; send one with model and messages")
    if (model := body.get("model")) not in (None, *names):
        raise Wrong(f"the model {str(model)[:100]!r} is not served here; name {names[0]}", 404, "model_not_found")
    _check_fields(body)
    return Asked(*_read_messages(body.get("messages")), _read_max_tokens(body), body.get("logprobs") is True)


def _check_fields(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in _IGNORED or value is None:
            continue
        if name not in _ONLY:
            raise Wrong(f"the field {name[:100]!r} is not supported by this server; leave it out")
        if value not in _ONLY[name]:
            raise Wrong(f"{name} is {str(value)[:100]} where only {_ONLY[name][0]} is supported; leave it out")


def _read_max_tokens(body: dict[str, Any]) -> int:
    value = body.get("max_completion_tokens")
    value = body.get("max_tokens") if value is None else value
    if value is None:
        return DEFAULT_TOKENS
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_TOKENS:
        raise Wrong(f"max_tokens is {str(value)[:100]} where a whole number from 1 to {MOST_TOKENS} is expected")
    return value


def _read_messages(messages: Any) -> tuple[str, bytes]:
    roles = [m.get("role") if isinstance(m, dict) else None for m in messages] if isinstance(messages, list) else []
    if roles != ["user"]:
        raise Wrong("exactly one message, of the role user, is expected: this server answers single questions")
    content = messages[0].get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts, images = [], []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url" and isinstance(part.get("image_url"), dict):
            images.append(part["image_url"].get("url"))
        else:
            raise Wrong("a part of the message is neither a text nor an image_url; send one of each")
    if len(texts) != 1 or len(images) != 1:
        raise Wrong(f"{len(texts)} texts and {len(images)} images were found where one of each is expected")
    return texts[0], _read_data_url(images[0])


def _read_data_url(url: Any) -> bytes:
    head, comma, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    if head.lower() not in ("data:image/png;base64", "data:image/jpeg;base64") or not comma:
        raise Wrong(
            "the image is no data URL of a PNG or JPEG in base64; this server fetches no addresses, send "
            "data:image/png;base64,..."
        )
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("the image is not written in base64; encode its file's bytes") from None


class Images:
    """Decoded images; equal bytes give the same array as long as anyone holds it, so that a model encodes it once.

    One is decoded at a time, which bounds the memory that crafted files can take.
    """

    def __init__(self, most_pixels: int):
        self._most_pixels = most_pixels
        self._arrays: WeakValueDictionary[bytes, np.ndarray] = WeakValueDictionary()
        self._lock = threading.Lock()

    def decoded(self, encoded: bytes) -> np.ndarray:
        """RGB uint8 (height, width, 3); Wrong where it is too large or no image."""
        digest = hashlib.sha256(encoded).digest()
        with self._lock:
            found = self._arrays.get(digest)
            if found is None:
                found = self._arrays[digest] = self._decode(encoded)
            return found

    def _decode(self, encoded: bytes) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
                width, height = image.size
            if width * height > self._most_pixels:
                raise Wrong(
                    f"the image has {width} x {height} pixels where at most {self._most_pixels:,} are taken; send a "
                    "part of it",
                    413,
                )
            return decode_image(encoded)
        except (RasterError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise Wrong("the image is no readable PNG or JPEG; send its file's bytes in base64") from None
