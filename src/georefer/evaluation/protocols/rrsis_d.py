"""RRSIS-D's referring segmentation as RMSIN's test script measures it.

Source: github.com/Lsan2401/RMSIN at dff69a6, test.py, data/dataset_refer_bert.py, refer/refer.py, and LAVT's
transforms.py (yz93/LAVT-RIS at 066bcf2), from which its own descends. The script scores a network's output in memory
and writes no answers, so there is no file format of its own. Ours is the simplest one, JSON lines or a JSON list with
one row for each sentence:

    {"id": 7, "prediction": COCO RLE or null, "ground_truth": COCO RLE or a list of them (the parts of one object)}

The two masks may have different sizes: a network that answers at 480 x 480 is compared as RMSIN is, and others are
brought to that size by the rule that the script has for the truth. No reference results were at hand: this file was
checked against the published definition only. What it does that a strict scorer would not:

- Both masks are compared at 480 x 480 (Pillow's nearest): an 800 px image loses two pixels in five of each row.
- Pixels that two parts of the truth share have the value 2, and only 1 is the object: they are lost.
- Nothing asked for and nothing said is an IoU of 0, not of 1.
- precision@t counts IoU >= t over all sentences; the overall IoU adds up pixels, so large objects decide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from georefer.errors import InputError
from georefer.evaluation.protocols.base import (
    Beside,
    Protocol,
    Row,
    Scores,
    Stop,
    partial,
    plain_name,
    read_json,
    read_json_lines,
    refuse_repeated,
)
from georefer.geometry import Mask
from georefer.geometry.mask import union

SIDE = 480
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

QUIRKS = {
    "resized": "masks are compared at 480 x 480, made by nearest sampling",
    "overlap-lost": "pixels that two parts of the truth share are taken out of it",
    "empty-zero": "an empty answer where nothing is to be found has an IoU of 0",
}

Counts = tuple[int, int]
"""Pixels in both masks and in either."""


def score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    """{name of the file without its ending: {mean IoU, precision@0.5, ..., overall IoU (percent), sums, printed}}."""
    side = _side(settings)
    file = _file(Path(path))
    answers = _answers(file)
    if not partial(settings):
        refuse_repeated((str(row.get("id", number)) for number, row in enumerate(answers)), file)
    part = plain_name(file).rsplit(".", 1)[0]
    rows, stops, published, strict = [], [], [], []
    for number, answer in enumerate(answers):
        id_ = answer.get("id", number)
        truths = _truths(answer, f"{file} row {number}")
        found, wrong = _prediction(answer, truths[0])
        if wrong:
            stops.append(Stop(part, id_, wrong))
        published.append(_counts(found, truths, (side, side)))
        row = Row(part, id_, _iou(published[-1]))
        if beside:
            strict.append(_strict_counts(found, truths))
            row = replace(row, strict=_iou(strict[-1], empty=1.0))
            row = replace(row, reasons=_reasons(row, found, truths, side)) if row.differs else row
        rows.append(row)
    numbers = {part: _numbers([row.published or 0.0 for row in rows], published)}
    return Scores(numbers, tuple(rows), tuple(stops), tuple(_beside(part, rows, numbers[part], strict)))


# --- files -----------------------------------------------------------------------------------------------


def _side(settings: Mapping[str, str]) -> int:
    side = settings.get("size", str(SIDE))
    if not side.isdecimal() or not 1 <= int(side) <= 4096:
        raise InputError(f"size={side} is no side of an image; set one of 1 to 4096 pixels (RMSIN's is {SIDE})")
    return int(side)


def _file(path: Path) -> Path:
    """The file itself, or the only one of its kind in a folder."""
    if path.is_file():
        return path
    files = [p for ending in ("jsonl", "jsonl.gz", "json", "json.gz") for p in sorted(path.glob(f"*.{ending}"))]
    if len(files) != 1:
        raise InputError(f"{path} holds {len(files)} files of masks where one *.jsonl or *.json is expected; give it")
    return files[0]


def _answers(file: Path) -> list[dict[str, Any]]:
    rows = list(read_json_lines(file)) if ".jsonl" in file.name else read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{file} is no list of objects; expected rows with id, prediction and ground_truth")
    return rows


def _truths(row: Mapping[str, Any], where: str) -> list[Mask]:
    """The parts of a row's truth, all of one size."""
    said: Any = row.get("ground_truth")
    try:
        parts = [Mask.from_coco(part) for part in (said if isinstance(said, list) else [said])]
    except ValueError as error:
        raise InputError(f"{where}: ground_truth is no COCO run-length mask ({error})") from error
    if len({(part.height, part.width) for part in parts}) != 1 or not parts[0].height * parts[0].width:
        raise InputError(f"{where}: ground_truth has parts of several sizes, or none; expected masks of one image")
    return parts


def _prediction(row: Mapping[str, Any], truth: Mask) -> tuple[Mask, str | None]:
    """The mask that a row says, and what is wrong with it; an empty one where it says none."""
    nothing = Mask.from_counts([truth.height * truth.width], (truth.height, truth.width))
    if row.get("prediction") is None:
        return nothing, None
    try:
        mask = Mask.from_coco(row["prediction"])
    except ValueError as error:
        return nothing, f"prediction is no COCO run-length mask and counts as an empty one ({error})"
    return (mask, None) if mask.height * mask.width else (nothing, None)


# --- as published ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def nearest_places(size: int, side: int) -> np.ndarray:
    """The pixel (side,) of `size` that Pillow's nearest resize takes for each of `side`.

    Pillow adds the step up from half a step on instead of multiplying, which rounds otherwise for some sizes.
    """
    step = size / side
    places = np.add.accumulate(np.concatenate(([step * 0.5], np.full(side - 1, step)))).astype(np.int64)
    return np.minimum(places, size - 1)


def sampled(mask: Mask, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a mask at another (height, width), flat down the columns, without unpacking the mask."""
    rows_H, columns_W = nearest_places(mask.height, size[0]), nearest_places(mask.width, size[1])
    once_C, again_W = np.unique(columns_W, return_inverse=True)
    places_P = (once_C[:, None] * mask.height + rows_H).ravel()
    # every end of a run turns the pixels from there on; an odd number of turns means set
    turns = np.searchsorted(places_P, np.cumsum(mask.counts_R))
    set_P = np.cumsum(np.bincount(turns, minlength=len(places_P))[: len(places_P)]) % 2 == 1
    return set_P.reshape(len(once_C), size[0])[again_W].ravel()


def _counts(found: Mask, truths: Sequence[Mask], size: tuple[int, int]) -> Counts:
    """With only those pixels of the truth that lie in exactly one part."""
    covered_P = np.zeros(size[0] * size[1], dtype=np.uint8)
    for part in truths:
        covered_P += sampled(part, size)
    return _both_and_either(sampled(found, size), covered_P == 1)


def _both_and_either(found_P: np.ndarray, truth_P: np.ndarray) -> Counts:
    return int((found_P & truth_P).sum()), int((found_P | truth_P).sum())


def _iou(counts: Counts, empty: float = 0.0) -> float:
    return counts[0] / counts[1] if counts[1] else empty


def _numbers(ious: Sequence[float], counts: Sequence[Counts]) -> dict[str, Any]:
    if not ious:
        raise InputError("there are no rows to score; expected one for each sentence")
    inter, either = sum(i for i, _ in counts), sum(u for _, u in counts)
    found: dict[str, Any] = {"mean IoU": 100 * float(np.mean(ious))}
    for threshold in THRESHOLDS:
        found[f"precision@{threshold}"] = sum(iou >= threshold for iou in ious) * 100.0 / len(ious)
    found["overall IoU"] = inter * 100.0 / either if either else None
    names = list(found)[1:]
    said = ["nan" if found[name] is None else f"{found[name]:.2f}" for name in names]
    printed = ["Final results:", f"Mean IoU is {found['mean IoU']:.2f}"]
    printed += [f"    {name} = {value}" for name, value in zip(names, said, strict=True)]
    return {**found, "seg_total": len(ious), "cum_I": inter, "cum_U": either, "printed": printed}


# --- strict ----------------------------------------------------------------------------------------------


def _strict_counts(found: Mask, truths: Sequence[Mask]) -> Counts:
    """At the size of the truth, with all pixels of all its parts."""
    size = truths[0].height, truths[0].width
    return _both_and_either(sampled(found, size), sampled(union(truths), size))


def _reasons(row: Row, found: Mask, truths: Sequence[Mask], side: int) -> tuple[str, ...]:
    """Each rule is put right alone; a row that only all of them together change gets those that apply."""
    size, all_parts = (truths[0].height, truths[0].width), union(truths)

    def changes(counts: Counts, empty: float = 0.0) -> bool:
        return abs(_iou(counts, empty) - (row.published or 0.0)) > 1e-6

    names = [
        ("resized", changes(_counts(found, truths, size))),
        ("overlap-lost", changes(_counts(found, [all_parts], (side, side)))),
        ("empty-zero", changes(_counts(found, truths, (side, side)), empty=1.0)),
    ]
    overlap = sum(part.area for part in truths) != all_parts.area
    return tuple(name for name, differs in names if differs) or (
        ("resized", "overlap-lost") if overlap else ("resized",)
    )


def _beside(part: str, rows: Sequence[Row], numbers: Mapping[str, Any], strict: Sequence[Counts]) -> list[Beside]:
    if not strict:
        return []
    right = _numbers([row.strict or 0.0 for row in rows], strict)
    return [Beside(part, name, numbers[name], right[name]) for name in ("mean IoU", "precision@0.5", "overall IoU")]


PROTOCOL = Protocol(
    name="rrsis-d",
    source="github.com/Lsan2401/RMSIN at dff69a6, test.py and data/dataset_refer_bert.py",
    reads="rows {id, prediction, ground_truth} of COCO run-length masks, as JSON lines or a JSON list (RMSIN has none)",
    quirks=QUIRKS,
    score=score,
    settings={"size": f"side of the square in pixels at which masks are compared (default {SIDE})"},
)
