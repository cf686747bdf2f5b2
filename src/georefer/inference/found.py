"""From the answers about windows to objects of the whole raster, and to the layers that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import geopandas
import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, GeoGrid, Objects, Window
from georefer.geometry.merge import Looks, Merged, MergeRule, merge_looks
from georefer.geometry.shapes import Kind
from georefer.inference.calibration import Calibration
from georefer.inference.refine import KEPT_BECAUSE, REFINED_BY
from georefer.inference.said import Scores, scored

TEXT_SHOWN = 200
"""Characters of an answer that the failures layer keeps; all of it is in answers.jsonl."""


@dataclass(frozen=True)
class WindowAnswer:
    """What a model said about one window when asked for one class; `scores` as in `said.Said`."""

    window: Window
    label: str
    text: str
    scores: Scores | None = None

    @property
    def key(self) -> tuple[int, int, str]:
        return self.window.x, self.window.y, self.label

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> WindowAnswer:
        scores = row.get("scores")
        return cls(Window(*row["window"]), row["label"], row["text"], None if scores is None else tuple(scores))

    def to_row(self) -> dict[str, Any]:
        box = self.window
        said = {"window": [box.x, box.y, box.width, box.height], "label": self.label, "text": self.text}
        return said if self.scores is None else {**said, "scores": list(self.scores)}


@dataclass(frozen=True, eq=False)
class WindowReading:
    """An answer read: objects in raster pixels, with the label that was asked for."""

    answer: WindowAnswer
    reading: Reading
    objects: Objects

    @property
    def is_failure(self) -> bool:
        """Whether anything the model said, or all of it, was lost."""
        return not self.reading.readable or any(p.is_loss for p in self.reading.problems)


def read_answer(
    answer: WindowAnswer, size: tuple[int, int], dialect: Dialect, frame: Frame, calibration: Calibration | None = None
) -> WindowReading:
    """`size` is (width, height) of the image in which the model saw the window."""
    window = answer.window
    reading = scored(dialect.read(answer.text, frame), answer.scores, calibration)
    in_window = reading.areas.scale(window.width / size[0], window.height / size[1])
    on_raster = in_window.crop(Window(-window.x, -window.y, 0, 0))
    labelled = Objects.of(
        on_raster.geometries_N, [answer.label] * len(on_raster), kind=list(on_raster.kinds_N), scores=on_raster.scores_N
    )
    return WindowReading(answer, reading, labelled)


def window_name(window: Window) -> str:
    """The window's id in all outputs: its left column and top row."""
    return f"{window.x:06d}-{window.y:06d}"


def merge_readings(readings: Sequence[WindowReading], raster_size: tuple[int, int], rule: MergeRule) -> Objects:
    """Every object of the raster once, class by class.

    Attributes: `seen` (number of windows), `window` (whose shape it is, or the first of a joined one) and
    `whole` (false where every window cut it).
    """
    filled = [r for r in readings if len(r.objects)]
    if not filled:
        return Objects.none()
    seen = Objects.concat([r.objects for r in filled])
    windows_N4 = np.repeat([r.answer.window.box for r in filled], [len(r.objects) for r in filled], axis=0)
    groups = sorted(set(zip(seen.labels_N, seen.kinds_N, strict=True)))
    return Objects.concat([_merge_group(seen, windows_N4, raster_size, rule, *group) for group in groups])


def _merge_group(
    seen: Objects, windows_N4: np.ndarray, raster_size: tuple[int, int], rule: MergeRule, label: str, kind: Kind
) -> Objects:
    chosen_N = (seen.labels_N == label) & (seen.kinds_N == kind)
    looks = Looks(seen.geometries_N[chosen_N], windows_N4[chosen_N], raster_size, seen.scores_N[chosen_N])
    merged = merge_looks(looks, kind, rule)
    return Objects.of(
        merged.geometries_M, [label] * len(merged.geometries_M), kind=kind, scores=merged.scores_M,
        attributes=_attributes(merged, looks.windows_N4),
    )  # fmt: skip


def _attributes(merged: Merged, windows_N4: np.ndarray) -> list[dict[str, Any]]:
    firsts = windows_N4[merged.first_M]
    return [
        {"seen": int(seen), "window": f"{int(box[0]):06d}-{int(box[1]):06d}", "whole": bool(whole)}
        for seen, box, whole in zip(merged.seen_M(windows_N4), firsts, merged.whole_M, strict=True)
    ]


# --- layers ----------------------------------------------------------------------------------------------


def found_layer(found: Objects, grid: GeoGrid, *, refined: bool = False) -> geopandas.GeoDataFrame:
    """Found objects in the raster's CRS (in pixels, y down, where it has none); `refined` adds what a refiner said."""
    columns: dict[str, Any] = {
        "id": list(found.ids_N),
        "label": list(found.labels_N),
        "score": found.scores_N,
        "seen": [a["seen"] for a in found.attributes_N],
        "window": [a["window"] for a in found.attributes_N],
        "whole": [a["whole"] for a in found.attributes_N],
    }
    if refined:
        columns |= {key: [a.get(key, "") for a in found.attributes_N] for key in (REFINED_BY, KEPT_BECAUSE)}
    return geopandas.GeoDataFrame(columns, geometry=found.to_world(grid), crs=grid.crs)


def failures_layer(readings: Iterable[WindowReading], grid: GeoGrid) -> geopandas.GeoDataFrame:
    """One feature for every answer of which something was lost: where to look again."""
    failed = [r for r in readings if r.is_failure]
    columns = {
        "window": [window_name(r.answer.window) for r in failed],
        "label": [r.answer.label for r in failed],
        "problems": [", ".join(problem_kinds(r)) for r in failed],
        "kept": [len(r.objects) for r in failed],
        "text": [_shortened(r.answer.text) for r in failed],
    }
    outlines = np.array([shapely.box(*r.answer.window.box) for r in failed], dtype=object)
    return geopandas.GeoDataFrame(columns, geometry=grid.geometry_to_world(outlines), crs=grid.crs)


def problem_kinds(read: WindowReading) -> list[str]:
    """What was lost of an answer, by kind."""
    kinds: list[str] = sorted({p.kind for p in read.reading.problems if p.is_loss})
    return kinds or ([] if read.reading.readable else ["unreadable"])


def count_problems(readings: Iterable[WindowReading]) -> dict[str, int]:
    """How often each kind of problem came up, repaired ones included."""
    counts = Counter(p.kind for r in readings for p in r.reading.problems)
    return {str(kind): count for kind, count in sorted(counts.items())}


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}… ({len(text)} characters)"
