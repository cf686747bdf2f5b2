"""Size strata: pixels by COCO's areas, metres only where the ground is known."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.geometry import GeoGrid, Objects
from georefer.scoring.greedy import IGNORED
from georefer.scoring.strata import object_areas, strata, stratum_rows

BOXES = Objects.from_hbb(np.array([[0, 0, 10, 10], [0, 0, 32, 32], [0, 0, 96, 96]]), ["a"] * 3)
UTM = GeoGrid(CRS.from_epsg(32632), Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000), 1000, 1000)


def test_pixels_need_no_georeference():
    assert strata(BOXES).tolist() == ["<32 px", "32-96 px", ">=96 px"]
    assert strata(BOXES, (10, 50)).tolist() == ["10-50 px", "10-50 px", ">=50 px"]


@pytest.mark.parametrize("ground", [UTM, 0.5])
def test_metres_by_grid_or_by_sampling_distance(ground):
    # 10, 32 and 96 px of half a metre: squares of 5, 16 and 48 m (the grid's own measure is off by 0.04 %)
    assert object_areas(BOXES, "m", ground) == pytest.approx([25, 256, 2304], rel=2e-3)
    assert strata(BOXES, (4, 30), "m", ground).tolist() == ["4-30 m", "4-30 m", ">=30 m"]


def test_pixels_that_are_not_square_on_the_ground():
    geographic = GeoGrid(CRS.from_epsg(4326), Affine(1e-5, 0, 11.0, 0, -1e-5, 60.0), 100, 100)
    across, down = geographic.pixel_size_m
    assert across / down == pytest.approx(0.5, abs=0.01)  # at 60 degrees north
    assert object_areas(BOXES, "m", geographic)[0] == pytest.approx(100 * across * down)


@pytest.mark.parametrize("ground", [None, GeoGrid.none(1000, 1000)])
def test_without_a_georeference_there_are_no_metres(ground):
    assert strata(BOXES, unit="m", ground=ground).tolist() == ["unknown"] * 3


def test_an_outline_counts_by_its_own_area_and_a_point_has_none():
    triangle = shapely.Polygon([(0, 0), (40, 0), (0, 40)])  # 800 px of a box of 1600
    mixed = Objects.of([triangle, shapely.Point(3, 3)], ["a", "b"], kind=["polygon", "point"])
    assert strata(mixed).tolist() == ["<32 px", "unknown"]
    assert strata(Objects.none()).tolist() == []


def test_a_sampling_distance_must_be_one():
    for gsd in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="ground sampling distance"):
            object_areas(BOXES, "m", gsd)


def test_hits_and_misses_count_where_the_truth_is_and_false_ones_where_they_are():
    # a large box on a small truth is a hit among the small
    rows = stratum_rows([0, -1, IGNORED, -1], ["large", "large", "small", "medium"], ["small", "small", "large"])
    assert rows == {
        "large": {"tp": 0, "fp": 1, "fn": 1},
        "medium": {"tp": 0, "fp": 1, "fn": 0},
        "small": {"tp": 1, "fp": 0, "fn": 1},
    }


def test_the_strata_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    for _ in range(20):
        predictions, truths = rng.integers(0, 7, 2)
        matched_P = np.full(predictions, -1)
        pairs = min(predictions, truths) // 2
        matched_P[:pairs] = rng.permutation(truths)[:pairs]
        rows = stratum_rows(matched_P, rng.choice(["a", "b"], predictions), rng.choice(["a", "b", "c"], truths))
        total = {name: sum(row[name] for row in rows.values()) for name in ("tp", "fp", "fn")}
        assert total == {"tp": pairs, "fp": predictions - pairs, "fn": truths - pairs}


def test_matches_without_strata_are_refused():
    with pytest.raises(ValueError, match="one for each prediction"):
        stratum_rows([0, -1], ["a"], ["a"])
