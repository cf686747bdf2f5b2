"""Scene and Question: what is known of one image, and one thing asked of it. No rendered text in either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import decode_image

SPLITS = ("train", "test")


@dataclass(frozen=True)
class SceneRelation:
    """What one object is to another: ids of a scene's objects, and the measured evidence, plain JSON values."""

    subject: str
    predicate: str
    object: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with its truth.

    `image` holds the encoded bytes (PNG or JPEG, RGB uint8) that every model and person sees; `objects` are
    in its pixels; `grid` says where it lies. `provenance` carries source, licence, window and the like as
    plain JSON values. `split` is one of `SPLITS`.
    """

    id: str
    image: bytes
    objects: Objects
    grid: GeoGrid
    split: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    relations: tuple[SceneRelation, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.grid.width, self.grid.height

    def pixels(self) -> np.ndarray:
        """The decoded image, uint8 (height, width, 3)."""
        return decode_image(self.image)


@dataclass(frozen=True)
class Question:
    """One thing asked of one scene, independent of any model.

    `params` are what the task needs to phrase it (class, expression, ...), plain JSON values. The answer is
    either objects of the scene, by id (an empty tuple means: nothing there), or a text.
    """

    id: str
    scene_id: str
    task: str
    params: Mapping[str, Any]
    answer_ids: tuple[str, ...] = ()
    answer_text: str | None = None
