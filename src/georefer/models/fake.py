"""A deterministic oracle with dials for what goes wrong; for tests, documentation and trying a pipeline out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from shapely.affinity import translate

from georefer.dialects import DIALECTS, Dialect
from georefer.geometry import Frame, Objects
from georefer.models.base import Ask


@dataclass(frozen=True)
class Labelled:
    """Objects whose labels belong to the answer, as where several classes are asked for at once."""

    objects: Objects


Truth = Callable[[Ask], Objects | Labelled | str | None]
"""Looks up what is right for an ask: objects in the ask's image, a text, or None where nothing is known."""


@dataclass(frozen=True)
class FakeModel:
    """Knows the truth and spoils it.

    `noise_px` shifts every edge of a box, and every other shape, by a normal error of that size; `miss` drops objects
    and `malformed` cuts answers in the middle, each with that probability. The same ask always gets the same answer.
    """

    truth: Truth
    noise_px: float = 0.0
    miss: float = 0.0
    malformed: float = 0.0
    seed: int = 0
    name: str = "fake"
    numbers: int = 1000
    dialect: Dialect = field(default_factory=lambda: DIALECTS["georefer"])

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return Frame.resize(size, size, self.numbers)

    def generate(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[str]:
        """`max_new_tokens` bounds characters here, four to a token."""
        return [self._answer(ask)[: 4 * max_new_tokens] for ask in asks]

    def _answer(self, ask: Ask) -> str:
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{ask.hint}|{ask.prompt}".encode())])
        known = self.truth(ask)
        if known is None:
            return self.dialect.nothing
        height, width = ask.image_HW3.shape[:2]
        if isinstance(known, str):
            text = known
        else:
            said = self._spoil(known.objects if isinstance(known, Labelled) else known, rng)
            text = self.dialect.write(said, self.frame_for((width, height)), labelled=isinstance(known, Labelled))
        return text[: len(text) // 2] if rng.random() < self.malformed else text

    def _spoil(self, objects: Objects, rng: np.random.Generator) -> Objects:
        kept = objects[rng.random(len(objects)) >= self.miss]
        if set(kept.kinds_N) - {"hbb"}:
            shift_N2 = rng.normal(0, 1, (len(kept), 2)) * self.noise_px
            return kept.replaced([translate(g, *shift) for g, shift in zip(kept.geometries_N, shift_N2, strict=True)])
        boxes_N4 = kept.hbb_N4 + rng.normal(0, 1, (len(kept), 4)) * self.noise_px
        ordered_N4 = np.concatenate(
            [np.minimum(boxes_N4[:, :2], boxes_N4[:, 2:]), np.maximum(boxes_N4[:, :2], boxes_N4[:, 2:])], axis=1
        )
        return Objects.from_hbb(ordered_N4, list(kept.labels_N), ids=list(kept.ids_N))
