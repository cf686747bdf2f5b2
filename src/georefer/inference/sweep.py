"""A whole raster to a map layer: windows, one question a class, one object for all looks at it.

out/
  answers.jsonl   everything the model said, window by window; an interrupted sweep goes on from it
  found.gpkg      layers `found` and `failures`, in the raster's CRS
  found.geojson   `found` in longitude and latitude (absent where the raster has no CRS)
  overlay.png     what was found, drawn over the raster
  sweep.json      counts, settings, time; written last, so its presence means "whole"
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from georefer.building.chips import chip_window_px
from georefer.config import to_plain
from georefer.errors import InputError
from georefer.geometry import GeoGrid, Objects, Window
from georefer.geometry.merge import MergeRule
from georefer.geometry.window import starts
from georefer.imagery.raster import Imagery, open_imagery
from georefer.imagery.write import write_geojson, write_layers, write_png
from georefer.inference.calibration import load_calibration
from georefer.inference.found import (
    WindowAnswer,
    WindowReading,
    count_problems,
    failures_layer,
    found_layer,
    merge_readings,
    read_answer,
)
from georefer.inference.overlay import overlay
from georefer.inference.refine import REFINED_BY, load_refiner
from georefer.inference.refine_found import refine_found
from georefer.inference.said import grammar_for, said_to
from georefer.models.base import Ask, Model
from georefer.runlog import JsonLines, progress, say, versions, write_json
from georefer.scenes import Question
from georefer.tasks import TASKS

OVERLAY_SIDE_PX = 2048


@dataclass(frozen=True)
class SweepSettings:
    """A sweep recipe; see `recipes/*/sweep.toml`."""

    imagery: tuple[Path | str, ...]
    """Rasters, folders or glob patterns that make up the area."""
    labels: tuple[str, ...]
    """Classes to look for, in the words the model was taught."""
    bands: tuple[int, ...] = (1, 2, 3)
    """1-based bands shown as red, green and blue; a single one is shown as grey."""
    stretch: tuple[tuple[float, float], ...] | None = None
    """(low, high) of every band, as the dataset's manifest holds it; left out: measured, uint8 passed as it is."""
    window_px: int = 128
    """Side of the image that the model sees."""
    gsd_m: float | None = None
    """Ground size of its pixels, metres; left out: the imagery's own."""
    overlap: float = 0.25
    """Share of a window's side that its neighbours see too; objects up to that size are seen whole by one."""
    batch: int = 64
    """Questions asked at once."""
    max_new_tokens: int = 256
    merge_iou: float = 0.5
    """Agreement from which two windows mean the same object."""
    inside: float = 0.6
    """Share of a cut piece that must lie in another object for the piece to be dropped."""
    touch_px: float = 2.0
    """How near to its window's border an object counts as cut, in pixels that the model sees."""
    grammar: bool = False
    """Whether answers are held to the dialect's grammar; a model behind an address cannot be."""
    calibration: Path | None = None
    """The calibration.json that makes scores probabilities; left out, they are the model's own confidence."""
    refine: str = ""
    """What draws the merged shapes anew, "snap" or "sam:FOLDER"; left out, nothing does."""

    def __post_init__(self) -> None:
        if not self.imagery or not self.labels:
            raise ValueError("imagery and labels must not be empty; name a raster and at least one class")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels {self.labels} repeat one; name each class once")
        if not 0 <= self.overlap <= 0.75:
            raise ValueError(f"overlap is {self.overlap}; expected 0 to 0.75")
        if min(self.window_px, self.batch, self.max_new_tokens) < 1 or (self.gsd_m is not None and self.gsd_m <= 0):
            raise ValueError("window_px, batch, max_new_tokens and gsd_m must be above 0")


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep found, in raster pixels, and what it counted on the way."""

    found: Objects
    grid: GeoGrid
    counts: dict[str, Any]
    out: Path

    def summary(self) -> str:
        """A few lines for the person who asked."""
        counts = self.counts
        found = ", ".join(f"{count} x {label}" for label, count in counts["found"].items())
        lines = [
            f"found {found} in {counts['windows']} windows ({counts['windows_empty']} without imagery not asked), "
            f"merged from {counts['looks']} looks",
            f"{counts['answers_failed']} of {counts['answers']} answers were lost in part or whole"
            + (": see the layer 'failures'" if counts["answers_failed"] else ""),
            f"map layer: {self.out / 'found.gpkg'}   picture: {self.out / 'overlay.png'}",
        ]
        if "refined" in counts:
            lines.insert(1, f"{counts['refined']} of {len(self.found)} shapes refined, the others kept as they were")
        return "\n".join(lines)


def sweep_recipe(model: Model, settings: SweepSettings, out: Path) -> SweepResult:
    """Opens the imagery that the settings name and sweeps it."""
    with open_imagery(list(settings.imagery), bands=settings.bands, stretch=settings.stretch or "auto") as imagery:
        return sweep(model, imagery, settings, out)


def sweep(model: Model, imagery: Imagery, settings: SweepSettings, out: Path) -> SweepResult:
    """Asks a model for every class in every window of a raster and writes one map layer to the folder `out`.

    Goes on from answers that are in `out` already; InputError where those are of another sweep. How answers are
    calibrated, merged and refined may change between runs without asking again.
    """
    started = time.monotonic()
    plan = SweepPlan.of(imagery.grid, settings)
    # before anything is asked, so that a wrong name is said at once
    calibration = load_calibration(settings.calibration, model.name) if settings.calibration else None
    refiner = load_refiner(settings.refine) if settings.refine else None
    answers, empty = _answers(model, imagery, plan, settings, Path(out))
    frame = model.frame_for(plan.size)
    readings = [read_answer(answer, plan.size, model.dialect, frame, calibration) for answer in answers]
    rule = MergeRule(settings.merge_iou, settings.inside, settings.touch_px * plan.scale)
    found = merge_readings(readings, (imagery.grid.width, imagery.grid.height), rule)
    if refiner is not None:
        found = refine_found(refiner, imagery, found, plan.windows, plan.size)
    counts = _counts(plan, readings, empty, found, settings)
    result = SweepResult(found, imagery.grid, counts, Path(out))
    _write(result, readings, imagery, settings)
    seconds = round(time.monotonic() - started, 1)
    about = {"settings": to_plain(settings), "model": model.name, "imagery": imagery.describe()}
    write_json(result.out / "sweep.json", {**result.counts, "seconds": seconds, **about, "versions": versions()})
    return result


@dataclass(frozen=True)
class SweepPlan:
    """The windows of a sweep and the size (width, height) of the image that a model sees of each.

    Windows are of one size, so that objects keep their scale; on a raster smaller than a window, and only
    there, they run over its edge.
    """

    windows: tuple[Window, ...]
    size: tuple[int, int]

    @classmethod
    def of(cls, grid: GeoGrid, settings: SweepSettings) -> SweepPlan:
        if settings.gsd_m is not None and not grid.is_georeferenced:
            say(f"the imagery has no georeference, so gsd_m = {settings.gsd_m} has no meaning and is left out")
        width, height = chip_window_px(grid, settings.window_px, settings.gsd_m)
        xs = starts(grid.width, width, int(width * settings.overlap))
        ys = starts(grid.height, height, int(height * settings.overlap))
        windows = tuple(Window(x, y, width, height) for y in ys for x in xs)
        return cls(windows, (settings.window_px, settings.window_px))

    @property
    def scale(self) -> float:
        """Raster pixels per pixel of the model's image, along the coarser axis."""
        window = self.windows[0]
        return max(window.width / self.size[0], window.height / self.size[1])


# --- asking ----------------------------------------------------------------------------------------------


def window_hint(window: Window, label: str) -> str:
    """What `Ask.hint` says in a sweep, `window X Y WIDTH HEIGHT|LABEL` in raster pixels: an oracle's key."""
    return f"window {window.x} {window.y} {window.width} {window.height}|{label}"


def read_window_hint(hint: str) -> tuple[Window, str]:
    """Inverse of `window_hint`."""
    place, _, label = hint.partition("|")
    return Window(*map(int, place.split()[1:])), label


def _answers(
    model: Model, imagery: Imagery, plan: SweepPlan, settings: SweepSettings, out: Path
) -> tuple[list[WindowAnswer], int]:
    """An answer for every window and class, kept ones first looked up; and the windows without imagery."""
    file = JsonLines(out / "answers.jsonl")
    kept = _kept(file, _identity(model, imagery, settings))
    known = {answer.key: answer for answer in kept}
    asking = _Asking(model, imagery, plan, settings.labels, known)
    grammar = grammar_for(_question("", settings.labels[0]), model.dialect) if settings.grammar else None
    questions = iter(asking)
    while batch := list(islice(questions, settings.batch)):
        said = said_to(model, [ask for ask, _ in batch], settings.max_new_tokens, [grammar] * len(batch))
        fresh = [WindowAnswer(w, label, one.text, one.scores) for (_, (w, label)), one in zip(batch, said, strict=True)]
        file.append(answer.to_row() for answer in fresh)
        known.update((answer.key, answer) for answer in fresh)
    wanted = ((w.x, w.y, label) for w in plan.windows for label in settings.labels)
    return [known[key] for key in wanted if key in known], asking.empty


class _Asking:
    """Yields what is still to be asked; every window is read once for all its classes."""

    def __init__(self, model: Model, imagery: Imagery, plan: SweepPlan, labels: Sequence[str], known: dict):
        self.model, self.imagery, self.plan, self.labels, self.known = model, imagery, plan, labels, known
        self.empty = 0

    def __iter__(self) -> Iterator[tuple[Ask, tuple[Window, str]]]:
        detection = TASKS["detection"]
        for window in progress(self.plan.windows, "windows", len(self.plan.windows), "window"):
            missing = [label for label in self.labels if (window.x, window.y, label) not in self.known]
            if not missing:
                continue
            pixels = self.imagery.read(window, self.plan.size)
            if not pixels.valid_HW.any():
                self.empty += 1
                continue
            for label in missing:
                hint = window_hint(window, label)
                prompt = detection.prompt(
                    _question(hint, label), self.model.dialect, self.model.frame_for(self.plan.size)
                )
                yield Ask(pixels.image_HW3, prompt, hint), (window, label)


def _question(id_: str, label: str) -> Question:
    return Question(id_, "", "detection", {"label": label})


def _identity(model: Model, imagery: Imagery, settings: SweepSettings) -> dict[str, Any]:
    """What decides the answers; all else may differ between runs that share a folder."""
    return {
        # a model may carry a fingerprint of its weights; its name alone can stay when it is trained anew
        "model": f"{model.name} {getattr(model, 'fingerprint', '')}".strip(),
        "dialect": model.dialect.name,
        "window_px": settings.window_px,
        "gsd_m": settings.gsd_m,
        "overlap": settings.overlap,
        "max_new_tokens": settings.max_new_tokens,
        "grammar": settings.grammar,
        **{f"imagery.{key}": value for key, value in imagery.describe().items()},
    }


def _kept(file: JsonLines, identity: dict[str, Any]) -> list[WindowAnswer]:
    """Answers of an earlier run; begins the file where there is none."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.cut_tail()
    rows = file.read()
    if not rows:
        file.append([{"sweep": identity}])
        return []
    # answers from before there were grammars are free ones
    before = {"grammar": False, **rows[0].get("sweep", {})}
    changed = [key for key in identity if before.get(key) != identity[key]]
    if changed:
        found = "; ".join(f"{key} is {before.get(key)!r}, now {identity[key]!r}" for key in changed)
        raise InputError(
            f"{file.path} holds the answers of another sweep ({found}) where those of this one are expected; "
            "choose another folder, or delete that file to ask anew"
        )
    return [WindowAnswer.from_row(row) for row in rows[1:]]


# --- results ---------------------------------------------------------------------------------------------


def _counts(
    plan: SweepPlan, readings: list[WindowReading], empty: int, found: Objects, settings: SweepSettings
) -> dict[str, Any]:
    refined = {"refined": sum(REFINED_BY in a for a in found.attributes_N)} if settings.refine else {}
    return {
        "found": {label: len(found.labelled(label)) for label in settings.labels},
        **refined,
        "looks": sum(len(r.objects) for r in readings),
        "windows": len(plan.windows),
        "windows_empty": empty,
        "answers": len(readings),
        "answers_none": sum(r.reading.says_none for r in readings),
        "answers_failed": sum(r.is_failure for r in readings),
        "problems": count_problems(readings),
    }


def _write(result: SweepResult, readings: list[WindowReading], imagery: Imagery, settings: SweepSettings) -> None:
    """All files but the last; an old sweep.json goes first, since it would vouch for them."""
    out = result.out
    (out / "sweep.json").unlink(missing_ok=True)
    found = found_layer(result.found, result.grid, refined=bool(settings.refine))
    failures = failures_layer(readings, result.grid)
    with warnings.catch_warnings():
        # a raster without CRS gives layers without one, which is said below
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        write_layers(out / "found.gpkg", {"found": found, "failures": failures})
    if result.grid.is_georeferenced:
        write_geojson(out / "found.geojson", found)
    else:
        (out / "found.geojson").unlink(missing_ok=True)
        say("the imagery has no CRS: found.gpkg holds pixel coordinates (y down), and there is no GeoJSON")
    write_png(out / "overlay.png", overlay(imagery, result.found, settings.labels, OVERLAY_SIDE_PX))
