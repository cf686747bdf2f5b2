"""Build: imagery and vector layers become a dataset of scenes and questions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from georefer.building.areas import Area, open_areas, plan_areas
from georefer.building.card import dataset_card
from georefer.building.chips import ChipPlan, chip_window_px, windows_overlap
from georefer.building.evidence import relations_of
from georefer.building.features import Features
from georefer.building.phrases import attribute_values
from georefer.building.recipe import BuildSettings
from georefer.building.registration import RegistrationSettings, estimate_offsets, region_windows
from georefer.building.registration_report import describe, picture, summary
from georefer.building.relations import RelationIndex
from georefer.building.stac import write_stac
from georefer.building.work import Chips, Work, chips_of
from georefer.config import to_plain
from georefer.engine import Engine, Serial
from georefer.errors import ConfigError, DatasetError, VectorError
from georefer.geometry import GeoGrid
from georefer.imagery.encode import encode_image
from georefer.runlog import progress, say, versions
from georefer.scenes import Dataset, DatasetWriter
from georefer.scenes.taxonomy import Parents, all_above, read_parents

CHIPS_PER_PART = 32
"""Chips that travel to a worker and back together."""


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
    with open_areas(settings) as areas:
        key = _fingerprint(settings, areas)
        with DatasetWriter(out, replace=overwrite, resume=key) as writer:
            features = _features(areas, strict=strict)
            plans = plan_areas(settings, areas, features)
            work = _work(settings, areas, features)
            relations = [_relations(settings, *pair) for pair in zip(areas, features, strict=True)]
            _write_scenes(writer, plans, features, relations, work, engine or Serial())
            counts = +writer.counts
            if not counts["test: scenes"] or not counts["train: scenes"]:
                raise DatasetError(
                    f"no scene is left in one of the splits ({dict(counts)}); lower targets.min_px or "
                    "split.block_m, or check that the layers lie on the imagery"
                )
            manifest = _manifest(work, features, plans, counts)
            if settings.registration is not None:
                manifest["registration"] = _registration(settings, areas, features, writer.partial)
            dataset = writer.finish(dataset_card(settings.source, counts), **manifest)
    if settings.stac is not None:
        write_stac(dataset, settings.stac)
    return dataset


def _features(areas: Sequence[Area], *, strict: bool) -> list[Features]:
    shown = progress(areas, "layers", len(areas), "area") if len(areas) > 1 else areas
    features = [area.features(strict=strict) for area in shown]
    if not any(map(len, features)):
        raise VectorError("no feature is left in any area; check the paths of the layers and what they are called")
    return features


def _work(settings: BuildSettings, areas: tuple[Area, ...], features: Sequence[Features]) -> Work:
    """The work with all that is known of the classes of all areas."""
    labels = tuple(sorted({str(label) for one in features for label in one.labels}))
    words = {label: said for one in reversed(features) for label, said in one.words.items()}
    values = attribute_values((part for one in features for part in one.parts()), settings.phrases)
    return Work(settings, areas, labels, _above(settings, features), words, values)


def _above(settings: BuildSettings, features: Sequence[Features]) -> Mapping[str, frozenset[str]]:
    """What each class is a kind of, by the recipe's taxonomy and the mappings of its layers; empty without either."""
    parents: dict[str, tuple[str, ...]] = {}
    known: list[Parents] = [one.parents for one in features]
    for source in ([read_parents(settings.taxonomy)] if settings.taxonomy is not None else []) + known:
        for label, above in source.items():
            parents[label] = tuple(dict.fromkeys([*parents.get(label, ()), *above]))
    return all_above(parents)


def _relations(settings: BuildSettings, area: Area, features: Features) -> RelationIndex:
    if settings.relations is None:
        return RelationIndex(())
    return relations_of(features.objects, area.imagery.grid, settings.relations, settings.evidence, features.drawn_N)


def _fingerprint(settings: BuildSettings, areas: Sequence[Area]) -> str:
    """Stands for all that decides the content: recipe, versions, and the files by size and time."""
    files = [path for area in areas for path in (*area.imagery.files, *(layer.path for layer in area.layers)) if path]
    stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in map(Path, files) if p.is_file()]
    stretches = [area.imagery.stretch for area in areas]
    whole = {"recipe": to_plain(settings), "versions": versions(), "files": stats, "stretch": stretches}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _write_scenes(
    writer: DatasetWriter,
    plans: Sequence[ChipPlan],
    features: Sequence[Features],
    relations: Sequence[RelationIndex],
    work: Work,
    engine: Engine,
) -> None:
    """All splits by one set of workers, from the parts on that are not on disk yet."""
    parts_of = {split: list(_parts(split, plans)) for split in ("train", "test")}
    left = {split: parts[writer.parts_done(split) :] for split, parts in parts_of.items()}
    chips: Iterator[Chips] = (
        chips_of(split, area, getattr(plans[area], split)[some], features[area], relations[area])
        for split in left
        for area, some in left[split]
    )
    with closing(engine.map(work, chips)) as parts:
        for split, ahead in left.items():
            for part in progress(islice(parts, len(ahead)), f"{split} chips", len(ahead), f"x{CHIPS_PER_PART}"):
                writer.append(split, part)
            writer.close(split)


def _parts(split: str, plans: Sequence[ChipPlan]) -> Iterator[tuple[int, slice]]:
    """Area and chips of every part of a split, in order."""
    for area, plan in enumerate(plans):
        for start in range(0, len(getattr(plan, split)), CHIPS_PER_PART):
            yield area, slice(start, start + CHIPS_PER_PART)


def _manifest(
    work: Work, features: Sequence[Features], plans: Sequence[ChipPlan], counts: Mapping[str, int]
) -> dict[str, Any]:
    """What the manifest holds besides files; the overlap proof is computed here, on the windows used.

    Between areas it follows from `plan_areas`: those that share ground are in one split.
    """
    settings = work.settings
    if any(windows_overlap(plan.train, plan.test) for plan in plans):
        raise ConfigError("training and test chips share ground; this is a bug, please report the recipe")
    areas = [_area_summary(settings, area, plan) for area, plan in zip(work.areas, plans, strict=True)]
    problems: dict[str, Any] = {}
    for area, one in zip(work.areas, features, strict=True):
        problems |= {f"{area.name}: {k}" if area.name else k: v for k, v in one.report.to_plain().items()}
    kinds = {label for label in work.labels if label in work.above}
    return {
        "labels": list(work.labels),
        **({"taxonomy": {k: sorted(work.above[k]) for k in sorted(kinds)}} if kinds else {}),
        **({"words": _told(work)} if work.words else {}),
        "recipe": to_plain(settings),
        **({"areas": areas} if settings.apart else areas[0]),
        "train_test_overlap_px": 0,
        "unused_chips": sum(plan.unused for plan in plans),
        "features": dict(sum((Counter(one.counts) for one in features), Counter())),
        "problems": problems,
        "counts": dict(sorted(counts.items())),
        "versions": versions(),
    }


def _told(work: Work) -> dict[str, dict[str, Any]]:
    """Plural and synonyms of the classes, for rewordings."""
    return {k: {"plural": w.plural, "synonyms": list(w.synonyms)} for k, w in sorted(work.words.items())}


def _area_summary(settings: BuildSettings, area: Area, plan: ChipPlan) -> dict[str, Any]:
    grid = area.imagery.grid
    return {
        **({"name": area.name, "train": len(plan.train), "test": len(plan.test)} if area.name else {}),
        "grid": _grid_summary(grid),
        "chip_source_px": list(chip_window_px(grid, settings.chip_px, settings.gsd_m)),
        "test_blocks_px": [list(b.box) for b in plan.test_blocks],
        "stretch": area.imagery.stretch,
    }


def _registration(
    settings: BuildSettings, areas: Sequence[Area], features: Sequence[Features], folder: Path
) -> dict[str, Any]:
    """How far labels lie from what the imagery shows, area by area; a picture of each goes into `folder`."""
    found: dict[str, Any] = {}
    for area, one in zip(areas, features, strict=True):
        windows = region_windows(area.imagery.grid, settings.registration or RegistrationSettings())
        near = one.near(np.array([window.box for window in windows]))
        if not len(near):
            continue
        shapes_N = near.objects.geometries_N if near.drawn_N is None else near.drawn_N
        offsets = estimate_offsets(area.imagery, shapes_N, settings.registration, windows)
        name = f"registration{'-' if area.name else ''}{area.name}.jpg"
        shown_HW3 = picture(area.imagery, shapes_N, offsets)
        (folder / name).write_bytes(encode_image(shown_HW3, "JPEG"))
        found[area.name or "area"] = {**describe(offsets), "picture": name}
        say(f"{area.name + ': ' if area.name else ''}{summary(offsets)}")
    return found


def _grid_summary(grid: GeoGrid) -> dict[str, Any]:
    return {
        "crs": None if grid.crs is None else grid.crs.to_string(),
        "transform": list(grid.transform)[:6],
        "width": grid.width,
        "height": grid.height,
        "gsd_m": grid.gsd_m,
    }
