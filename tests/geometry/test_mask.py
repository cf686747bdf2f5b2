import base64
import contextlib
import gzip
import json
import zlib

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from georefer.geometry.coco_runs import counts_from_text, counts_to_text
from georefer.geometry.mask import (
    MAX_PIXELS,
    Mask,
    intersection,
    mask_iou,
    mask_iou_pairs,
    union,
)

small = st.tuples(st.integers(1, 12), st.integers(1, 12))
pixels = small.flatmap(lambda size: arrays(bool, size))
pairs = small.flatmap(lambda size: st.tuples(arrays(bool, size), arrays(bool, size)))


def rows_of(path):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def bits_of(row):
    height, width = row["size"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(row["bits_row_major_zlib_b64"])), dtype=np.uint8)
    return np.unpackbits(packed)[: height * width].reshape(height, width).astype(bool)


@pytest.fixture(scope="module")
def recorded(golden):
    return rows_of(golden / "geometry" / "masks.jsonl.gz")


@pytest.mark.shared
def test_recorded_masks_byte_for_byte(recorded):
    for row in recorded:
        dense = bits_of(row)
        mask = Mask.from_dense(dense)
        assert mask.to_coco() == {"size": row["size"], "counts": row["counts"]}
        assert Mask.from_coco(row) == mask and (mask.dense() == dense).all()
        box = mask.bounds
        assert mask.area == row["area"]
        assert [box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1] == row["bbox"]


@pytest.mark.shared
def test_outlines_of_recorded_masks_are_valid_exact_and_come_back(recorded):
    for row in recorded:
        mask = Mask.from_coco(row)
        shape = mask.to_geometry()
        assert shape.is_valid and shape.area == mask.area
        assert Mask.of_geometry(shape, (mask.height, mask.width)) == mask


@pytest.mark.shared
def test_recorded_overlaps(golden, recorded):
    with gzip.open(golden / "geometry" / "mask_iou.json.gz") as file:
        groups = json.load(file)
    for group in groups.values():
        masks = [Mask.from_coco(recorded[i]) for i in group["ids"]]
        assert np.abs(mask_iou(masks, masks) - group["iou"]).max() <= 1e-12
        assert np.abs(mask_iou(masks, masks, crowd=True) - group["iou_iscrowd"]).max() <= 1e-12
        assert union(masks).to_coco()["counts"] == group["merged_union_counts"]
        chosen = [Mask.from_coco(recorded[i]) for i in group["merged_intersection_of"]]
        assert intersection(chosen).to_coco()["counts"] == group["merged_intersection_counts"]


@pytest.mark.shared
def test_recorded_polygons_by_cocos_rule(golden):
    for row in rows_of(golden / "geometry" / "polygon_to_rle.jsonl"):
        each = [Mask.of_coco_polygons([ring], row["size"]).to_coco()["counts"] for ring in row["polygons"]]
        merged = Mask.of_coco_polygons(row["polygons"], row["size"])
        assert each == row["each_counts"] and merged.to_coco()["counts"] == row["merged_counts"]
        assert merged.area == row["area"]


@pytest.mark.shared
def test_recorded_boxes_and_plain_counts(golden):
    recorded = json.loads((golden / "geometry" / "rle_misc.json").read_text())
    boxes = recorded["box_to_rle"]
    for (x, y, w, h), counts, area in zip(boxes["boxes_xywh"], boxes["counts"], boxes["area"], strict=True):
        mask = Mask.of_coco_polygons([[x, y, x, y + h, x + w, y + h, x + w, y]], boxes["size"])
        assert mask.to_coco()["counts"] == counts and mask.area == area
    for row in recorded["uncompressed"]:
        assert counts_to_text(row["counts"]) == row["compressed"]
        assert counts_from_text(row["compressed"]).tolist() == row["counts"]
        assert Mask.from_coco(row) == Mask.from_coco({"size": row["size"], "counts": row["compressed"]})


# --- against pycocotools itself, where it is installed -----------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-60, 120), min_size=6, max_size=16).filter(lambda r: len(r) % 2 == 0), min_size=1, max_size=3
    ),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_cocos_rule_is_pycocotools_own(rings, size):
    coco = pytest.importorskip("pycocotools.mask")
    theirs = coco.merge(coco.frPyObjects(rings, *size))
    assert Mask.of_coco_polygons(rings, size).to_coco()["counts"].encode() == theirs["counts"]


@settings(deadline=None)
@given(pairs)
def test_pairs_agree_with_pixels(both):
    a, b = both
    masks = [Mask.from_dense(a), Mask.from_dense(b)]
    inter, either = (a & b).sum(), (a | b).sum()
    assert mask_iou_pairs(masks[:1], masks[1:])[0] == pytest.approx(inter / max(either, 1), abs=1e-12)
    assert mask_iou(masks[:1], masks[1:], crowd=True)[0, 0] == pytest.approx(inter / max(a.sum(), 1), abs=1e-12)
    assert union(masks) == Mask.from_dense(a | b) and intersection(masks) == Mask.from_dense(a & b)


@settings(deadline=None)
@given(pixels)
def test_every_form_comes_back(dense):
    mask = Mask.from_dense(dense)
    assert (mask.dense() == dense).all()
    assert Mask.from_coco(mask.to_coco()) == mask
    assert Mask.from_coco({"size": list(dense.shape), "counts": mask.counts_R.tolist()}) == mask
    shape = mask.to_geometry()
    assert shape.is_valid and shape.area == dense.sum()
    assert Mask.of_geometry(shape, dense.shape) == mask
    assert hash(Mask.from_dense(dense.astype(np.uint8) * 7)) == hash(mask)


def test_equal_pixels_are_equal_masks_whatever_the_empty_runs():
    plain = Mask.from_counts([3, 2, 15], (4, 5))
    assert Mask.from_counts([0, 0, 3, 1, 0, 1, 15, 0, 0], (4, 5)) == plain
    assert plain != Mask.from_counts([3, 2, 15], (5, 4)) and plain != "a mask"
    with pytest.raises(ValueError, match="read-only"):
        plain.counts_R[0] = 1


def test_a_mask_set_by_centres_counts_holes_and_parts_and_shares_no_pixel():
    ring = shapely.box(0, 0, 6, 6).difference(shapely.box(2, 2, 4, 4))
    shape = shapely.union(ring, shapely.box(8.6, 1.4, 9.6, 2.6))
    mask = Mask.of_geometry(shape, (8, 12))
    assert mask.area == 36 - 4 + 2 and mask.dense()[1:3, 9].all() and not mask.dense()[1, 8]
    left, right = shapely.box(0, 0, 2.5, 5), shapely.box(2.5, 0, 5, 5)
    halves = [Mask.of_geometry(half, (5, 5)) for half in (left, right)]
    assert intersection(halves).area == 0 and union(halves).area == 25
    assert Mask.of_geometry(shapely.box(-50, -50, 99, 99), (5, 5)).area == 25
    assert Mask.of_geometry(shapely.Polygon(), (5, 5)).area == 0
    assert Mask.of_geometry(shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)]), (4, 4)).area == 8  # a bow-tie


def test_cocos_rule_differs_from_the_centres_along_slanted_edges():
    box = shapely.box(10, 10, 25, 18)
    turned = [shapely.affinity.rotate(box, angle) for angle in range(5, 85, 5)]
    centres = [Mask.of_geometry(shape, (40, 40)) for shape in turned]
    coco = [Mask.of_coco_polygons([shapely.get_coordinates(shape).ravel()], (40, 40)) for shape in turned]
    iou = mask_iou_pairs(centres, coco)
    assert iou.min() > 0.9 and (iou < 1).sum() > 0


@pytest.mark.parametrize(
    "rle, message",
    [
        ({"size": [4, 5], "counts": [3, 2]}, "sum to 5"),
        ({"size": [4, 5], "counts": [-3, 23]}, "smallest of -3"),
        ({"size": [4, 5], "counts": [2**62, 2**62, 2**62, 2**62, 20]}, "was expected"),
        ({"size": [4, 5], "counts": [2.5, 17.5]}, "whole numbers"),
        ({"size": [4, 5], "counts": [[20]]}, "whole numbers"),
        ({"size": [4, 5], "counts": [[20], 3]}, "whole numbers"),
        ({"size": [4, 5], "counts": None}, "whole numbers"),
        ({"size": [1 << 20, 1 << 20], "counts": "0"}, str(MAX_PIXELS)),
        ({"size": [-4, -5], "counts": [20]}, "pixels are possible"),
        ({"size": [4.0, 5.5], "counts": [20]}, "two whole numbers"),
        ({"size": [4], "counts": [20]}, "size"),
        ({"counts": [20]}, "size"),
        ("d0", "size"),
        ({"size": [4, 5], "counts": "é0"}, "other characters"),
        ({"size": [4, 5], "counts": b"\x00\xff"}, "other characters"),
        ({"size": [4, 5], "counts": "oooooooo0"}, "digits"),
        ({"size": [4, 5], "counts": "oo"}, "cut off"),
        ({"size": [4, 5], "counts": ""}, "sum to 0"),
    ],
)
def test_untrusted_masks_are_refused_in_one_sentence(rle, message):
    with pytest.raises(ValueError, match=message) as caught:
        Mask.from_coco(rle)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=40), small)
def test_any_text_gives_a_mask_or_a_value_error(text, size):
    with contextlib.suppress(ValueError):
        assert Mask.from_coco({"size": size, "counts": text}).counts_R.sum() == size[0] * size[1]


def test_other_mistakes_are_named():
    a, b = Mask.from_counts([20], (4, 5)), Mask.from_counts([20], (5, 4))
    with pytest.raises(ValueError, match="one size"):
        mask_iou([a], [b])
    with pytest.raises(ValueError, match="as many"):
        mask_iou_pairs([a], [])
    with pytest.raises(ValueError, match="no mask"):
        union([])
    with pytest.raises(ValueError, match="three or more"):
        Mask.of_coco_polygons([[0, 0, 1, 1]], (4, 5))
    with pytest.raises(ValueError, match="units"):
        Mask.of_coco_polygons([[0, 0, 1e9, 0, 0, 1e9]], (4, 5))
    with pytest.raises(ValueError, match="height, width"):
        Mask.from_dense(np.zeros(4))


def test_nothing_to_compare_and_nothing_set():
    empty = Mask.from_dense(np.zeros((4, 5), dtype=bool))
    assert mask_iou([empty], [empty]).tolist() == [[0.0]] and mask_iou([], [empty]).shape == (0, 1)
    assert mask_iou_pairs([], []).shape == (0,)
    assert empty.to_geometry().is_empty and (empty.bounds.x2, empty.area) == (0.0, 0)
    assert Mask.from_dense(np.zeros((0, 7))).dense().shape == (0, 7)
    assert Mask.of_coco_polygons([], (4, 5)) == empty


def test_large_matrices_are_compared_in_batches(monkeypatch):
    rng = np.random.default_rng(0)
    masks = [Mask.from_dense(rng.random((9, 7)) < 0.5) for _ in range(12)]
    whole = mask_iou(masks, masks)
    monkeypatch.setattr("georefer.geometry.mask.PAIR_BATCH", 64)
    monkeypatch.setattr("georefer.geometry.mask.MANY_PAIRS", 2.0)
    assert (mask_iou(masks, masks) == whole).all()
