"""Expressions of real maps, proved as in `test_phrases_proof`: buildings, land cover, planes; slivers, turned chips."""

import json
from collections import Counter

import numpy as np
import pyogrio
import pytest
import shapely
from tests.data.phrase_judge import PLAINLY, POSSIBLY, SURELY, fits_one, fitting_several, meant, world_of

from georefer.building.features import Features
from georefer.building.phrases import KINDS, PhraseSettings, attribute_values, expressions, group_expressions
from georefer.building.relations import RelationIndex, RelationSettings, find_relations
from georefer.building.targets import TargetSettings, chip_objects
from georefer.geometry import Objects, Window

SIDE = 160
ROOF = {"roof:material": "{label} with a {value} roof"}
PLANE = {
    "propulsion": "{value} {label}",
    "engines": "{value} engined {label}",
    "wing_type": "{label} with {value} wings",
    "wing_position": "{label} with {value} wings",
}
MAKES = ("small civil transport plane", "medium civil transport plane")
ABOVE = {"plane": frozenset({"plane"}), **{make: frozenset({make, "plane"}) for make in MAKES}}
SAID = {"adjacent": "adjacent to", "through": "running through", "converge": "", "connect": "connected to"}
COVER = {1: "meadow", 2: "forest", 3: "road", 4: "building"}


def banepa(folder):
    rows = _geojson(folder / "banepa-buildings/osm_buildings.geojson")
    return _pixels([g for g, _ in rows], ["building"] * len(rows), [p for _, p in rows], 0.2), ROOF, {}, 0.2


def planes(folder):
    for path in sorted((folder / "rareplanes-vectors/gt").glob("*.geojson")):
        rows = _geojson(path)
        # every ninth is only known to be a plane
        labels = [
            "plane" if k % 9 == 0 else f"{p['make'].split('/')[0].lower()} plane" for k, (_, p) in enumerate(rows)
        ]
        yield _pixels([g for g, _ in rows], labels, [p for _, p in rows], 0.6), PLANE, ABOVE, 0.6


def cover(folder):
    table = pyogrio.read_dataframe(folder / "nrcan-aerial/new-brunswick/BakerLake_2017_clipped.gpkg")
    table = table[table["Quatreclasses"].astype(int).isin(list(COVER))]
    labels = [COVER[int(code)] for code in table["Quatreclasses"]]
    shapes_N = shapely.force_2d(shapely.make_valid(table.geometry.values))
    return _objects(shapely.transform(shapes_N, lambda xy: xy * [2, -2]), labels, [{}] * len(labels)), {}, {}, 0.5


def _geojson(path):
    rows = json.loads(path.read_text())["features"]
    return [(shapely.geometry.shape(row["geometry"]), row["properties"]) for row in rows]


def _pixels(shapes, labels, attributes, gsd_m):
    """Degrees to pixels, near enough for a chip."""
    east = 111_320 * np.cos(np.radians(shapes[0].centroid.y))
    flat_N = shapely.transform(np.array(shapes), lambda xy: xy * [east / gsd_m, -110_540 / gsd_m])
    return _objects(flat_N, labels, attributes)


def _objects(shapes_N, labels, attributes):
    x, y = shapely.total_bounds(shapes_N)[:2]
    return Objects.of(shapely.transform(shapes_N, lambda xy: xy - [x, y]), labels, attributes=attributes)


def chips(objects, gsd_m, stride):
    """What a chip shows, as (targets, others, visible_N) and relations, chip after chip."""
    features = Features(objects, shapely.STRtree(objects.geometries_N), shapely.area(objects.geometries_N), {})
    metres_N = shapely.transform(objects.geometries_N, lambda xy: xy * gsd_m)
    index = RelationIndex(find_relations(metres_N, objects.labels_N, objects.ids_N, RelationSettings()))
    x2, y2 = shapely.total_bounds(objects.geometries_N)[2:]
    for y in range(0, int(y2), int(SIDE * stride)):
        for x in range(0, int(x2), int(SIDE * stride)):
            found = chip_objects(features, Window(x, y, SIDE, SIDE), (SIDE, SIDE), TargetSettings(6.0, 0.3))
            if len(found.targets):
                shown = dict(zip(found.targets.ids_N, found.visible_N.tolist(), strict=True))
                yield found, index.tile(found.targets.ids_N, shown)


@pytest.mark.shared
def test_a_thousand_expressions_of_real_maps_are_unique(shared_data):
    counts = Counter()
    for objects, templates, above, gsd_m in (banepa(shared_data), cover(shared_data), *planes(shared_data)):
        stride = 1 if templates else 1 / 4  # the small map is seen from more places
        settings = PhraseSettings(templates, KINDS, groups=3, per_object=3, predicates=SAID)
        values, rng = attribute_values([objects], settings), np.random.default_rng(0)
        for number, (found, relations) in enumerate(chips(objects, gsd_m, stride)):
            turn = (number % 4, number % 3 == 0)
            targets, others = (some.turn(SIDE, SIDE, *turn) for some in (found.targets, found.others))
            held = [(r.subject, r.predicate, r.object) for r in relations]
            world = world_of(targets, others, above, held=held, templates=templates, side=SIDE, gsd_m=gsd_m, said=SAID)
            shown = (targets, others, found.visible_N, (SIDE, SIDE), settings)
            more = {"relations": relations, "above": above, "rng": rng}
            for expression in expressions(*shown, gsd_m=gsd_m, **more):
                assert all(fits_one(expression, world, how) for how in (PLAINLY, POSSIBLY)), expression
                assert meant(expression.text, world, POSSIBLY) == {expression.object_id}, expression
                counts[expression.by] += 1
            for group in group_expressions(*shown, values=values, **more):
                for how in (SURELY, PLAINLY, POSSIBLY):
                    assert fitting_several(group.facts, world, how) == set(group.object_ids), (group, how)
                assert meant(group.text, world, POSSIBLY) == set(group.object_ids), group
                counts["several" if group.object_ids else "none"] += 1
    assert set(counts) == {*KINDS, "several", "none"} and min(counts.values()) >= 10, counts
    assert sum(counts.values()) >= 1000, counts
