import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from georefer.building.chips import (
    PlaceSettings,
    SplitSettings,
    Windows,
    _meets_any,
    chip_window_px,
    plan_chips,
    windows_overlap,
)
from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Window

GRID = GeoGrid(CRS("EPSG:2154"), Affine(0.5, 0, 650_000, 0, -0.5, 6_860_000), 1000, 800)


def mask(windows, grid=GRID):
    seen = np.zeros((grid.height, grid.width), dtype=bool)
    for w in windows:
        seen[w.y : w.y + w.height, w.x : w.x + w.width] = True
    return seen


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("stride", [0.3, 0.5, 1.0])
def test_no_ground_pixel_is_in_both_splits(seed, stride):
    plan = plan_chips(GRID, (64, 64), SplitSettings(100, 0.25, 10), PlaceSettings(stride=stride), seed)
    train, test = mask(plan.train), mask(plan.test)
    assert train.any() and test.any()
    assert not (train & test).any()
    assert not windows_overlap(plan.train, plan.test)
    # the buffer: test blocks grown by it (10 m are 20 px) meet no training pixel either
    for block in plan.test_blocks:
        x1, y1, x2, y2 = block.box
        assert not train[max(0, y1 - 20) : y2 + 20, max(0, x1 - 20) : x2 + 20].any()


def test_test_chips_do_not_overlap_each_other():
    plan = plan_chips(GRID, (64, 64), SplitSettings(100, 0.25, 0), PlaceSettings(), 1)
    assert mask(plan.test).sum() == len(plan.test) * 64 * 64


def test_the_plan_is_the_same_by_seed_and_differs_between_seeds():
    plans = [plan_chips(GRID, (64, 64), SplitSettings(100), PlaceSettings(), seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert plans[0].test_blocks != plans[2].test_blocks


def test_windows_overlap_sees_a_shared_pixel():
    assert windows_overlap([Window(0, 0, 10, 10)], [Window(9, 9, 5, 5)])
    assert not windows_overlap([Window(0, 0, 10, 10)], [Window(10, 0, 5, 5)])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("distance", [(0, 0), (3, 0), (5, 9)])
def test_what_meets_is_what_a_comparison_of_all_pairs_says(monkeypatch, seed, distance):
    monkeypatch.setattr("georefer.building.chips._CHUNK", 7)
    rng = np.random.default_rng(seed)
    a, b = (
        np.hstack([start, start + rng.integers(1, 20, (count, 2))])
        for count, start in ((60, rng.integers(-30, 120, (60, 2))), (25, rng.integers(-30, 120, (25, 2))))
    )
    said = [any(_near(Window(*_xywh(x)), Window(*_xywh(y)), distance) for y in b) for x in a]
    assert 0 < sum(said) < len(a)
    assert _meets_any(a, b, distance).tolist() == said


def _xywh(box):
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2 - x1, y2 - y1


def _near(a, b, distance):
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2), (dx, dy) = a.box, b.box, distance
    return ax1 < bx2 + dx and bx1 < ax2 + dx and ay1 < by2 + dy and by1 < ay2 + dy


def test_many_windows_are_a_sequence_of_windows():
    listed = [Window(1, 2, 3, 4), Window(5, 6, 7, 8), Window(9, 10, 11, 12)]
    windows = Windows.of(listed)
    assert list(windows) == listed and windows[1] == listed[1] and list(windows[1:]) == listed[1:]
    assert windows == Windows.of(listed) and windows != Windows.of(listed[:2])
    assert not len(Windows.of([])) and not windows_overlap([], windows)


def test_chips_are_square_on_the_ground_where_pixels_are_not():
    # pixels twice as long from north to south as from west to east
    grid = GeoGrid(CRS("EPSG:2154"), Affine(0.25, 0, 650_000, 0, -0.5, 6_860_000), 1000, 1000)
    assert chip_window_px(grid, 64, 0.5) == (128, 64)
    assert chip_window_px(GeoGrid.none(100, 100), 64, 0.5) == (64, 64)


@pytest.mark.parametrize(
    "chip, split, message",
    [
        ((300, 300), SplitSettings(100), "blocks of 100 m are smaller than the chips"),
        ((64, 64), SplitSettings(4000), "single block"),
        ((64, 64), SplitSettings(100, test=1.5), "between 0 and 1"),
    ],
)
def test_a_split_that_cannot_be_is_refused(chip, split, message):
    with pytest.raises(ConfigError, match=message):
        plan_chips(GRID, chip, split, PlaceSettings(), 0)


BOXES = np.array([(x, y, x + 12, y + 10) for x, y in np.random.default_rng(2).uniform(0, 780, (150, 2))])


@pytest.mark.parametrize("seed", range(3))
def test_chips_around_objects_show_each_of_them_whole(seed):
    split = SplitSettings(100, 0.25, 10)
    plan = plan_chips(GRID, (64, 64), split, PlaceSettings("objects"), seed, BOXES)
    assert not windows_overlap(plan.train, plan.test)
    left_N, top_N, right_N, bottom_N = (Windows.of(plan.test_blocks).boxes_N4 + np.array([-20, -20, 20, 20])).T
    reached = 0
    for x1, y1, x2, y2 in BOXES:
        shows = any(w.box[0] <= x1 and w.box[1] <= y1 and x2 <= w.box[2] and y2 <= w.box[3] for w in plan.train)
        # an object farther than a chip from all that is held out has a chip wherever that was put
        near_N = (x1 - 64 < right_N) & (x2 + 64 > left_N) & (y1 - 64 < bottom_N) & (y2 + 64 > top_N)
        assert shows or near_N.any()
        reached += shows
    assert reached > 60 and len(plan.train) < reached  # and most chips show several


def test_chips_anywhere_are_as_many_as_asked_and_keep_away_from_the_test():
    plan = plan_chips(GRID, (64, 64), SplitSettings(100, 0.25, 10), PlaceSettings("random", most=40), 0)
    assert len(plan.train) == 40 and not windows_overlap(plan.train, plan.test)
    assert len({w.x for w in plan.train}) > 30
    fewer = plan_chips(GRID, (64, 64), SplitSettings(100, 0.25, 10), PlaceSettings(most=7), 0)
    assert len(fewer.train) == 7


def test_a_whole_area_is_tested_or_trained_on():
    tested = plan_chips(GRID, (64, 64), SplitSettings(by="area"), PlaceSettings(), 0, held_out=True)
    trained = plan_chips(GRID, (64, 64), SplitSettings(by="area"), PlaceSettings(), 0, held_out=False)
    assert len(tested.test) == (1000 // 64) * (800 // 64) and not len(tested.train)
    assert not len(trained.test) and mask(trained.train).all()


def test_no_place_is_chosen_twice_where_there_are_few():
    narrow = GeoGrid(GRID.crs, GRID.transform, 66, 400)
    boxes_N4 = np.tile([[0.0, 0.0, 300.0, 400.0]], (5, 1))  # each larger than any chip, so none shows one whole
    for settings in (PlaceSettings("random", most=400), PlaceSettings("objects")):
        plan = plan_chips(narrow, (64, 64), SplitSettings(40, 0.25, 0), settings, 0, boxes_N4)
        assert 0 < len(plan.train) == len(set(plan.train))


def test_only_blocks_with_imagery_are_held_out():
    """Two patches far apart make one lattice, most of which is empty."""
    for seed in range(5):
        plan = plan_chips(
            GRID, (64, 64), SplitSettings(50, 0.5, 0), PlaceSettings(), seed, imagery_F4=np.array([[0, 0, 200, 800]])
        )
        assert len(plan.test_blocks) == 8 and all(block.x < 200 for block in plan.test_blocks)  # half of 16
        assert plan.train and all(window.x < 200 for window in plan.train)
        some = plan_chips(
            GRID, (64, 64), SplitSettings(50, 0.5, 0), PlaceSettings("random", most=9), seed,
            imagery_F4=np.array([[0, 0, 200, 800]]),
        )  # fmt: skip
        assert all(window.x < 200 for window in some.train)


@pytest.mark.parametrize("settings", [{"by": "random"}, {"stride": 0}, {"most": -1}])
def test_places_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        PlaceSettings(**settings)
