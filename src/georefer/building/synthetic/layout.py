"""What stands where: an area composed in metres from a seed, before any pixel exists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.airport import fill_airport
from georefer.building.synthetic.countryside import fill_farmland, fill_woodland
from georefer.building.synthetic.features import Feature, Layout, Look, Sun
from georefer.building.synthetic.greenery import plant
from georefer.building.synthetic.harbour import basin_of, fill_harbour, sail
from georefer.building.synthetic.housing import fill_apartments, fill_centre, fill_residential
from georefer.building.synthetic.infill import infill
from georefer.building.synthetic.leisure import fill_park, fill_school, fill_sports
from georefer.building.synthetic.network import Network, plan
from georefer.building.synthetic.site import Site, polygons
from georefer.building.synthetic.things import Sapling
from georefer.building.synthetic.traffic import drive, mark_roads, plant_avenues, road_features
from georefer.building.synthetic.works import fill_industrial, fill_tank_farm

Fill = Callable[[Site, Polygon, np.random.Generator, list[Sapling]], None]
FILLS: dict[str, Fill] = {
    "residential": fill_residential,
    "apartments": fill_apartments,
    "centre": fill_centre,
    "industrial": fill_industrial,
    "tank farm": fill_tank_farm,
    "airport": fill_airport,
    "sports": fill_sports,
    "school": fill_school,
    "park": fill_park,
    "farmland": fill_farmland,
    "woodland": fill_woodland,
}
USE_NAMES = {"airport": "airport apron", "centre": "town centre", "sports": "sports ground", "school": "school grounds"}


def compose(seed: int, side_m: float) -> Layout:
    """Lay out a square area; the same seed and size give the same area on every machine."""
    rng = np.random.default_rng([seed, round(side_m * 100)])
    sun = Sun(float(rng.uniform(130, 215)), float(rng.uniform(40, 54)))
    net = plan(side_m, rng)
    site = Site(side_m, side_m)
    saplings: list[Sapling] = []
    for block in net.blocks:
        before = len(site.surfaces)
        FILLS[block.use](site, block.shape, rng, saplings)
        taken = [s.geometry for s in site.surfaces[before:] if s.material in ("asphalt", "pitch", "hedge")]
        infill(site, block.shape, block.use, [t for t in taken if t.area < block.shape.area / 2], rng)
        _area(site, block.shape, block.use)
    water = _waters(site, net, rng)
    _banks(site, net, saplings, rng)
    drive(site, net.roads, rng)
    mark_roads(site, net.roads, rng)
    road_features(site, net.roads)
    saplings += [Sapling(float(x), float(y), float(rng.uniform(3.5, 6.0))) for x, y in plant_avenues(net.roads, rng)]
    plant(site, saplings, net.carriageway, water, rng)
    _clip(site)
    return Layout(
        seed,
        side_m,
        side_m,
        sun,
        {layer: tuple(found) for layer, found in site.features.items()},
        tuple(site.surfaces),
        tuple(site.markings),
        net.pavement,
        net.carriageway,
        _shores(site),
    )


def _area(site: Site, shape: Polygon, use: str) -> None:
    for part in polygons(shape.intersection(site.extent), 30):
        attributes = {"use": USE_NAMES.get(use, use), "area_m2": round(part.area, 1)}
        site.add("areas", Feature(part, attributes, Look((0, 0, 0), form=use)))


def _waters(site: Site, net: Network, rng: np.random.Generator) -> list[BaseGeometry]:
    """River and harbour basin, with all that floats on them; returns every water of the area."""
    if net.river is None or net.harbour is None:
        return [f.geometry for f in site.features["water"]]
    basin = basin_of(net.harbour)
    river = net.river.difference(basin)
    fill_harbour(site, net.harbour, net.harbour.land.difference(net.pavement), rng)
    _area(site, polygons(net.harbour.land.difference(basin).difference(net.pavement))[0], "harbour")
    bridges = net.pavement.intersection(net.river.buffer(10))
    sail(site, net.river, _middle(net.river), basin.buffer(10).union(bridges.buffer(6)), rng)
    for kind, shape in (("river", river), ("harbour basin", basin)):
        for part in polygons(shape.intersection(site.extent), 30):
            attributes = {"kind": kind, "area_m2": round(part.area, 1)}
            site.add("water", Feature(part, attributes, Look((66, 86, 84), form=kind)))
    return [f.geometry for f in site.features["water"]]


def _middle(river: Polygon) -> LineString:
    """A lane down the river: the longer straight run between its two ends."""
    west, north, east, south = river.bounds
    across = east - west > south - north
    points = []
    for t in np.linspace(0.02, 0.98, 60):
        if across:
            cut = LineString([(west + t * (east - west), north - 1), (west + t * (east - west), south + 1)])
        else:
            cut = LineString([(west - 1, north + t * (south - north)), (east + 1, north + t * (south - north))])
        middle = river.intersection(cut).centroid
        points.append((middle.x, middle.y))
    return LineString(points)


def _banks(site: Site, net: Network, saplings: list[Sapling], rng: np.random.Generator) -> None:
    for green in net.green:
        site.pave(green, "meadow", 0.94)
        edge = green.exterior
        for s in np.arange(0, edge.length, 7.0):
            if rng.random() < 0.4:
                point = edge.interpolate(s)
                saplings.append(
                    Sapling(point.x + rng.normal(0, 1.5), point.y + rng.normal(0, 1.5), float(rng.uniform(3.5, 7.5)))
                )


def _shores(site: Site) -> tuple[BaseGeometry, ...]:
    """All water as one shape, then its deeper parts: the painter darkens it from step to step."""
    water = shapely.union_all([f.geometry.buffer(0.01) for f in site.features["water"]])
    outside = site.extent.buffer(20).difference(site.extent)  # the edge of the area is no shore
    whole = water.union(outside.intersection(water.buffer(20)))
    return (whole, *(whole.buffer(-step) for step in (0.4, 0.9, 1.5, 2.3, 3.3)))


def _clip(site: Site) -> None:
    """Cut the large things at the edge of the area; countable things never cross it."""
    for layer in ("fields", "docks"):
        kept = []
        for feature in site.features[layer]:
            for part in polygons(feature.geometry.intersection(site.extent), 5):
                kept.append(Feature(part, feature.attributes, feature.look))
        site.features[layer] = kept
