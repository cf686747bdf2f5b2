"""What a model is to the rest of georefer: images and prompts in, text out, and how it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from georefer.dialects import Dialect
from georefer.geometry import Frame


@dataclass(frozen=True, eq=False)
class Ask:
    """One prompt about one image (uint8, height x width x RGB).

    `hint` is nothing a model may use: it carries the question's id so that the `fake` model can look the
    truth up, and is empty for anything without a truth.
    """

    image_HW3: np.ndarray
    prompt: str
    hint: str = ""


class Model(Protocol):
    """A vision-language model; it knows no benchmark and no task.

    `frame_for` says how an image of (width, height) is shown to it and which numbers it speaks; `dialect`
    how it says geometry. `generate` answers in the order asked, greedily, deterministic for equal input.
    """

    @property
    def name(self) -> str: ...

    @property
    def dialect(self) -> Dialect: ...

    def frame_for(self, size: tuple[int, int]) -> Frame: ...

    def generate(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[str]: ...
