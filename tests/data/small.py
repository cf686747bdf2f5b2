"""A dataset of a few scenes with coloured rectangles, made in a moment: the image shows what the truth says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import encode_image
from georefer.scenes import Dataset, DatasetWriter, Question, Scene
from georefer.scenes.taxonomy import all_above
from georefer.tasks import TASKS, Asking, Expression, GroupExpression

LABELS = ("building", "pool", "tank", "tree")
COLOURS = {"building": (170, 80, 60), "pool": (60, 140, 220), "tank": (230, 230, 220), "tree": (30, 110, 40)}

PARENTS = {
    "building": (), "heritage": (), "water": (), "tank": (), "house": ("building",),
    "church": ("building", "heritage"), "ruin": ("heritage",), "pool": ("water",),
}  # fmt: skip
"""Class to what it is a kind of: a church is of two kinds."""

ABOVE = all_above(PARENTS)
BORNE = ("building", "church", "house", "pool", "ruin", "tank")
"""Classes of the taxonomy that objects bear."""


def small_scene(number: int, size: tuple[int, int] = (160, 120), split: str = "test") -> Scene:
    """One scene of two to four objects on a grid of places, so that none overlaps another."""
    width, height = size
    rng = np.random.default_rng(number)
    image_HW3 = rng.integers(95, 125, (height, width, 3)).astype(np.uint8)
    places = rng.permutation([(x, y) for x in (0, 1, 2) for y in (0, 1)])[: 2 + number % 3]
    labels = [LABELS[(number + i) % 3] for i in range(len(places))]
    boxes = []
    for (column, row), label in zip(places, labels, strict=True):
        x, y = column * width // 3 + 6, row * height // 2 + 6
        box = [x, y, x + int(rng.integers(18, width // 3 - 8)), y + int(rng.integers(16, height // 2 - 8))]
        image_HW3[box[1] : box[3], box[0] : box[2]] = COLOURS[label]
        boxes.append(box)
    objects = Objects.from_hbb(np.array(boxes), labels)
    return Scene(f"scene-{number}", encode_image(image_HW3), objects, GeoGrid.none(width, height), split)


def kinds_scene(name: str, *labels: str) -> Scene:
    """A row of boxes under labels of the taxonomy, 160 by 120 pixels."""
    boxes_N4 = [[6 + 38 * i, 20 + 9 * i, 36 + 38 * i, 60 + 9 * i] for i in range(len(labels))]
    image = encode_image(np.full((120, 160, 3), 110, np.uint8))
    return Scene(name, image, Objects.from_hbb(np.array(boxes_N4), labels), GeoGrid.none(160, 120), "test")


def small_asking(scene: Scene, labels: tuple[str, ...] = LABELS, **more: Any) -> Asking:
    """Expressions that name each object by its place, and for each class one for all its objects or for none."""
    expressions = tuple(
        Expression(o.id, f"the {o.label} at {o.geometry.bounds[0]:.0f}, {o.geometry.bounds[1]:.0f}", by)
        for o, by in zip(scene.objects, ("attribute", "position") * 5, strict=False)
    )
    asking = Asking(labels, expressions, absent=1, **more)
    known = asking.known(scene)
    groups = [
        GroupExpression(tuple(ids), f"all objects of the class {label}", "class", 1, 0, (("class", label),))
        for label in (*known.counted, *known.absent)
        if len(ids := asking.labelled(scene, label).ids_N) != 1
    ]
    return replace(asking, groups=tuple(groups))


def small_questions(scene: Scene, tasks: Iterable[str] = TASKS, **asking: Any) -> list[Question]:
    """Every task's questions, or some tasks', by `small_asking`."""
    asked = small_asking(scene, **asking)
    rng = np.random.default_rng(0)
    return [question for task in tasks for question in TASKS[task].questions(scene, asked, rng)]


def small_dataset(folder: Path, scenes: int = 5, tasks: Iterable[str] = ("rec", "detection", "presence")) -> Dataset:
    """Scenes of two sizes in the split "test", with the questions of some tasks."""
    made = [small_scene(n, (160, 120) if n % 2 else (96, 96)) for n in range(scenes)]
    with DatasetWriter(folder) as writer:
        writer.write("test", made, [question for scene in made for question in small_questions(scene, tasks)])
        return writer.finish("small")
