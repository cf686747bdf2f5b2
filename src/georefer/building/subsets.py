"""Few-shot subsets: 1, 5, 10 ... per class of a dataset's training split, each inside the next, away from the test.

    out/shot-01/, shot-05/, ...   each a dataset with one split, "train"; test on the dataset they were drawn from
    out/subsets.json              what was picked, by class: ids, balance, the check against other splits, and hashes:
                                  of every picture (its file's bytes) and of every question with the truth about it,
                                  and one for each subset as a whole

As in Geo-R1's few-shot sets (Zhao et al. 2025), a shot is counted per class and a smaller set lies within every larger
one. What a shot is differs between papers, so it is said:

    object   an object with one question per task of which it is the whole answer: k image-query-truth triples
    image    an image that shows the class, with all questions about the class in it, and about classes it does not show

The order of picks follows from hashes of seed and ids alone, so other images added to a dataset move no pick but their
own. Images over ground that was picked before come last (turned copies and overlapping chips are no second example).
Who has the dataset can draw again and compare the hashes: `check_subsets`.
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

from georefer.building.picks import Pick, candidates, hash_of, image_of, leaking_images, ordered
from georefer.errors import DatasetError, InputError
from georefer.runlog import progress, swap_folder, write_json
from georefer.scenes import Dataset, DatasetWriter, Question, Scene

MANIFEST = "subsets.json"
KINDS = ("images", "questions")
"""What the manifest keeps hashes of."""


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


@dataclass(frozen=True, eq=False)
class _Draw:
    """All that the largest subset holds, by class and in order: every subset is a beginning of it.

    `questions` are all that could be picked from, `kept` those on images that no other split holds (`leaking` are the
    others, with the reason). `hashes` are of pictures by scene and of questions by id. `unpicked` are classes.
    """

    order: Mapping[str, Sequence[Pick]]
    questions: Sequence[Question]
    kept: Sequence[Question]
    leaking: Mapping[str, str]
    hashes: Mapping[str, Mapping[str, str]]
    unpicked: Sequence[str]

    def hashes_of(self, kind: str, picks: Sequence[Pick]) -> dict[str, str]:
        return {id_: self.hashes[kind][id_] for id_ in _ids(kind, picks)}


def write_subsets(dataset: Dataset, out: Path | str, settings: SubsetSettings | None = None) -> dict[str, Any]:
    """Draws the subsets, writes them beside and moves them to `out`; returns what stands in subsets.json.

    Deterministic by settings and the ids of the dataset. A class with fewer candidates than shots has all of them, and
    is listed as short. InputError where `out` exists; DatasetError where nothing can be picked.
    """
    settings, out = settings or SubsetSettings(), Path(out)
    if out.exists():
        raise InputError(f"{out} exists already where a new folder is expected; choose another or remove it")
    draw = _drawn(dataset, settings)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        manifest = _described(dataset, settings, draw)
        for shots in sorted(settings.shots):
            manifest["subsets"][str(shots)] = _write(dataset, partial, settings, shots, draw)
        write_json(partial / MANIFEST, manifest)
        swap_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def check_subsets(dataset: Dataset, path: Path | str) -> list[str]:
    """What differs between a subsets.json and the same draw from this dataset, in sentences; none where all agrees.

    Draws anew by the file's settings and compares pictures and questions by their hashes, so that neither the files
    nor the folder's fingerprint need be the same. InputError where the file is none of ours.
    """
    path = Path(path)
    path = path / MANIFEST if path.is_dir() else path
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
        shots = tuple(map(int, theirs["subsets"]))
        settings = SubsetSettings(shots, theirs["by"], tuple(theirs["tasks"]), theirs["split"], theirs["seed"])
        said = {number: _told(theirs, number) for number in shots}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no manifest of few-shot sets ({error!r}); name a {MANIFEST}") from error
    draw = _drawn(dataset, settings)
    found = []
    for number in shots:
        here = {kind: draw.hashes_of(kind, _first(draw.order, number)) for kind in KINDS}
        found += [
            f"shot-{number:02d}: {line}" for kind in KINDS for line in _compared(kind, said[number][kind], here[kind])
        ]
    return found


# --- drawing and hashes -----------------------------------------------------------------------------------------


def _drawn(dataset: Dataset, settings: SubsetSettings) -> _Draw:
    images = {image.id: image for image in map(image_of, dataset.scenes(settings.split))}
    leaking = leaking_images(images.values(), dataset, settings.split)
    questions = [q for q in dataset.questions(settings.split) if not settings.tasks or q.task in settings.tasks]
    kept = [q for q in questions if q.scene_id not in leaking]
    order = ordered(candidates(kept, images, settings.by), images, max(settings.shots), settings.seed)
    if not order:
        raise DatasetError(
            f"no question of {dataset.folder} can be picked by {settings.by} (found: {len(questions)} questions, "
            f"{len(leaking)} images that other splits hold too); choose --by image, or other tasks"
        )
    shown = {label for image in images.values() for label in image.labels.values()}
    hashes = _hashes(dataset, settings.split, [pick for picks in order.values() for pick in picks], kept)
    return _Draw(order, questions, kept, leaking, hashes, sorted(shown - set(order)))


def question_hash(question: Question, scene: Scene) -> str:
    """Of all that a question asks and of the truth: its words, and label and shape of every object that answers."""
    truth = [
        (o.id, o.label, o.kind, shapely.to_wkb(o.geometry, hex=True, byte_order=1))
        for o in scene.objects.with_ids(question.answer_ids)
    ]
    params = json.dumps(question.params, sort_keys=True)
    return hash_of(question.id, question.scene_id, question.task, params, question.answer_text, truth)


def _hashes(
    dataset: Dataset, split: str, picks: Sequence[Pick], questions: Sequence[Question]
) -> dict[str, dict[str, str]]:
    wanted, asked = (set(_ids(kind, picks)) for kind in KINDS)
    about: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if question.id in asked:
            about[question.scene_id].append(question)
    of_images: dict[str, str] = {}
    of_questions: dict[str, str] = {}
    for scene in dataset.scenes(split):
        if scene.id in wanted:
            of_images[scene.id] = hashlib.sha256(scene.image).hexdigest()
            of_questions.update((question.id, question_hash(question, scene)) for question in about[scene.id])
    return {"images": dict(sorted(of_images.items())), "questions": dict(sorted(of_questions.items()))}


def _ids(kind: str, picks: Sequence[Pick]) -> list[str]:
    """Of the pictures or questions of picks, each once."""
    ids = (pick.questions if kind == "questions" else (pick.scene_id,) for pick in picks)
    return sorted({id_ for some in ids for id_ in some})


def _whole(hashes: Mapping[str, Mapping[str, str]]) -> str:
    return hash_of([sorted(hashes[kind].items()) for kind in KINDS])


def _told(manifest: Mapping[str, Any], shots: int) -> dict[str, dict[str, str]]:
    """The hashes that a manifest gives to the pictures and questions of one of its subsets."""
    picks = [
        Pick("", str(p["scene_id"]), None, tuple(map(str, p["questions"])))
        for p in manifest["subsets"][str(shots)]["picks"]
    ]
    found = {kind: {id_: str(manifest["sha256"][kind][id_]) for id_ in _ids(kind, picks)} for kind in KINDS}
    if _whole(found) != manifest["subsets"][str(shots)]["sha256"]:
        raise ValueError(f"the hash of its {shots} shots is not that of its picks")
    return found


def _compared(kind: str, theirs: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    sets = {
        "theirs alone": sorted(set(theirs) - set(here)),
        "here alone": sorted(set(here) - set(theirs)),
        "with other content": sorted(id_ for id_ in set(theirs) & set(here) if theirs[id_] != here[id_]),
    }
    return [f"{len(ids)} {kind} {which}, such as {ids[0]}" for which, ids in sets.items() if ids]


# --- writing ----------------------------------------------------------------------------------------------------


def _first(order: Mapping[str, Sequence[Pick]], shots: int) -> list[Pick]:
    return [pick for picks in order.values() for pick in picks[:shots]]


def _write(dataset: Dataset, folder: Path, settings: SubsetSettings, shots: int, draw: _Draw) -> dict[str, Any]:
    """One subset as a dataset; returns its part of the manifest."""
    name = f"shot-{shots:02d}"
    picks = _first(draw.order, shots)
    wanted, asked = (set(_ids(kind, picks)) for kind in KINDS)
    kept = [q for q in draw.kept if q.id in asked]
    described = _subset(picks, shots, kept, _whole({kind: draw.hashes_of(kind, picks) for kind in KINDS}))
    with DatasetWriter(folder / name) as writer:
        scenes = (s for s in dataset.scenes(settings.split) if s.id in wanted)
        writer.write("train", progress(scenes, name, len(wanted), "scene"), kept)
        drawn = {"from": dataset.fingerprint, "shots": shots, "by": settings.by, "seed": settings.seed}
        more = {key: dataset.manifest[key] for key in ("labels", "recipe") if key in dataset.manifest}
        written = writer.finish(_card(dataset, settings, described), subset=drawn, **more)
    return {**described, "folder": name, "fingerprint": written.fingerprint}


def _subset(picks: Sequence[Pick], shots: int, questions: Sequence[Question], sha256: str) -> dict[str, Any]:
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
        "sha256": sha256,
        "picks": [{**vars(pick), "questions": list(pick.questions)} for pick in picks],
    }


def _evenness(counts: Iterable[int]) -> float:
    """Entropy of the classes' shares over that of equal ones: 1 where all classes have as many questions."""
    share_C = np.array(list(counts), dtype=float)
    share_C = share_C[share_C > 0] / share_C.sum()
    return 1.0 if len(share_C) < 2 else round(float(-(share_C * np.log(share_C)).sum() / np.log(len(share_C))), 4)


def _described(dataset: Dataset, settings: SubsetSettings, draw: _Draw) -> dict[str, Any]:
    scenes = {pick.scene_id for picks in draw.order.values() for pick in picks}
    return {
        "dataset": {"folder": dataset.folder.resolve().name, "fingerprint": dataset.fingerprint},
        "split": settings.split,
        "by": settings.by,
        "tasks": list(settings.tasks),
        "seed": settings.seed,
        "questions_to_pick_from": len(draw.questions),
        "images_left_out_as_other_splits_hold_them": dict(sorted(Counter(draw.leaking.values()).items())),
        "images_shared_with_other_splits": len(scenes & set(draw.leaking)),
        "classes_without_a_pick": list(draw.unpicked),
        "subsets": {},
        "sha256": draw.hashes,
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
{dataset.fingerprint}; licences are those of that dataset. Scenes keep all their objects, but only the questions of the
picks are asked. Larger subsets of the same seed hold all of this one.

There is a training split only: evaluate on a test split of that dataset, of which no image is here. Who has it can
verify the draw: `georefer fewshot DATASET --check {MANIFEST}`.

| class | picks | scenes | questions |
|---|---|---|---|
{rows}
"""
