"""The rule by which an exported image is shown to a model, from a word of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable

from georefer.dialects import Dialect
from georefer.errors import InputError
from georefer.geometry import Frame

FrameRule = Callable[[tuple[int, int]], Frame]
"""The frame of a scene of (width, height); ValueError for a size that the rule does not fit."""

RULES = "dialect, scene, resize=WxH, letterbox=WxH, padded=SIDE, qwen=FACTOR or qwen=FACTOR:MIN:MAX (in pixels)"

_SIZES = re.compile(r"(resize|letterbox)=([0-9]{1,5})x([0-9]{1,5})")
_SIDE = re.compile(r"padded=([0-9]{1,5})")
_QWEN = re.compile(r"qwen=([0-9]{1,3})(?::([0-9]{1,9}):([0-9]{1,9}))?")


def frame_rule(text: str, dialect: Dialect) -> FrameRule:
    """The rule that a text names: "dialect" for how that family's models see, "scene" for pixels as they are.

    "qwen=28:3136:12845056" has the factor and the limits of the processor that will be trained; where its limits are
    other ones, pixels of the resized image are other pixels.
    """
    if text == "dialect":
        return dialect.frame_for
    if text == "scene":
        return lambda size: Frame.resize(size, size)
    found = _SIZES.fullmatch(text) or _SIDE.fullmatch(text) or _QWEN.fullmatch(text)
    numbers = [int(word) for word in (found.groups() if found else ()) if word is not None and word.isdigit()]
    if not numbers or min(numbers) < 1:
        raise InputError(f"'{text[:80]}' was found where a frame is expected; choose among {RULES}")
    if text.startswith("resize"):
        return lambda size: Frame.resize(size, (numbers[0], numbers[1]))
    if text.startswith("letterbox"):
        return lambda size: Frame.letterbox(size, (numbers[0], numbers[1]))
    if text.startswith("padded"):
        return lambda size: Frame.square_padded(size, numbers[0])
    names = ("factor", "min_pixels", "max_pixels")
    limits = dict(zip(names, numbers, strict=False))
    if len(numbers) == 3 and not numbers[0] ** 2 <= numbers[1] <= numbers[2]:
        raise InputError(f"'{text}' was found where factor squared <= MIN <= MAX is expected; correct the limits")
    return lambda size: Frame.qwen(size, **limits)
