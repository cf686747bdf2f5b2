"""Few-shot subsets: 1, 5, 10 ... per class of a dataset's training split, each inside the next, away from the test.

    out/shot-01/, shot-05/, ...   each a dataset with one split, "train"; test on the dataset they were drawn from
    out/subsets.json              what was picked, by class: ids, hashes, balance, and the check against other splits

As in Geo-R1's few-shot sets (Zhao et al. 2025), a shot is counted per class and a smaller set lies within every larger
one. What a shot is differs between papers, so it is said:

    object   an object with one question per task of which it is the whole answer: k image-query-truth triples
    image    an image that shows the class, with all questions about the class in it

The order of picks follows from hashes of seed and ids alone, so other images added to a dataset move no pick but their
own. Images over ground that was picked before come last (turned copies and overlapping chips are no second example).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely

from georefer.errors import DatasetError, InputError
from georefer.runlog import progress, swap_folder, write_json
from georefer.scenes import Dataset, DatasetWriter, Question, Scene

MANIFEST = "subsets.json"
_LEAST_SHARED = 1e-3
"""Share of the smaller image's ground from which two images show the same place; less is a common edge."""


@dataclass(frozen=True)
class SubsetSettings:
    """What is drawn."""

    shots: tuple[int, ...] = (1, 5, 10)
    """Picks per class, one subset each."""
    by: Literal["object", "image"] = "object"
    tasks: tuple[str, ...] = ()
    """Tasks whose questions are kept; left out: all that the picks have."""
    split: str = "train"
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) != len(self.shots):
            raise ValueError(f"shots are {self.shots}; expected different numbers from 1")
        if self.by not in ("object", "image"):
            raise ValueError(f"by is '{self.by}'; expected object or image")


@dataclass(frozen=True)
class Pick:
    """One shot: the scene, the object where objects are counted, and the questions kept for it."""

    label: str
    scene_id: str
    object_id: str | None
    questions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Image:
    """What is kept of a scene: never its pixels."""

    id: str
    sha256: str
    ground: shapely.Geometry | None
    labels: Mapping[str, str]


def write_subsets(dataset: Dataset, out: Path | str, settings: SubsetSettings | None = None) -> dict[str, Any]:
    """Draws the subsets, writes them beside and moves them to `out`; returns what stands in subsets.json.

    Deterministic by settings and the ids of the dataset. A class with fewer candidates than shots has all of them, and
    is listed as short. InputError where `out` exists; DatasetError where nothing can be picked.
    """
    settings, out = settings or SubsetSettings(), Path(out)
    if out.exists():
        raise InputError(f"{out} exists already where a new folder is expected; choose another or remove it")
    images = {image.id: image for image in map(_image, dataset.scenes(settings.split))}
    leaking = _leaking(images.values(), dataset, settings.split)
    questions = [q for q in dataset.questions(settings.split) if not settings.tasks or q.task in settings.tasks]
    kept = [q for q in questions if q.scene_id not in leaking]
    order = _ordered(_candidates(kept, images, settings.by), images, settings)
    if not order:
        raise DatasetError(
            f"no question of {dataset.folder} can be picked by {settings.by} (found: {len(questions)} questions, "
            f"{len(leaking)} images that other splits hold too); choose --by image, or other tasks"
        )
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        manifest = _described(dataset, settings, order, questions, leaking)
        shown = {label for image in images.values() for label in image.labels.values()}
        manifest["classes_without_a_pick"] = sorted(shown - set(order))
        for shots in sorted(settings.shots):
            picked = _first(order, shots)
            manifest["subsets"][str(shots)] = _write(dataset, partial, settings, shots, picked, kept)
        write_json(partial / MANIFEST, manifest)
        swap_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


# --- what may be picked ---------------------------------------------------------------------------------------


def class_of(question: Question, labels: Mapping[str, str]) -> str | None:
    """The class a question is about and that its scene shows; None for absent, mixed or no classes.

    `labels` are those of the scene's objects by id.
    """
    found = {labels[i] for i in question.answer_ids if i in labels}
    if found:
        return found.pop() if len(found) == 1 else None
    label = question.params.get("label")
    return label if isinstance(label, str) and label in labels.values() else None


def _candidates(questions: Sequence[Question], images: Mapping[str, _Image], by: str) -> list[Pick]:
    grouped: dict[tuple[str, str, str | None], list[Question]] = defaultdict(list)
    for question in questions:
        label = class_of(question, images[question.scene_id].labels)
        if label is None or (by == "object" and len(question.answer_ids) != 1):
            continue
        grouped[label, question.scene_id, question.answer_ids[0] if by == "object" else None].append(question)
    return [Pick(*key, tuple(q.id for q in _asked(found, by))) for key, found in grouped.items()]


def _asked(questions: Sequence[Question], by: str) -> list[Question]:
    """All questions of an image; of an object one for each task, chosen by hash."""
    if by == "image":
        return list(questions)
    by_task: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_task[question.task].append(question)
    return [min(found, key=lambda q: _hash(q.id)) for found in by_task.values()]


def _ordered(picks: Iterable[Pick], images: Mapping[str, _Image], settings: SubsetSettings) -> dict[str, list[Pick]]:
    """The first picks of every class, as many as the largest subset needs: every subset is a beginning of it."""
    by_label: dict[str, list[Pick]] = defaultdict(list)
    for pick in picks:
        by_label[pick.label].append(pick)
    most = max(settings.shots)
    by_hash = {
        label: sorted(found, key=lambda p: _hash(settings.seed, p.label, p.scene_id, p.object_id))
        for label, found in sorted(by_label.items())
    }
    return {label: _chosen(found, images, most) for label, found in by_hash.items()}


def _chosen(picks: Sequence[Pick], images: Mapping[str, _Image], most: int) -> list[Pick]:
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


def _same_place(a: _Image, b: _Image) -> bool:
    if a.id == b.id or a.sha256 == b.sha256:
        return True
    if a.ground is None or b.ground is None or not a.ground.intersects(b.ground):
        return False
    return bool(a.ground.intersection(b.ground).area > _LEAST_SHARED * min(a.ground.area, b.ground.area))


def _same_object(a: Pick, b: Pick, images: Mapping[str, _Image]) -> bool:
    """Objects keep their id in every chip of a map; without a map, ids are those of one image."""
    if a.scene_id != b.scene_id and images[a.scene_id].ground is None:
        return False
    return a.object_id is not None and a.object_id == b.object_id


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


# --- other splits -----------------------------------------------------------------------------------------------


def _image(scene: Scene) -> _Image:
    ground = None
    if scene.grid.is_georeferenced:
        width, height = scene.size
        ground = shapely.Polygon(
            scene.grid.pixel_to_lonlat(np.array([[0, 0], [width, 0], [width, height], [0, height]]))
        )
    labels = dict(zip(map(str, scene.objects.ids_N), map(str, scene.objects.labels_N), strict=True))
    return _Image(scene.id, hashlib.sha256(scene.image).hexdigest(), ground, labels)


def _leaking(images: Iterable[_Image], dataset: Dataset, split: str) -> dict[str, str]:
    """Scenes of the split that other splits hold too, and by what they were found: id, image or ground."""
    others = [
        image for name in dataset.manifest["splits"] if name != split for image in map(_image, dataset.scenes(name))
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


# --- writing ----------------------------------------------------------------------------------------------------


def _first(order: Mapping[str, Sequence[Pick]], shots: int) -> list[Pick]:
    return [pick for picks in order.values() for pick in picks[:shots]]


def _write(
    dataset: Dataset, folder: Path, settings: SubsetSettings, shots: int, picks: Sequence[Pick],
    questions: Sequence[Question],
) -> dict[str, Any]:  # fmt: skip
    """One subset as a dataset; returns its part of the manifest."""
    name = f"shot-{shots:02d}"
    wanted = {pick.scene_id for pick in picks}
    asked = {id_ for pick in picks for id_ in pick.questions}
    kept = [q for q in questions if q.id in asked]
    described = _subset(picks, shots, kept)
    with DatasetWriter(folder / name) as writer:
        scenes = (s for s in dataset.scenes(settings.split) if s.id in wanted)
        writer.write("train", progress(scenes, name, len(wanted), "scene"), kept)
        drawn = {"from": dataset.fingerprint, "shots": shots, "by": settings.by, "seed": settings.seed}
        more = {key: dataset.manifest[key] for key in ("labels", "recipe") if key in dataset.manifest}
        written = writer.finish(_card(dataset, settings, described), subset=drawn, **more)
    return {**described, "folder": name, "fingerprint": written.fingerprint}


def _subset(picks: Sequence[Pick], shots: int, questions: Sequence[Question]) -> dict[str, Any]:
    counts = Counter(pick.label for pick in picks)
    asked = Counter({label: sum(len(p.questions) for p in picks if p.label == label) for label in counts})
    return {
        "shots": shots,
        "scenes": len({pick.scene_id for pick in picks}),
        "questions": len(questions),
        "tasks": dict(sorted(Counter(q.task for q in questions).items())),
        "classes": {
            label: {
                "picks": counts[label],
                "scenes": len({p.scene_id for p in picks if p.label == label}),
                "questions": asked[label],
            }
            for label in sorted(counts)
        },
        "balance": {"fewest": min(asked.values()), "most": max(asked.values()), "evenness": _evenness(asked.values())},
        "short": {label: count for label, count in sorted(counts.items()) if count < shots},
        "question_ids_sha256": _hash(*sorted(q.id for q in questions)),
        "picks": [{**vars(pick), "questions": list(pick.questions)} for pick in picks],
    }


def _evenness(counts: Iterable[int]) -> float:
    """Entropy of the classes' shares over that of equal ones: 1 where all classes have as many questions."""
    share_C = np.array(list(counts), dtype=float)
    share_C = share_C[share_C > 0] / share_C.sum()
    return 1.0 if len(share_C) < 2 else round(float(-(share_C * np.log(share_C)).sum() / np.log(len(share_C))), 4)


def _described(
    dataset: Dataset, settings: SubsetSettings, order: Mapping[str, Sequence[Pick]], questions: Sequence[Question],
    leaking: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    scenes = {pick.scene_id for picks in order.values() for pick in picks}
    return {
        "dataset": {"folder": dataset.folder.resolve().name, "fingerprint": dataset.fingerprint},
        "split": settings.split,
        "by": settings.by,
        "tasks": list(settings.tasks),
        "seed": settings.seed,
        "questions_to_pick_from": len(questions),
        "images_left_out_as_other_splits_hold_them": dict(sorted(Counter(leaking.values()).items())),
        "images_shared_with_other_splits": len(scenes & set(leaking)),
        "classes_without_a_pick": [],
        "subsets": {},
    }


def _card(dataset: Dataset, settings: SubsetSettings, described: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {label} | {c['picks']} | {c['scenes']} | {c['questions']} |" for label, c in described["classes"].items()
    )
    return f"""---
configs:
- config_name: scenes
  default: true
  data_files: scenes/train-*.parquet
- config_name: questions
  data_files: questions/train-*.parquet
---

# {described["shots"]} per class of {dataset.folder.resolve().name}

Drawn by {settings.by} with seed {settings.seed} from the split "{settings.split}" of the dataset with fingerprint
{dataset.fingerprint}; its test split is the one to test on, and licences are those of that dataset. Scenes keep all
their objects, but only the questions of the picks are asked. Larger subsets of the same seed hold all of this one.

| class | picks | scenes | questions |
|---|---|---|---|
{rows}
"""
