"""LLaVA-1.6 (LLaVA-NeXT) and LLaVA-OneVision: the whole image stretched to one small square, then AnyRes tiles."""

from __future__ import annotations

from typing import Any

from georefer.geometry import Frame
from georefer.geometry.frame import AnyRes
from georefer.models.families.base import Manner
from georefer.models.families.llava import VICUNA, VICUNA_SYSTEM, Llava


class LlavaNext(Llava):
    """LlavaNextForConditionalGeneration; GroundSet's baseline is one that speaks 0-1000."""

    @classmethod
    def manner(cls, source: str) -> Manner:
        if "groundset" in source.lower():
            return Manner("groundset", VICUNA_SYSTEM, VICUNA)
        return super().manner(source)

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        settings = self.seeing
        pinpoints = [(width, height) for height, width in settings.image_grid_pinpoints]
        seen = AnyRes.of(size, pinpoints, tile=(settings.crop_size or settings.size)["height"])
        return (seen.base, *seen.tiles)


class LlavaOnevision(LlavaNext):
    """LlavaOnevisionForConditionalGeneration: the same tiles on a finer grid, features thinned beyond nine tiles."""

    dialect = "llava-1.5"
    template = ""

    @classmethod
    def manner(cls, source: str) -> Manner:
        return Manner(cls.dialect)

    @classmethod
    def finish(cls, processor: Any, config: Any) -> None:
        """Its processor says all it needs."""
