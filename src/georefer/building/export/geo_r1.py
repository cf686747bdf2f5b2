"""Geo-R1's few-shot files, and the same questions as rows for reinforcement learning.

    REC/<split>.json                    [{image, problem, solution [x1, y1, x2, y2], is_unique}]     a phrase, one box
    GRES/<split>.jsonl, masks/          {id, image, mask, problem, category, bbox_list}              any number of areas
    OVD/<split>/annotations.json        COCO, and nwpu_exist_cat.json {image id: [class names]}      a class, its boxes
    vlm-r1/<REC, OVD or GRES>_<split>.jsonl     {id, image, conversations}, for grpo_jsonl.py and --image_folders images
    trl/<split>.jsonl                   {id, task, prompt, images, solution, width, height, mask}

Sources: github.com/Geo-R1/geo-r1 at c2f2131 and the README of om-ai-lab/VLM-R1 at 518b428 ("For your own data").

- All numbers are pixels of the picture as it is, as in the originals: what a model of Qwen's family says in pixels of
  the resized picture has to be scaled by the reward. Those of the last two are rounded to hundredths.
- Names of images start in images/, those of masks in masks/ (a PNG, 255 where any of the objects is); those of trl/
  start at the export's folder.
- A phrase may be asked for box and outline; it stands in REC and in GRES then. An empty `bbox_list` says that nothing
  is there. OVD asks only for classes that are there, as the original does; others are left out.
- VLM-R1 asks for thoughts itself, behind the question; the prompts of trl/ hold that wish.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.labels import count_account
from georefer.building.export.pictures import mask_png
from georefer.geometry import Mask, Objects
from georefer.geometry.mask import union
from georefer.runlog import write_json
from georefer.scenes.interchange import LabelledImage, write
from georefer.scenes.readers.common import box_numbers, dumped
from georefer.scenes.readers.geo_r1 import EXISTING, REC_LEAD

DECIMALS = 2
"""Of a pixel, in solutions."""

_KINDS = {"rec": "REC", "detection": "OVD", "res": "GRES", "segment": "GRES"}

_WISH = (
    " First think about it between <think> and </think>, then answer between <answer> and </answer>, in JSON{form}."
    " Numbers are pixels of the image."
)
_FORMS = {
    "REC": ': {"bbox_2d": [x1, y1, x2, y2]}',
    "OVD": ': a list of {"bbox_2d": [x1, y1, x2, y2], "label": class}, or None',
    "GRES": ': a list of {"bbox_2d": [x1, y1, x2, y2], "keypoint1": [x, y], "keypoint2": [x, y]}, or None',
}
_TAGS = ("```", "<think>", "</think>", "<answer>", "</answer>")


@dataclass
class _Rows:
    """What the files of one split will hold."""

    rec: list[dict[str, Any]] = field(default_factory=list)
    gres: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[LabelledImage] = field(default_factory=list)
    existing: dict[str, list[str]] = field(default_factory=dict)
    talks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    trl: list[dict[str, Any]] = field(default_factory=list)


def _write(shown: Iterable[Shown], job: Job) -> None:
    by_split = {split: _Rows() for split in job.splits}
    for one in shown:
        rows = by_split[one.split]
        for number, sample in enumerate(one.samples):
            reason = _add(one, sample, number, rows, job)
            if reason:
                job.take_back(one, sample, reason)
    labels = sorted({label for rows in by_split.values() for one in rows.pictures for label in one.objects.labels_N})
    classes = {label: number for number, label in enumerate(labels, 1)}
    for split, rows in by_split.items():
        _write_split(split, rows, classes, job)


def _write_split(split: str, rows: _Rows, classes: dict[str, int], job: Job) -> None:
    files = {f"REC/{split}.json": rows.rec, f"GRES/{split}.jsonl": rows.gres, f"trl/{split}.jsonl": rows.trl}
    files |= {f"vlm-r1/{kind}_{split}.jsonl": talks for kind, talks in rows.talks.items()}
    for name, content in files.items():
        if content:
            _write_rows(job.out / name, content)
    if rows.pictures:
        folder = job.out / "OVD" / split
        folder.mkdir(parents=True)
        count_account(job, write("coco", rows.pictures, folder / "annotations.json", classes=classes, decimals=6))
        write_json(folder / EXISTING, rows.existing)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [dumped(row) for row in rows]
    text = "[\n" + ",\n".join(lines) + "\n]\n" if path.suffix == ".json" else "\n".join(lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _add(one: Shown, sample: Sample, number: int, rows: _Rows, job: Job) -> str:
    """Adds a question to the files of its kind; the reason where it has no place there."""
    kind = _KINDS.get(sample.question.task)
    if kind is None:
        return "question that asks neither for a box nor for areas"
    objects = sample.objects[shapely.area(sample.objects.geometries_N) > 0]
    label = sample.question.params.get("label")
    problem, question = _asked(sample, kind)
    said = (problem, question, *objects.labels_N)
    if any(tag in text for text in said for tag in _TAGS):
        return "text with a tag between which thoughts and answers are looked for"
    if len(objects) != len(sample.objects) or (kind == "REC" and len(objects) != 1):
        return "phrase or class whose objects have no area, or a phrase for a box that does not mean one object"
    extra: dict[str, Any] = {}
    if kind == "REC":
        _add_rec(one, objects, problem, rows)
    elif kind == "OVD":
        if set(objects.labels_N) != {str(label)}:
            return "class that is not there, or whose answer has objects of other classes"
        _add_ovd(one, str(label), rows)
    else:
        extra["mask"] = f"{one.split}/{one.picture.stem}_{number}.png"
        if not _add_mask(one, objects, job.out / "masks" / extra["mask"]):
            return "object that covers no pixel's centre"
        category = str(label) if label is not None else next(iter(objects.labels_N), "")
        row = {"id": f"{one.picture.stem}_{number}", "image": _image(one), **extra, "problem": problem}
        rows.gres.append({**row, "category": category, "bbox_list": _boxes(objects)})
    _add_rows(one, sample, kind, question, _solution(kind, objects), extra, rows)
    return ""


def _asked(sample: Sample, kind: str) -> tuple[str, str]:
    """(problem, question): how Geo-R1's own files and how the rows for training ask."""
    params = sample.question.params
    if params.get("prompt"):
        return sample.prompt, sample.prompt
    expression, label = params.get("expression"), params.get("label")
    if expression is None:
        return f"Find every {label}.", f"Find every {label}."
    lead = REC_LEAD + str(expression)
    return (lead, lead) if kind == "REC" else (str(expression), f"Find {expression}.")


def _add_rec(one: Shown, objects: Objects, problem: str, rows: _Rows) -> None:
    alone = len(one.scene.objects.labelled(str(objects.labels_N[0]))) == 1
    (solution,) = _boxes(objects)
    rows.rec.append({"image": _image(one), "problem": problem, "solution": solution, "is_unique": alone})


def _add_ovd(one: Shown, label: str, rows: _Rows) -> None:
    """A class of a scene, whose picture is added with all its boxes the first time."""
    name = _image(one)
    if not rows.pictures or rows.pictures[-1].file_name != name:
        areas = one.scene.objects[shapely.area(one.scene.objects.geometries_N) > 0].to_hbb()
        rows.pictures.append(LabelledImage(name, *one.scene.size, areas, {"id": len(rows.pictures) + 1}))
    names = rows.existing.setdefault(str(len(rows.pictures)), [])
    names += [] if label in names else [label]


def _add_mask(one: Shown, objects: Objects, path: Path) -> bool:
    """Writes one mask of all objects; False, and nothing, where an object would be lost in it."""
    width, height = one.scene.size
    masks = [Mask.of_geometry(shape, (height, width)) for shape in objects.geometries_N]
    if not all(mask.area for mask in masks):
        return False
    whole_HW = union(masks).dense() if masks else np.zeros((height, width), dtype=bool)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mask_png(whole_HW))
    return True


def _add_rows(
    one: Shown, sample: Sample, kind: str, question: str, solution: str, extra: dict[str, Any], rows: _Rows
) -> None:
    said = [{"from": "human", "value": f"<image>{question}"}, {"from": "gpt", "value": solution}]
    id_ = sample.question.id
    rows.talks.setdefault(kind, []).append({"id": id_, "image": _image(one), "conversations": said})
    width, height = one.scene.size
    prompt = [{"role": "user", "content": question + _WISH.format(form=_FORMS[kind])}]
    row = {"id": id_, "task": kind, "prompt": prompt, "images": [one.picture.path]}
    rows.trl.append(
        {**row, "solution": f"<answer> {solution} </answer>", "width": width, "height": height, "mask": None, **extra}
    )


def _solution(kind: str, objects: Objects) -> str:
    """What VLM-R1's rewards read: the four numbers of a phrase's box, else a fenced list, or None."""
    boxes = [[round(float(value), DECIMALS) for value in box] for box in objects.hbb_N4]
    if kind == "REC":
        return json.dumps(boxes[0])
    found = [{"bbox_2d": box, "label": str(label)} for box, label in zip(boxes, objects.labels_N, strict=True)]
    return f"```json\n{json.dumps(found, ensure_ascii=False)}\n```" if found else "None"


def _boxes(objects: Objects) -> list[list[float | int]]:
    return [box_numbers(shape) for shape in objects.geometries_N]


def _image(one: Shown) -> str:
    """A picture's name, from images/ on."""
    return one.picture.path.removeprefix("images/")


GEO_R1 = Format(
    "geo-r1",
    "Geo-R1's few-shot files (REC, GRES with masks, OVD), and the questions as rows for VLM-R1 and TRL",
    _write,
    dialect="geo-r1",
    frame="scene",
    says=frozenset({"polygon", "mask"}),
    marks=("<image>",),
)
