"""What a dataset holds, in histograms of its splits, counted in one pass over the tables without the pictures.

Memory does not grow with the number of scenes. Two things that take rendering or measuring are counted on scenes
spread over a split instead: answer lengths and orientations; their titles say of how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import shapely

from georefer.evaluation.inspect_scene import turns_of
from georefer.evaluation.inspect_seen import Sight
from georefer.evaluation.inspect_tables import batches, ids_at, questions_about, scenes_at, spread
from georefer.geometry import OBB
from georefer.scenes import Dataset, Question, Scene
from georefer.tasks import Turn

ZERO = -1_000
"""The bin of zero, which is no power of anything."""

SAMPLED_SCENES = 150
"""Scenes of a split whose answers are rendered and whose shapes are turned round."""

MOST_NAMES = 40
"""Bars of tasks and of classes."""

MAX_CLASSES = 50_000
"""Different classes that are counted; the others are one more."""

OTHERS = "(others)"
SQUARE = 1.1
"""Shapes whose sides differ by less have no orientation."""

HEADINGS = 12
_COLUMNS = ("gsd_m", "objects.list.element.label", "objects.list.element.geometry")


@dataclass(frozen=True)
class Histogram:
    """Counts by bin and split; `bins` is what stands at the bars, `spans` what they hold in words."""

    title: str
    bins: tuple[str, ...]
    spans: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    is_named: bool = False
    note: str = ""

    @property
    def totals(self) -> dict[str, int]:
        return {split: sum(counts) for split, counts in self.counts.items()}

    @property
    def highest(self) -> float:
        """The largest share of a split in one bin."""
        return max((max(c, default=0) / sum(c) for c in self.counts.values() if sum(c)), default=0.0) or 1.0


def histograms(dataset: Dataset, sight: Sight) -> list[Histogram]:
    """Sizes, numbers, tasks, lengths, classes and orientations; those without a value are left out."""
    splits = {split: _Split().count(dataset, split, sight) for split in dataset.manifest["splits"]}
    unit = "tokens" if sight.has_tokens else "characters"
    sampled = ", ".join(f"{found.sampled} {split}" for split, found in splits.items())
    note = f"of up to {SAMPLED_SCENES} scenes a split ({sampled})"
    made = [
        _measured("Object side, pixels", splits, lambda s: s.side_px, 2),
        _measured("Object side, metres", splits, lambda s: s.side_m, 2),
        _measured("Objects in a scene", splits, lambda s: s.objects, 1),
        _measured(f"Answer length, {unit}", splits, lambda s: s.length, 1, note),
        _headings(splits, note),
        _named("Questions by task", splits, lambda s: s.tasks),
        _named("Classes", splits, lambda s: s.classes),
    ]
    return [histogram for histogram in made if any(histogram.totals.values())]


@dataclass
class _Split:
    """One split while it is counted; numbers are counted in bins of `bins_of`."""

    side_px: Counter[int] = field(default_factory=Counter)
    side_m: Counter[int] = field(default_factory=Counter)
    objects: Counter[int] = field(default_factory=Counter)
    length: Counter[int] = field(default_factory=Counter)
    headings: Counter[int] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    sampled: int = 0

    def count(self, dataset: Dataset, split: str, sight: Sight) -> _Split:
        for batch in batches(dataset, "scenes", split, _COLUMNS):
            self._count_objects(batch["objects"], batch["gsd_m"].to_numpy(zero_copy_only=False).astype(float))
        for batch in batches(dataset, "questions", split, ["task"]):
            for value in batch["task"].value_counts().to_pylist():
                self.tasks[value["values"]] += value["counts"]
        rows = spread(dataset, split, SAMPLED_SCENES)
        asked = questions_about(dataset, split, ids_at(dataset, split, rows))
        for scene in scenes_at(dataset, split, rows):
            self.sampled += 1
            self._count_headings(scene)
            self._count_lengths(scene, asked.get(scene.id, []), sight)
        return self

    def _count_objects(self, column: pa.ListArray, gsd_m_S: np.ndarray) -> None:
        counts_S = np.diff(column.offsets.to_numpy())
        self.objects.update(bins_of(counts_S, 1).tolist())
        stored = column.flatten()
        shapes_N = shapely.from_wkb(stored.field("geometry").to_numpy(zero_copy_only=False), on_invalid="ignore")
        boxes_N4 = shapely.bounds(shapes_N).reshape(-1, 4)
        side_N = np.sqrt(np.prod(boxes_N4[:, 2:] - boxes_N4[:, :2], axis=1))
        self.side_px.update(bins_of(side_N, 2).tolist())
        self.side_m.update(bins_of(side_N * np.repeat(gsd_m_S, counts_S), 2).tolist())
        for value in stored.field("label").value_counts().to_pylist():
            known = value["values"] in self.classes or len(self.classes) < MAX_CLASSES
            self.classes[value["values"] if known else OTHERS] += value["counts"]

    def _count_headings(self, scene: Scene) -> None:
        turned = scene.objects[np.isin(scene.objects.kinds_N.astype(str), ("obb", "polygon", "mask"))]
        for shape in turned.geometries_N:
            if shape.area > 0:
                box = OBB.around(shape)
                if max(box.length, box.width) >= SQUARE * min(box.length, box.width):
                    heading = box.heading_deg + (90 if box.width > box.length else 0)
                    self.headings[int((heading % 180 + 1e-6) / 180 * HEADINGS) % HEADINGS] += 1

    def _count_lengths(self, scene: Scene, questions: Sequence[Question], sight: Sight) -> None:
        said = [turn.answer for turn in turns_of(scene, questions, sight) if isinstance(turn, Turn)]
        self.length.update(bins_of(np.array([sight.length(answer) for answer in said]), 1).tolist())


def bins_of(values_N: np.ndarray, parts: int) -> np.ndarray:
    """The bin of each value: k from 2^(k / parts) up to the next, `ZERO` for zero; others than numbers have none."""
    values_N = np.asarray(values_N, dtype=float)
    values_N = values_N[np.isfinite(values_N) & (values_N >= 0)]
    with np.errstate(divide="ignore"):
        # the nudge keeps whole powers of two in the bin that begins with them
        bins_N = np.floor(parts * np.log2(values_N) + 1e-9)
    return np.where(values_N > 0, bins_N, ZERO).astype(int)


def _measured(
    title: str, splits: Mapping[str, _Split], of: Callable[[_Split], Counter[int]], parts: int, note: str = ""
) -> Histogram:
    found = sorted({k for split in splits.values() for k in of(split)})
    powers = [k for k in found if k != ZERO]
    bins = [ZERO] * (ZERO in found) + (list(range(powers[0], powers[-1] + 1)) if powers else [])

    def begin(k: int) -> str:
        return f"{2 ** (k / parts):,.3g}" if k < 10 * parts else f"{2 ** (k / parts):,.0f}"

    names = ["0" if k == ZERO else begin(k) for k in bins]
    spans = ["0" if k == ZERO else f"{begin(k)} to below {begin(k + 1)}" for k in bins]
    counts = {name: tuple(of(split)[k] for k in bins) for name, split in splits.items()}
    return Histogram(title, tuple(names), tuple(spans), counts, note=note)


def _headings(splits: Mapping[str, _Split], note: str) -> Histogram:
    step = 180 // HEADINGS
    names = tuple(f"{k * step}°" for k in range(HEADINGS))
    spans = tuple(f"{k * step}° to below {(k + 1) * step}°" for k in range(HEADINGS))
    counts = {name: tuple(split.headings[k] for k in range(HEADINGS)) for name, split in splits.items()}
    about = f"longer side, clockwise from the right; {note}"
    return Histogram("Orientation of turned shapes", names, spans, counts, note=about)


def _named(title: str, splits: Mapping[str, _Split], of: Callable[[_Split], Counter[str]]) -> Histogram:
    total: Counter[str] = Counter()
    for split in splits.values():
        total.update(of(split))
    names = tuple(name for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMES])
    counts = {split: tuple(of(found)[name] for name in names) for split, found in splits.items()}
    left = len(total) - len(names)
    return Histogram(title, names, names, counts, is_named=True, note=f"{left} more are not shown" if left else "")
