"""The work on some chips of a build, wherever it is done: cut them, find what they show, and ask."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from georefer.building.areas import Area
from georefer.building.chips import Windows
from georefer.building.features import Features
from georefer.building.mapping import Words
from georefer.building.phrases import Values, expressions, group_expressions
from georefer.building.recipe import BuildSettings
from georefer.building.relations import RelationIndex
from georefer.building.targets import ChipObjects, chip_objects, on_imagery
from georefer.geometry import GeoGrid, Objects, Window, turn_image
from georefer.geometry.grid import crs_name
from georefer.imagery.encode import encode_image
from georefer.scenes import Question, Scene, SceneRelation
from georefer.scenes.store import Part
from georefer.tasks import TASKS, Asking

MOST_DROPPED = 50
"""Objects of a scene that are remembered with the rule that left them out."""


@dataclass(frozen=True, eq=False)
class Chips:
    """What a worker gets: some chips of one area and split, and the features near them."""

    split: str
    area: int
    windows: Windows
    features: Features
    relations: RelationIndex

    def __str__(self) -> str:
        first, last = self.windows[0], self.windows[-1]
        return f"{self.split} chips from {first.x},{first.y} to {last.x},{last.y}"


def chips_of(split: str, area: int, windows: Windows, features: Features, relations: RelationIndex) -> Chips:
    """Chips with no more of the area's features and relations than lie near them."""
    near = features.near(windows.boxes_N4)
    return Chips(split, area, windows, near, RelationIndex(relations.tile(near.objects.ids_N)))


@dataclass(frozen=True, eq=False)
class Work:
    """Makes the scenes and questions of some chips; knows no other chip, so it can be anywhere."""

    settings: BuildSettings
    areas: tuple[Area, ...]
    labels: tuple[str, ...]
    above: Mapping[str, frozenset[str]]
    words: Mapping[str, Words]
    values: Values

    def __call__(self, chips: Chips) -> Part:
        counts: Counter[str] = Counter()
        scenes: list[Scene] = []
        questions: list[Question] = []
        for window in chips.windows:
            for scene, asked in self._of_window(chips, window, counts):
                scenes.append(scene)
                questions.extend(asked)
                counts.update({f"{chips.split}: scenes": 1, f"{chips.split}: objects": len(scene.objects)})
                counts.update(f"{chips.split}: {q.task} questions" for q in asked)
        if len(self.areas) > 1:
            self.areas[chips.area].imagery.close()  # there may be more areas than a process may have files open
        return Part.of(scenes, questions, counts)

    def _of_window(self, chips: Chips, window: Window, counts: Counter[str]) -> Iterator[tuple[Scene, list[Question]]]:
        area = self.areas[chips.area]
        # of the place alone: neither order nor number of chips changes what is asked there
        named = [zlib.crc32(area.name.encode())] if area.name else []
        rng = np.random.default_rng([self.settings.seed, window.x, window.y, *named])
        cut = self._cut(chips, area, window, rng, counts)
        if cut is not None:
            turns = self.settings.orientations if chips.split == "train" else 1
            found = cut[1]
            shown = dict(zip(found.targets.ids_N, found.visible_N.tolist(), strict=True))
            relations = chips.relations.tile(found.targets.ids_N, shown)
            for turn in _orientations(turns, rng):
                yield self._scene(chips.split, area, window, cut, relations, turn, rng)

    def _cut(
        self, chips: Chips, area: Area, window: Window, rng: np.random.Generator, counts: Counter[str]
    ) -> tuple[np.ndarray, ChipObjects] | None:
        side, rules = self.settings.chip_px, self.settings.targets
        gsd_m = None if (own_m := area.imagery.grid.gsd_m) is None else own_m * window.width / side
        found = chip_objects(chips.features, window, (side, side), rules, gsd_m)
        # first, since who sees that imagery is missing knows why nothing is asked there
        pixels = area.imagery.read(window, (side, side))
        if pixels.valid_HW.mean() < self.settings.min_valid:
            counts[f"{chips.split}: chips dropped, too little imagery"] += 1
            return None
        found = on_imagery(found, pixels.valid_HW, rules)
        if not len(found.targets) and rng.random() >= self.settings.keep_empty:
            counts[f"{chips.split}: chips dropped, nothing to ask about"] += 1
            return None
        for rule, count in found.drops.items():
            counts[f"{chips.split}: objects dropped, {rule}"] += count
        return pixels.image_HW3, found

    def _scene(
        self, split: str, area: Area, window: Window, cut: tuple[np.ndarray, ChipObjects],
        relations: tuple[SceneRelation, ...], turn: tuple[int, bool], rng: np.random.Generator,
    ) -> tuple[Scene, list[Question]]:  # fmt: skip
        image, found = cut
        side, (quarters, mirror) = self.settings.chip_px, turn
        targets = found.targets.turn(side, side, quarters, mirror)
        others = found.others.turn(side, side, quarters, mirror)
        grid = area.imagery.grid.crop(window).resize(side, side).turn(quarters, mirror)
        provenance: dict[str, Any] = {
            "source": self.settings.source.name,
            "licence": self.settings.source.licence,
            "window_px": list(window.box),
            "quarter_turns": quarters,
            "mirrored": mirror,
            **({"area": area.name} if area.name else {}),
            **({"dropped": _dropped(others, found.rules_O)} if len(others) else {}),
        }
        name = f"{split}-{place_id(area.imagery.grid.crop(window), area.name)}"
        name += f"-{quarters}{'m' if mirror else ''}" if any(turn) else ""
        encoded = encode_image(turn_image(image, quarters, mirror))
        scene = Scene(name, encoded, _simplified(targets), grid, split, provenance, relations)
        seen: tuple[Any, ...] = (targets, others, found.visible_N, (side, side), self.settings.phrases)
        known: dict[str, Any] = {"relations": relations, "above": self.above, "words": self.words, "rng": rng}
        phrased = expressions(*seen, gsd_m=grid.gsd_m, **known)
        groups = group_expressions(*seen, values=self.values, **known)
        ask, slivers = self.settings.ask, frozenset(map(str, others.labels_N))
        asking = Asking(
            self.labels, tuple(phrased), ask.absent, ask.per_task, tuple(groups), self.above, slivers, ask.think
        )
        return scene, [q for task in ask.tasks for q in TASKS[task].questions(scene, asking, rng)]


def place_id(grid: GeoGrid, area: str = "") -> str:
    """A name of a chip's ground in one area, which stays when more files join it; of its place without a CRS."""
    # to a millionth of a pixel, so that the same lattice reached by another sum is the same place
    size = max(abs(v) for v in (grid.transform.a, grid.transform.b, grid.transform.d, grid.transform.e))
    place = [round(v / size * 1e6) for v in tuple(grid.transform)[:6]]
    known = [crs_name(grid.crs) if grid.crs else "", f"{size:.9g}", *place, grid.width, grid.height]
    # areas apart may show the same ground, as pictures of several years do
    known += [area] if area else []
    return hashlib.sha256("|".join(map(str, known)).encode()).hexdigest()[:12]


def _dropped(others: Objects, rules_O: np.ndarray) -> list[list[Any]]:
    """[label, rule, x1, y1, x2, y2] of what is visible in a scene but not asked about."""
    rows = zip(others.labels_N.tolist(), rules_O.tolist(), others.hbb_N4.round(1).tolist(), strict=True)
    return [[label, rule, *box] for label, rule, box in rows][:MOST_DROPPED]


def _orientations(count: int, rng: np.random.Generator) -> list[tuple[int, bool]]:
    """As it is, and `count` - 1 of the seven other ways to lay a square on itself."""
    others = [(quarters, mirror) for mirror in (False, True) for quarters in range(4)][1:]
    chosen = rng.choice(len(others), count - 1, replace=False).tolist() if count > 1 else []
    return [(0, False), *(others[i] for i in chosen)]


def _simplified(objects: Objects) -> Objects:
    """Outlines to a tenth of a pixel: curves of hundreds of vertices say nothing more at this scale."""
    return objects.replaced(shapely.simplify(objects.geometries_N, 0.1))
