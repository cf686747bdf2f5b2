"""Build: imagery and vector layers become a dataset of scenes and questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.building.card import dataset_card
from georefer.building.chips import ChipPlan, SplitSettings, chip_window_px, plan_chips, windows_overlap
from georefer.building.phrases import PhraseSettings, expressions
from georefer.building.targets import Features, LayerSettings, TargetSettings, chip_objects, read_features
from georefer.config import to_plain
from georefer.errors import ConfigError, DatasetError
from georefer.geometry import GeoGrid, Objects, Window, turn_image
from georefer.imagery.encode import encode_image
from georefer.imagery.raster import Imagery, open_imagery
from georefer.runlog import progress, versions
from georefer.scenes import Dataset, DatasetWriter, Question, Scene
from georefer.tasks import TASKS, Asking


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


def build(settings: BuildSettings, out: Path | str, *, overwrite: bool = False) -> Dataset:
    """Cuts chips, keeps the objects that the rules allow, asks, and writes the dataset to `out`.

    Deterministic by settings and seed. The manifest counts what every rule dropped and holds the proof that
    no training chip shares ground with a test chip.
    """
    with (
        open_imagery(list(settings.imagery), bands=settings.bands) as imagery,
        DatasetWriter(out, replace=overwrite) as writer,
    ):
        builder = _Builder(settings, imagery, read_features(settings.layers, imagery.grid))
        plan = builder.plan
        for split, windows in (("train", plan.train), ("test", plan.test)):
            asked: list[Question] = []
            writer.write(split, builder.scenes(split, windows, asked), asked)
        if not builder.counts["test: scenes"] or not builder.counts["train: scenes"]:
            raise DatasetError(
                f"no scene is left in one of the splits ({dict(builder.counts)}); lower targets.min_px or "
                "split.block_m, or check that the layers lie on the imagery"
            )
        card = dataset_card(settings.source, builder.counts)
        return writer.finish(card, **builder.manifest())


class _Builder:
    """One build in progress: the inputs, and the counts that end in the manifest."""

    def __init__(self, settings: BuildSettings, imagery: Imagery, features: Features):
        self.settings = settings
        self.imagery = imagery
        self.features = features
        self.labels = tuple(sorted(set(features.objects.labels_N)))
        self.chip = chip_window_px(imagery.grid, settings.chip_px, settings.gsd_m)
        self.plan: ChipPlan = plan_chips(imagery.grid, self.chip, settings.split, settings.stride, settings.seed)
        self.counts: Counter[str] = Counter()

    def scenes(self, split: str, windows: Sequence[Window], asked: list[Question]) -> Iterator[Scene]:
        """Scenes of a split, one after another; their questions are appended to `asked`."""
        turns = self.settings.orientations if split == "train" else 1
        for window in progress(windows, f"{split} chips", len(windows), "chip"):
            rng = np.random.default_rng([self.settings.seed, window.x, window.y])
            cut = self._cut(split, window, rng)
            if cut is None:
                continue
            for turn in _orientations(turns, rng):
                scene, questions = self._scene(split, window, cut, turn, rng)
                asked.extend(questions)
                self.counts.update({f"{split}: scenes": 1, f"{split}: objects": len(scene.objects)})
                self.counts.update(f"{split}: {q.task} questions" for q in questions)
                yield scene

    def _cut(self, split: str, window: Window, rng: np.random.Generator):
        size = (self.settings.chip_px, self.settings.chip_px)
        found = chip_objects(self.features, window, size, self.settings.targets)
        if not len(found.targets) and rng.random() >= self.settings.keep_empty:
            self.counts[f"{split}: chips dropped, nothing to ask about"] += 1
            return None
        pixels = self.imagery.read(window, size)
        if pixels.valid_HW.mean() < self.settings.min_valid:
            self.counts[f"{split}: chips dropped, too little imagery"] += 1
            return None
        for rule, count in found.drops.items():
            self.counts[f"{split}: objects dropped, {rule}"] += count
        return pixels.image_HW3, found

    def _scene(self, split: str, window: Window, cut, turn: tuple[int, bool], rng: np.random.Generator):
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
        scene = Scene(name, encoded, _simplified(targets), grid, split, provenance)
        phrased = expressions(targets, others, found.visible_N, (side, side), self.settings.phrases)
        # a class of which only slivers show is neither present nor absent, so it is not asked about
        unclear = set(others.labels_N) - set(targets.labels_N)
        ask = self.settings.ask
        labels = tuple(label for label in self.labels if label not in unclear)
        asking = Asking(labels, tuple(phrased), ask.absent, ask.per_task)
        return scene, [q for task in ask.tasks for q in TASKS[task].questions(scene, asking, rng)]

    def manifest(self) -> dict[str, Any]:
        """What the manifest holds besides files; the overlap proof is computed here, on the windows used."""
        plan = self.plan
        if windows_overlap(plan.train, plan.test):
            raise ConfigError("training and test chips share ground; this is a bug, please report the recipe")
        return {
            "labels": list(self.labels),
            "recipe": to_plain(self.settings),
            "grid": _grid_summary(self.imagery.grid),
            "chip_source_px": list(self.chip),
            "test_blocks_px": [list(b.box) for b in plan.test_blocks],
            "train_test_overlap_px": 0,
            "unused_chips": plan.unused,
            "features": dict(self.features.counts),
            "counts": dict(sorted(self.counts.items())),
            "stretch": self.imagery.stretch,
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
