"""Two more layouts of phrases: RSVG-HR's lines with boxes, and EarthReason's folders with masks.

    rsvg          <split>.txt: image,x1,y1,x2,y2,expression          boxes in pixels, images/ the folder of images
    earthreason   <split>/images/, <split>/labels/ (a mask's PNG each), <split>/QAs/ {questions, answer}

- rsvg: a phrase asked in several forms is one line. The published loader takes what follows the last comma as the
  phrase: phrases with commas are written whole, and counted.
- earthreason has one mask an image: a picture is written once for every mask that is asked for, and questions with the
  same objects share it. No answer and an empty mask say that nothing is there. Its readers know train, val and test.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import shapely

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.pictures import mask_png
from georefer.geometry import Mask
from georefer.geometry.mask import union
from georefer.scenes.readers.common import box_numbers, dumped

# --- RSVG -----------------------------------------------------------------------------------------------------


def _write_rsvg(shown: Iterable[Shown], job: Job) -> None:
    lines: dict[str, list[str]] = {split: [] for split in job.splits}
    for one in shown:
        seen: set[tuple[str, ...]] = set()
        for sample in one.samples:
            reason = _add_line(one, sample, seen, lines[one.split], job)
            if reason:
                job.take_back(one, sample, reason)
    for split, content in lines.items():
        if content:
            (job.out / f"{split}.txt").write_text("".join(content), encoding="utf-8", newline="\n")


def _add_line(one: Shown, sample: Sample, seen: set[tuple[str, ...]], lines: list[str], job: Job) -> str:
    """Adds the line of a phrase; the reason where there is none."""
    phrase = sample.question.params.get("expression")
    objects = sample.objects[shapely.area(sample.objects.geometries_N) > 0]
    if not isinstance(phrase, str) or len(objects) != 1 or len(sample.objects) != 1:
        return "question that is no phrase for one object"
    if len(phrase.splitlines()) != 1 or phrase != phrase.strip():
        return "phrase that does not fill one line"
    key = (phrase, str(objects.ids_N[0]))
    if key in seen:
        return "phrase asked in another form too, which is the same line"
    seen.add(key)
    if "," in phrase:
        job.account.changed.add("phrase with a comma, whose first half the published loader loses", sample.question.id)
    box = ",".join(map(str, box_numbers(objects.geometries_N[0])))
    lines.append(f"{one.picture.path.removeprefix('images/')},{box},{phrase}\n")
    return ""


# --- EarthReason ----------------------------------------------------------------------------------------------

_KNOWN = ("train", "val", "test")


def _write_earthreason(shown: Iterable[Shown], job: Job) -> None:
    for one in shown:
        groups: dict[tuple[str, ...], list[Sample]] = {}
        for sample in one.samples:
            if one.split not in _KNOWN:
                job.take_back(one, sample, f"split other than {', '.join(_KNOWN)}")
            elif sample.question.task not in ("res", "segment"):
                job.take_back(one, sample, "question that does not ask for outlines")
            else:
                groups.setdefault(tuple(sorted(sample.objects.ids_N)), []).append(sample)
        for number, samples in enumerate(groups.values()):
            _write_group(one, samples, f"{one.picture.stem}_{number}", job)


def _write_group(one: Shown, samples: list[Sample], stem: str, job: Job) -> None:
    (width, height), objects = one.scene.size, samples[0].objects
    masks = [Mask.of_geometry(shape, (height, width)) for shape in objects.geometries_N]
    if not all(mask.area for mask in masks):
        for sample in samples:
            job.take_back(one, sample, "object that covers no pixel's centre")
        return
    whole_HW = union(masks).dense() if masks else np.zeros((height, width), dtype=bool)
    questions = [str(sample.question.params.get("expression") or sample.prompt) for sample in samples]
    answers = list(dict.fromkeys(f"the {label}" for label in objects.labels_N))
    ending = "jpg" if one.picture.form == "jpeg" else "png"
    for name, data in (
        (f"images/{stem}.{ending}", one.picture.data),
        (f"labels/{stem}.png", mask_png(whole_HW)),
        (f"QAs/{stem}.json", dumped({"questions": questions, "answer": answers}).encode()),
    ):
        path = job.out / one.split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    job.counts["masks"] += 1


RSVG = Format(
    "rsvg",
    "RSVG-HR's lines: <split>.txt of image,x1,y1,x2,y2,expression",
    _write_rsvg,
    dialect="geoground",
    frame="scene",
)
EARTHREASON = Format(
    "earthreason",
    "EarthReason's folders: <split>/images/, <split>/labels/ with masks, and <split>/QAs/",
    _write_earthreason,
    dialect="georefer",
    frame="scene",
    embeds="yes",
    says=frozenset({"polygon", "mask"}),
)
