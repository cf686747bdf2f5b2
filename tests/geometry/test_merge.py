"""Merging looks: what several windows say of the same ground becomes every object once."""

import numpy as np
import pytest
import shapely

from georefer.geometry.merge import Looks, MergeRule, merge_looks
from georefer.geometry.window import tile

SIZE = (400, 128)
A, B = (0, 0, 128, 128), (96, 0, 224, 128)  # two windows that share x from 96 to 128


def looks(*seen, size=SIZE):
    """Looks from (shape or box, window) or (shape or box, window, score)."""
    shapes = [s[0] if isinstance(s[0], shapely.Geometry) else shapely.box(*s[0]) for s in seen]
    scores = [s[2] if len(s) > 2 else np.nan for s in seen]
    column = np.empty(len(seen), dtype=object)
    column[:] = shapes
    return Looks(column, np.array([s[1] for s in seen]).reshape(-1, 4), size, np.array(scores, dtype=float))


def boxes(merged):
    return sorted(tuple(np.round(b, 6).tolist()) for b in shapely.bounds(merged.geometries_M).reshape(-1, 4))


CASES = [
    # what, looks, boxes expected
    ("nothing", [], []),
    ("seen whole by both", [((100, 10, 120, 30), A), ((100, 10, 120, 30), B)], [(100, 10, 120, 30)]),
    ("whole in A, cut by B", [((90, 10, 110, 30), A), ((96, 10, 110, 30), B)], [(90, 10, 110, 30)]),
    ("a sliver in B with an error", [((80, 10, 98, 30), A), ((96, 11, 98.5, 30), B)], [(80, 10, 98, 30)]),
    ("longer than the overlap", [((60, 10, 128, 30), A), ((96, 10, 170, 30), B)], [(60, 10, 170, 30)]),
    ("touching neighbours, whole in one each", [((90, 10, 112, 30), A), ((112, 10, 140, 30), B)],
     [(90, 10, 112, 30), (112, 10, 140, 30)]),
    ("touching neighbours, both seen by both",
     [((90, 10, 112, 30), A), ((112, 10, 128, 30), A), ((96, 10, 112, 30), B), ((112, 10, 140, 30), B)],
     [(90, 10, 112, 30), (112, 10, 140, 30)]),
    ("two of one window never become one", [((10, 10, 30, 30), A), ((11, 10, 30, 30), A)],
     [(10, 10, 30, 30), (11, 10, 30, 30)]),
    ("a blurred look does not chain two that others saw whole",
     [((98, 10, 120, 30), A), ((198, 10, 220, 30), (192, 0, 320, 128)), ((96, 10, 224, 30), B)],
     [(96, 10, 224, 30), (98, 10, 120, 30), (198, 10, 220, 30)]),
    ("nor two pieces that one window said",
     [((98, 10, 128, 24), A), ((98, 16, 128, 30), A), ((96, 10, 160, 30), B)],
     [(96, 10, 160, 30), (98, 16, 128, 30)]),
    ("nor does a whole one between two",
     [((100, 10, 112, 30), A), ((100, 10, 124, 30), (60, 0, 188, 128)), ((112, 10, 124, 30), B)],
     [(100, 10, 112, 30), (112, 10, 124, 30)]),
    ("a whole small one inside a large one stays", [((40, 10, 126, 90), A), ((100, 20, 110, 30), B)],
     [(40, 10, 126, 90), (100, 20, 110, 30)]),
    ("a bad sliver does not keep two good looks apart",
     [((80, 10, 98, 30), A), ((80, 10, 98, 31), (20, 0, 148, 128)), ((96, 10, 99.8, 33), B)], [(80, 10, 98, 30)]),
    ("one seen by one alone stays", [((90, 10, 127.5, 30), A)], [(90, 10, 127.5, 30)]),
    ("a shape without area is left alone", [(shapely.Point(100, 20), A), ((90, 10, 110, 30), B)],
     [(90, 10, 110, 30), (100, 20, 100, 20)]),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_every_object_once_in_any_order(seen, expected):
    for rows in (np.arange(len(seen)), np.arange(len(seen))[::-1], np.random.default_rng(1).permutation(len(seen))):
        merged = merge_looks(looks(*[seen[i] for i in rows]), "hbb")
        assert boxes(merged) == sorted(expected)
        # every look is accounted for exactly once, in the row numbers of the input
        assert sorted(n for members in merged.members_M for n in members) == list(range(len(seen)))


def test_without_overlap_pieces_join_along_the_seam_but_only_if_they_face_each_other():
    left, right = (0, 0, 100, 100), (100, 0, 200, 100)
    facing = looks(((60, 10, 100, 30), left), ((100, 12, 140, 30), right), size=(200, 100))
    assert boxes(merge_looks(facing, "hbb")) == [(60, 10, 140, 30)]
    beside = looks(((60, 10, 100, 30), left), ((100, 30, 140, 60), right), size=(200, 100))
    assert len(merge_looks(beside, "hbb").members_M) == 2


def test_the_edge_of_the_raster_cuts_nothing():
    at_edge = looks(((0, 0, 20, 20), A), ((210, 100, 224, 128), B), size=(224, 128))
    assert merge_looks(at_edge, "hbb").whole_M.all()
    assert not merge_looks(looks(((110, 5, 128, 20), A)), "hbb").whole_M.any()


def test_scores_shape_and_counts_come_from_the_looks_that_saw_it_whole():
    seen = looks(((96, 10, 110, 30), B, 0.9), ((90, 10, 110, 30), A, 0.6))
    merged = merge_looks(seen, "hbb")
    assert merged.scores_M.tolist() == [0.6]  # the piece's confidence says nothing about the whole
    assert merged.first_M.tolist() == [1] and merged.whole_M.tolist() == [True]
    assert merged.seen_M(seen.windows_N4).tolist() == [2]
    best = merge_looks(looks(((100, 10, 120, 30), A, 0.5), ((101, 10, 121, 30), B, 0.8)), "hbb")
    assert boxes(best) == [(101, 10, 121, 30)] and best.scores_M.tolist() == [0.8]


def test_polygons_join_to_their_true_outline_and_oriented_boxes_to_one():
    # an L across both windows: its box would be a lie
    whole = shapely.Polygon([(60, 10), (170, 10), (170, 60), (150, 60), (150, 30), (60, 30)])
    pieces = looks((whole & shapely.box(*A), A), (whole & shapely.box(*B), B))
    merged = merge_looks(pieces, "polygon")
    assert len(merged.geometries_M) == 1 and merged.geometries_M[0].equals(whole)
    oriented = merge_looks(pieces, "obb").geometries_M[0]
    assert len(oriented.exterior.coords) == 5 and oriented.covers(whole.buffer(-1e-6))


def test_a_self_crossing_answer_is_merged_like_any_other():
    bow = shapely.Polygon([(90, 10), (110, 30), (110, 10), (90, 30)])
    merged = merge_looks(looks((bow, A), (bow, B)), "polygon")
    assert len(merged.geometries_M) == 1 and merged.geometries_M[0].area == pytest.approx(200)


def shop(rng, count, size, side):
    """Boxes that do not overlap, some touching: cells of a lattice, filled or shrunk."""
    cells = [(x, y) for x in range(0, size - side, side) for y in range(0, size - side, side)]
    chosen = [cells[i] for i in rng.choice(len(cells), count, replace=False)]
    inset = rng.integers(0, side // 3, (count, 4)) * rng.integers(0, 2, (count, 1))
    low = np.array(chosen) + inset[:, :2]
    return np.hstack([low, np.array(chosen) + side - inset[:, 2:]]).astype(float)


@pytest.mark.parametrize(("side", "overlap"), [(12, 32), (30, 32), (60, 32), (90, 32), (25, 64), (150, 40)])
def test_clipped_truth_comes_back_exactly(side, overlap):
    """Every object once, none lost, in its true extent, from objects of an eighth of a window to larger ones."""
    rng = np.random.default_rng(side)
    truth = shop(rng, 20 if side > 60 else 60, 1000, side)
    windows = tile(1000, 1000, 128, overlap)
    seen = []
    for window in windows:
        x1, y1, x2, y2 = window.box
        low, high = np.maximum(truth[:, :2], (x1, y1)), np.minimum(truth[:, 2:], (x2, y2))
        # what is thinner than a pixel is not seen
        visible = ((high - low) >= 1).all(axis=1)
        seen += [((*a, *b), window.box) for a, b in zip(low[visible], high[visible], strict=True)]
    assert len(seen) > len(truth)  # windows did cut and repeat objects
    merged = merge_looks(looks(*seen, size=(1000, 1000)), "hbb", MergeRule(touch_px=0.5))
    assert boxes(merged) == sorted(map(tuple, truth.tolist()))


@pytest.mark.parametrize("overlap", [40, 64])
def test_noisy_looks_lose_no_object_and_double_few(overlap):
    rng = np.random.default_rng(5)
    truth = shop(rng, 150, 1000, 30)
    seen = []
    for window in tile(1000, 1000, 128, overlap):
        x1, y1, x2, y2 = window.box
        low, high = np.maximum(truth[:, :2], (x1, y1)), np.minimum(truth[:, 2:], (x2, y2))
        visible = ((high - low) >= 4).all(axis=1)
        noisy = np.hstack([low, high])[visible] + rng.normal(0, 1, (int(visible.sum()), 4))
        clipped = np.clip(noisy, (x1, y1, x1, y1), (x2, y2, x2, y2))
        seen += [(tuple(box), window.box) for box in clipped]
    merged = merge_looks(looks(*seen, size=(1000, 1000)), "hbb", MergeRule(touch_px=2))
    found = shapely.bounds(merged.geometries_M)
    inter = np.clip(
        np.minimum(found[:, None, 2:], truth[None, :, 2:]) - np.maximum(found[:, None, :2], truth[None, :, :2]), 0, None
    ).prod(axis=2)
    area = (found[:, 2:] - found[:, :2]).prod(axis=1)[:, None] + (truth[:, 2:] - truth[:, :2]).prod(axis=1) - inter
    iou = inter / area
    assert (iou.max(axis=0) >= 0.5).all()  # no object lost
    assert len(truth) <= len(found) <= 1.02 * len(truth)


def test_work_grows_with_the_looks_not_with_their_square():
    x, y = (v.ravel() * 10.0 for v in np.meshgrid(np.arange(120), np.arange(100)))
    shapes = shapely.box(np.tile(x, 2), np.tile(y, 2), np.tile(x, 2) + 9, np.tile(y, 2) + 9)
    windows = np.repeat([[0, 0, 1100, 1000], [100, 0, 1200, 1000]], len(x), axis=0)
    merged = merge_looks(Looks(shapes, windows, (1200, 1000), np.full(len(shapes), np.nan)), "hbb")
    # all pairs would be 288 million, minutes; near ones are some ten thousand
    assert len(merged.members_M) == len(x)
