"""Build: imagery and vector layers become a dataset of scenes and questions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.building.card import dataset_card
from georefer.building.chips import ChipPlan, SplitSettings, Windows, chip_window_px, plan_chips, windows_overlap
from georefer.building.features import Features, LayerSettings, read_features
from georefer.building.phrases import PhraseSettings, expressions
from georefer.building.relations import RelationIndex, RelationSettings, find_relations
from georefer.building.targets import TargetSettings, chip_objects
from georefer.config import to_plain
from georefer.engine import Engine, Serial
from georefer.errors import ConfigError, DatasetError
from georefer.geometry import GeoGrid, Objects, Window, turn_image
from georefer.imagery.encode import encode_image
from georefer.imagery.raster import Imagery, open_imagery
from georefer.runlog import progress, versions
from georefer.scenes import Dataset, DatasetWriter, Question, Scene, SceneRelation
from georefer.scenes.store import Part
from georefer.tasks import TASKS, Asking

CHIPS_PER_PART = 32
"""Chips that travel to a worker and back together."""


@dataclass(frozen=True)
class AskSettings:
    """How much is asked of each scene."""

    tasks: tuple[str, ...] = ("rec", "detection", "presence")
    absent: int = 2
    """Classes that are not there, asked about per scene."""
    per_task: Mapping[str, int] = field(default_factory=lambda: {"rec": 12})
    """At most so many questions of a task per scene."""


@dataclass(frozen=True)
class Source:
    """Where the pixels come from, for the card and every scene."""

    name: str = "unnamed"
    licence: str = "unknown"
    attribution: str = ""


@dataclass(frozen=True)
class BuildSettings:
    """A build recipe; see `recipes/*/build.toml`."""

    imagery: tuple[Path, ...]
    """Rasters, or folders of them, that make up the area."""
    layers: tuple[LayerSettings, ...]
    bands: tuple[int, ...] = (1, 2, 3)
    """1-based bands shown as red, green and blue; a single one is shown as grey."""
    chip_px: int = 128
    gsd_m: float | None = None
    """Ground size of a chip pixel, metres; left out: the imagery's own."""
    stride: float = 0.5
    """Distance between training chips in chip sides; below 1 they overlap."""
    orientations: int = 1
    """Turned and mirrored copies of each training chip (1 to 8); what is asked is phrased anew for each."""
    min_valid: float = 0.95
    """Share of a chip's pixels that must hold imagery."""
    keep_empty: float = 0.3
    """Share of chips without any target that are kept; absence is worth asking about, but not all day."""
    split: SplitSettings = field(default_factory=SplitSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    phrases: PhraseSettings = field(default_factory=PhraseSettings)
    relations: RelationSettings | None = None
    """What objects are to each other, found on the whole area before it is cut; left out: no relations."""
    ask: AskSettings = field(default_factory=AskSettings)
    source: Source = field(default_factory=Source)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.orientations <= 8:
            raise ValueError(f"orientations is {self.orientations}; expected 1 to 8")
        if not 0 < self.stride <= 1:
            raise ValueError(f"stride is {self.stride}; expected above 0 and at most 1")
        if unknown := set(self.ask.tasks) - set(TASKS):
            raise ValueError(f"unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")


def build(
    settings: BuildSettings,
    out: Path | str,
    *,
    overwrite: bool = False,
    engine: Engine | None = None,
    strict: bool = False,
) -> Dataset:
    """Cuts chips, keeps the objects that the rules allow, asks, and writes the dataset to `out`.

    Deterministic by settings and seed: the same bytes whatever the engine (default: this process) and its number
    of workers, and whether the build was killed in between; the same call goes on from the files that were whole.
    The manifest counts what every rule dropped and holds the proof that no training chip shares ground with a
    test chip. With `strict`, VectorError for whatever is wrong with a layer instead of a count.
    """
    with open_imagery(list(settings.imagery), bands=settings.bands) as imagery:
        key = _fingerprint(settings, imagery)
        with DatasetWriter(out, replace=overwrite, resume=key) as writer:
            features = read_features(settings.layers, imagery.grid, strict=strict)
            plan = _plan(settings, imagery)
            work = _Work(settings, imagery, _labels(features))
            windows = {"train": plan.train, "test": plan.test}
            _write_scenes(writer, windows, features, _relations(settings, imagery, features), work, engine or Serial())
            counts = +writer.counts
            if not counts["test: scenes"] or not counts["train: scenes"]:
                raise DatasetError(
                    f"no scene is left in one of the splits ({dict(counts)}); lower targets.min_px or "
                    "split.block_m, or check that the layers lie on the imagery"
                )
            manifest = _manifest(work, features, plan, counts)
            return writer.finish(dataset_card(settings.source, counts), **manifest)


def _relations(settings: BuildSettings, imagery: Imagery, features: Features) -> RelationIndex:
    """What the features are to each other on the ground, before any chip cuts them; none where none are asked for."""
    if settings.relations is None:
        return RelationIndex(())
    gsd_m = imagery.grid.gsd_m
    if gsd_m is None:
        raise ConfigError(
            "relations are measured in metres, which imagery without a CRS has not; leave [relations] out"
        )
    objects = features.objects
    metres_N = shapely.transform(objects.geometries_N, lambda xy: xy * gsd_m)
    return RelationIndex(find_relations(metres_N, objects.labels_N, objects.ids_N, settings.relations))


def _plan(settings: BuildSettings, imagery: Imagery) -> ChipPlan:
    chip = chip_window_px(imagery.grid, settings.chip_px, settings.gsd_m)
    return plan_chips(imagery.grid, chip, settings.split, settings.stride, settings.seed)


def _labels(features: Features) -> tuple[str, ...]:
    return tuple(sorted(set(features.objects.labels_N)))


def _fingerprint(settings: BuildSettings, imagery: Imagery) -> str:
    """Stands for all that decides the content: recipe, versions, and the files by size and time."""
    paths = [Path(p) for p in (*imagery.files, *(layer.path for layer in settings.layers)) if p]
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths if p.is_file()]
    whole = {"recipe": to_plain(settings), "versions": versions(), "files": stats, "stretch": imagery.stretch}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _write_scenes(
    writer: DatasetWriter,
    plan: Mapping[str, Windows],
    features: Features,
    relations: RelationIndex,
    work: _Work,
    engine: Engine,
) -> None:
    """All splits by one set of workers, from the parts on that are not on disk yet."""
    starts = {
        split: range(writer.parts_done(split) * CHIPS_PER_PART, len(windows), CHIPS_PER_PART)
        for split, windows in plan.items()
    }
    chips = (
        _chips(split, plan[split][start : start + CHIPS_PER_PART], features, relations)
        for split in plan
        for start in starts[split]
    )
    with closing(engine.map(work, chips)) as parts:
        for split in plan:
            rest = islice(parts, len(starts[split]))
            for part in progress(rest, f"{split} chips", len(starts[split]), f"x{CHIPS_PER_PART}"):
                writer.append(split, part)
            writer.close(split)


@dataclass(frozen=True, eq=False)
class _Chips:
    """What a worker gets: some chips of a split, and the features near them."""

    split: str
    windows: Windows
    features: Features
    relations: RelationIndex

    def __str__(self) -> str:
        first, last = self.windows[0], self.windows[-1]
        return f"{self.split} chips from {first.x},{first.y} to {last.x},{last.y}"


def _chips(split: str, windows: Windows, features: Features, relations: RelationIndex) -> _Chips:
    near_N = np.unique(features.tree.query(shapely.box(*windows.boxes_N4.T))[1])
    objects = features.objects[near_N]
    near = Features(objects, shapely.STRtree(objects.geometries_N), features.area_N[near_N], {})
    return _Chips(split, windows, near, RelationIndex(relations.tile(objects.ids_N)))


@dataclass(frozen=True, eq=False)
class _Work:
    """Makes the scenes and questions of some chips; knows no other chip, so it can be anywhere."""

    settings: BuildSettings
    imagery: Imagery
    labels: tuple[str, ...]

    def __call__(self, chips: _Chips) -> Part:
        counts: Counter[str] = Counter()
        scenes: list[Scene] = []
        questions: list[Question] = []
        for window in chips.windows:
            for scene, asked in self._of_window(chips, window, counts):
                scenes.append(scene)
                questions.extend(asked)
                counts.update({f"{chips.split}: scenes": 1, f"{chips.split}: objects": len(scene.objects)})
                counts.update(f"{chips.split}: {q.task} questions" for q in asked)
        return Part.of(scenes, questions, counts)

    def _of_window(self, chips: _Chips, window: Window, counts: Counter[str]) -> Iterator[tuple[Scene, list[Question]]]:
        # of the place alone: neither order nor number of chips changes what is asked there
        rng = np.random.default_rng([self.settings.seed, window.x, window.y])
        cut = self._cut(chips, window, rng, counts)
        if cut is not None:
            turns = self.settings.orientations if chips.split == "train" else 1
            found = cut[1]
            shown = dict(zip(found.targets.ids_N, found.visible_N.tolist(), strict=True))
            relations = chips.relations.tile(found.targets.ids_N, shown)
            for turn in _orientations(turns, rng):
                yield self._scene(chips.split, window, cut, relations, turn, rng)

    def _cut(self, chips: _Chips, window: Window, rng: np.random.Generator, counts: Counter[str]):
        size = (self.settings.chip_px, self.settings.chip_px)
        found = chip_objects(chips.features, window, size, self.settings.targets)
        if not len(found.targets) and rng.random() >= self.settings.keep_empty:
            counts[f"{chips.split}: chips dropped, nothing to ask about"] += 1
            return None
        pixels = self.imagery.read(window, size)
        if pixels.valid_HW.mean() < self.settings.min_valid:
            counts[f"{chips.split}: chips dropped, too little imagery"] += 1
            return None
        for rule, count in found.drops.items():
            counts[f"{chips.split}: objects dropped, {rule}"] += count
        return pixels.image_HW3, found

    def _scene(
        self, split: str, window: Window, cut, relations: tuple[SceneRelation, ...], turn: tuple[int, bool],
        rng: np.random.Generator,
    ):  # fmt: skip
        image, found = cut
        side, (quarters, mirror) = self.settings.chip_px, turn
        targets = found.targets.turn(side, side, quarters, mirror)
        others = found.others.turn(side, side, quarters, mirror)
        grid = self.imagery.grid.crop(window).resize(side, side).turn(quarters, mirror)
        name = f"{split}-{window.x:06d}-{window.y:06d}" + (f"-{quarters}{'m' if mirror else ''}" if any(turn) else "")
        provenance = {
            "source": self.settings.source.name,
            "licence": self.settings.source.licence,
            "window_px": list(window.box),
            "quarter_turns": quarters,
            "mirrored": mirror,
        }
        encoded = encode_image(turn_image(image, quarters, mirror))
        scene = Scene(name, encoded, _simplified(targets), grid, split, provenance, relations)
        phrased = expressions(
            targets, others, found.visible_N, (side, side), self.settings.phrases,
            relations=relations, gsd_m=grid.gsd_m, rng=rng,
        )  # fmt: skip
        # a class of which only slivers show is neither present nor absent, so it is not asked about
        unclear = set(others.labels_N) - set(targets.labels_N)
        ask = self.settings.ask
        labels = tuple(label for label in self.labels if label not in unclear)
        asking = Asking(labels, tuple(phrased), ask.absent, ask.per_task)
        return scene, [q for task in ask.tasks for q in TASKS[task].questions(scene, asking, rng)]


def _manifest(work: _Work, features: Features, plan: ChipPlan, counts: Mapping[str, int]) -> dict[str, Any]:
    """What the manifest holds besides files; the overlap proof is computed here, on the windows used."""
    settings, imagery = work.settings, work.imagery
    if windows_overlap(plan.train, plan.test):
        raise ConfigError("training and test chips share ground; this is a bug, please report the recipe")
    return {
        "labels": list(work.labels),
        "recipe": to_plain(settings),
        "grid": _grid_summary(imagery.grid),
        "chip_source_px": list(chip_window_px(imagery.grid, settings.chip_px, settings.gsd_m)),
        "test_blocks_px": [list(b.box) for b in plan.test_blocks],
        "train_test_overlap_px": 0,
        "unused_chips": plan.unused,
        "features": dict(features.counts),
        "problems": features.report.to_plain(),
        "counts": dict(sorted(counts.items())),
        "stretch": imagery.stretch,
        "versions": versions(),
    }


def _orientations(count: int, rng: np.random.Generator) -> list[tuple[int, bool]]:
    """As it is, and `count` - 1 of the seven other ways to lay a square on itself."""
    others = [(quarters, mirror) for mirror in (False, True) for quarters in range(4)][1:]
    chosen = rng.choice(len(others), count - 1, replace=False).tolist() if count > 1 else []
    return [(0, False), *(others[i] for i in chosen)]


def _simplified(objects: Objects) -> Objects:
    """Outlines to a tenth of a pixel: curves of hundreds of vertices say nothing more at this scale."""
    return objects.replaced(shapely.simplify(objects.geometries_N, 0.1))


def _grid_summary(grid: GeoGrid) -> dict[str, Any]:
    return {
        "crs": None if grid.crs is None else grid.crs.to_string(),
        "transform": list(grid.transform)[:6],
        "width": grid.width,
        "height": grid.height,
        "gsd_m": grid.gsd_m,
    }
