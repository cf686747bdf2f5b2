"""What may be picked as an example, and in which order: by hashes, away from other splits, on new ground first."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from georefer.scenes import Dataset, Question, Scene

_LEAST_SHARED = 1e-3
"""Share of the smaller image's ground from which two images show the same place; less is a common edge."""


@dataclass(frozen=True)
class Pick:
    """One shot: the scene, the object where objects are counted, and the questions kept for it."""

    label: str
    scene_id: str
    object_id: str | None
    questions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Image:
    """What is kept of a scene: never its pixels."""

    id: str
    sha256: str
    ground: shapely.Geometry | None
    labels: Mapping[str, str]


def class_of(question: Question, labels: Mapping[str, str]) -> str | None:
    """The class a question is about and that its scene shows; None for absent, mixed or no classes.

    `labels` are those of the scene's objects by id.
    """
    found = {labels[i] for i in question.answer_ids if i in labels}
    if found:
        return found.pop() if len(found) == 1 else None
    label = question.params.get("label")
    return label if isinstance(label, str) and label in labels.values() else None


def candidates(questions: Sequence[Question], images: Mapping[str, Image], by: str) -> list[Pick]:
    """Every pick there could be, by "object" or by "image"; questions about several classes or none are in none.

    A pick by image brings the questions about classes that it does not show: who learned from right finds alone would
    find something everywhere.
    """
    grouped: dict[tuple[str, str, str | None], list[Question]] = defaultdict(list)
    absent: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        label = class_of(question, images[question.scene_id].labels)
        if label is None and not question.answer_ids and isinstance(question.params.get("label"), str):
            absent[question.scene_id].append(question)
        if label is None or (by == "object" and len(question.answer_ids) != 1):
            continue
        grouped[label, question.scene_id, question.answer_ids[0] if by == "object" else None].append(question)
    if by == "image":
        return [
            Pick(label, scene, None, tuple(q.id for q in (*found, *absent[scene])))
            for (label, scene, _), found in grouped.items()
        ]
    return [Pick(*key, tuple(q.id for q in _one_a_task(found))) for key, found in grouped.items()]


def _one_a_task(questions: Sequence[Question]) -> list[Question]:
    """Of an object's questions one for each task, chosen by hash."""
    by_task: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_task[question.task].append(question)
    return [min(found, key=lambda q: hash_of(q.id)) for found in by_task.values()]


def ordered(picks: Iterable[Pick], images: Mapping[str, Image], most: int, seed: int) -> dict[str, list[Pick]]:
    """The first `most` picks of every class; the first few of them are those that fewer picks would be."""
    by_label: dict[str, list[Pick]] = defaultdict(list)
    for pick in picks:
        by_label[pick.label].append(pick)
    by_hash = {
        label: sorted(found, key=lambda p: hash_of(seed, p.label, p.scene_id, p.object_id))
        for label, found in sorted(by_label.items())
    }
    return {label: _chosen(found, images, most) for label, found in by_hash.items()}


def _chosen(picks: Sequence[Pick], images: Mapping[str, Image], most: int) -> list[Pick]:
    """Picks on new ground in their order, then others, but never the same object of the map twice."""
    chosen: list[Pick] = []
    later: list[Pick] = []
    for pick in picks:
        if len(chosen) == most:
            return chosen
        known = [images[p.scene_id] for p in chosen]
        (later if any(_same_place(images[pick.scene_id], image) for image in known) else chosen).append(pick)
    for pick in later:
        if len(chosen) == most:
            break
        if not any(_same_object(pick, other, images) for other in chosen):
            chosen.append(pick)
    return chosen


def _same_place(a: Image, b: Image) -> bool:
    if a.id == b.id or a.sha256 == b.sha256:
        return True
    if a.ground is None or b.ground is None or not a.ground.intersects(b.ground):
        return False
    return bool(a.ground.intersection(b.ground).area > _LEAST_SHARED * min(a.ground.area, b.ground.area))


def _same_object(a: Pick, b: Pick, images: Mapping[str, Image]) -> bool:
    """Objects keep their id in every chip of a map; without a map, ids are those of one image."""
    if a.scene_id != b.scene_id and images[a.scene_id].ground is None:
        return False
    return a.object_id is not None and a.object_id == b.object_id


def hash_of(*values: Any) -> str:
    """SHA-256 of values that JSON can hold."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


# --- other splits -----------------------------------------------------------------------------------------------


def image_of(scene: Scene) -> Image:
    """What picking needs to know of a scene."""
    ground = None
    if scene.grid.is_georeferenced:
        width, height = scene.size
        ground = shapely.Polygon(
            scene.grid.pixel_to_lonlat(np.array([[0, 0], [width, 0], [width, height], [0, height]]))
        )
    labels = dict(zip(map(str, scene.objects.ids_N), map(str, scene.objects.labels_N), strict=True))
    return Image(scene.id, hashlib.sha256(scene.image).hexdigest(), ground, labels)


def leaking_images(images: Iterable[Image], dataset: Dataset, split: str) -> dict[str, str]:
    """Scenes of the split that other splits hold too, and by what they were found: id, image or ground."""
    others = [
        image for name in dataset.manifest["splits"] if name != split for image in map(image_of, dataset.scenes(name))
    ]
    ids, hashes = {i.id for i in others}, {i.sha256 for i in others}
    located = [i for i in others if i.ground is not None]
    tree = shapely.STRtree([i.ground for i in located])
    found = {}
    for image in images:
        near = [] if image.ground is None else tree.query(image.ground)
        if image.id in ids:
            found[image.id] = "id"
        elif image.sha256 in hashes:
            found[image.id] = "image"
        elif any(_same_place(image, located[i]) for i in near):
            found[image.id] = "ground"
    return found
