"""A dataset of a few scenes with coloured rectangles, made in a moment: the image shows what the truth says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import encode_image
from georefer.scenes import Dataset, DatasetWriter, Question, Scene
from georefer.tasks import TASKS, Asking, Expression

LABELS = ("building", "pool", "tank", "tree")
COLOURS = {"building": (170, 80, 60), "pool": (60, 140, 220), "tank": (230, 230, 220), "tree": (30, 110, 40)}


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


def small_questions(scene: Scene, tasks: Iterable[str] = TASKS) -> list[Question]:
    """Every task's questions, or some tasks'; an expression names each object by its place."""
    expressions = tuple(
        Expression(o.id, f"the {o.label} at {o.geometry.bounds[0]:.0f}, {o.geometry.bounds[1]:.0f}", by)
        for o, by in zip(scene.objects, ("attribute", "position") * 5, strict=False)
    )
    asking = Asking(LABELS, expressions, absent=1)
    rng = np.random.default_rng(0)
    return [question for task in tasks for question in TASKS[task].questions(scene, asking, rng)]


def small_dataset(folder: Path, scenes: int = 5, tasks: Iterable[str] = ("rec", "detection", "presence")) -> Dataset:
    """Scenes of two sizes in the split "test", with the questions of some tasks."""
    made = [small_scene(n, (160, 120) if n % 2 else (96, 96)) for n in range(scenes)]
    with DatasetWriter(folder) as writer:
        writer.write("test", made, [question for scene in made for question in small_questions(scene, tasks)])
        return writer.finish("small")
