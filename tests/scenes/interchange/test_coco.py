"""COCO: what a file says comes back, and its traps are counted or refused."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.geometry import OBB, Objects
from georefer.scenes.interchange import LabelledImage, coco

RING = [10, 10, 30, 10, 30, 30, 10, 30]


def file_of(path, *annotations, **changes):
    content = {
        "images": [{"id": 7, "file_name": "a/b.png", "width": 100, "height": 80, "date": "today"}],
        "categories": [{"id": 0, "name": "ship"}, {"id": 90, "name": "storage tank"}],
        "annotations": [{"id": n, "image_id": 7, "category_id": 0, **a} for n, a in enumerate(annotations, 1)],
    }
    path.write_text(json.dumps({**content, **changes}))
    return path


def one(path, **annotation):
    read = coco.read(file_of(path / "a.json", annotation))
    (image,) = read.images
    return (next(iter(image.objects), None), read.account)


def test_a_box_is_corner_and_size(tmp_path):
    found, account = one(tmp_path, bbox=[10, 20, 5, 6.5], area=32.5, iscrowd=0)
    assert found.kind == "hbb" and found.geometry.bounds == (10, 20, 15, 26.5) and found.id == "1"
    assert found.attributes == {} and account.kept == 1 and account.dropped.total == account.changed.total == 0


def test_ids_sizes_attributes_scores_and_crowds_are_kept(tmp_path):
    extra = {"score": 0.25, "iscrowd": 1, "area": 12.0, "attributes": {"roof": "red"}, "track": 4}
    found, _ = one(tmp_path, bbox=[0, 0, 5, 5], category_id=90, **extra)
    assert (found.label, found.score) == ("storage tank", 0.25)
    assert found.attributes == {"iscrowd": 1, "area": 12.0, "roof": "red", "track": 4}
    read = coco.read(tmp_path / "a.json")
    assert read.classes == {"ship": 0, "storage tank": 90}
    (image,) = read.images
    assert (image.file_name, image.width, image.height) == ("a/b.png", 100, 80)
    assert image.attributes == {"id": 7, "date": "today"}
    coco.write(read.images, tmp_path / "b.json", classes=read.classes)
    again = json.loads((tmp_path / "b.json").read_text())
    first = json.loads((tmp_path / "a.json").read_text())
    assert again["images"] == first["images"] and again["categories"] == first["categories"]
    (before,), (after,) = first["annotations"], again["annotations"]
    for key in ("id", "image_id", "category_id", "bbox", "iscrowd", "area", "score"):
        assert after[key] == before[key]


def test_parts_are_one_object(tmp_path):
    far, near = [50, 50, 60, 50, 60, 60], [20, 20, 40, 20, 40, 40, 20, 40]
    found, account = one(tmp_path, segmentation=[RING, far], bbox=[10, 10, 50, 50])
    assert found.kind == "polygon" and found.geometry.area == 450 and account.changed.total == 0
    found, account = one(tmp_path, segmentation=[RING, near], bbox=[10, 10, 30, 30])
    assert found.geometry.area == 700 and account.changed.counts == {"overlapping rings joined": 1}


def test_a_ring_of_four_numbers_is_no_box(tmp_path):
    # pycocotools would take it for [x, y, w, h]
    found, account = one(tmp_path, segmentation=[[1, 1, 9, 9], RING], bbox=[1, 1, 1, 1])
    assert found.geometry.area == 400 and account.changed.counts == {"ring without three points left out": 1}
    found, account = one(tmp_path, segmentation=[[1, 1, 9, 9]], bbox=[1, 2, 3, 4])
    assert found.kind == "hbb" and found.geometry.bounds == (1, 2, 4, 6)
    assert account.changed.counts["outline without area, box kept instead"] == 1


def test_masks_compressed_or_not(tmp_path):
    # columns first: 80 rows; two columns of 5 pixels from (x 3, y 10)
    counts = [3 * 80 + 10, 5, 75, 5, 100 * 80 - (3 * 80 + 10 + 85)]
    found, account = one(tmp_path, segmentation={"size": [80, 100], "counts": counts}, iscrowd=1)
    assert found.kind == "mask" and found.geometry.equals(shapely.box(3, 10, 5, 15)) and account.changed.total == 0
    coco.write(coco.read(tmp_path / "a.json").images, tmp_path / "b.json")
    written = json.loads((tmp_path / "b.json").read_text())["annotations"][0]
    assert written["segmentation"]["size"] == [80, 100] and isinstance(written["segmentation"]["counts"], str)
    (again,) = coco.read(tmp_path / "b.json").images[0].objects
    assert again.kind == "mask" and again.geometry.equals(found.geometry)


@pytest.mark.parametrize(
    "coded, reason",
    [
        ({"size": [100, 80], "counts": [8000]}, "mask of another size than its image"),  # [height, width] turned
        ({"size": [80, 100], "counts": [1, 2]}, "mask whose runs do not fill it"),
        ({"size": [80, 100], "counts": [-5, 8005]}, "mask whose runs do not fill it"),
        ({"size": [80, 100], "counts": "~~~~~~~~"}, "mask whose runs do not fill it"),
        ({"size": [80, 100], "counts": None}, "mask whose runs do not fill it"),
        ({"size": [80, 100], "counts": [["x"]]}, "mask whose runs do not fill it"),
        ({"size": [80, 100], "counts": [8000]}, "mask without pixels"),
        ({"size": [1e300, 1e300], "counts": []}, "mask without [height, width]"),
        ({"counts": []}, "mask without [height, width]"),
    ],
)
def test_masks_that_fit_no_image(tmp_path, coded, reason):
    found, account = one(tmp_path, segmentation=coded)
    assert found is None and account.dropped.counts == {reason: 1}
    found, account = one(tmp_path, segmentation=coded, bbox=[1, 1, 2, 2])
    assert found.kind == "hbb" and account.changed.counts == {f"{reason}, box kept instead": 1}


def test_holes_become_a_mask_or_are_filled(tmp_path):
    ring = shapely.box(10, 10, 30, 30).difference(shapely.box(15, 15, 20, 20))
    image = LabelledImage("a.png", 100, 80, Objects.of([ring], ["ship"]))
    account = coco.write([image], tmp_path / "a.json")
    assert account.changed.counts == {"shape with holes written as a mask of whole pixels": 1}
    assert coco.read(tmp_path / "a.json").images[0].objects.geometries_N[0].equals(ring)
    sizeless = LabelledImage("a.png", None, None, image.objects)
    assert coco.write([sizeless], tmp_path / "a.json").changed.counts == {"holes filled": 1}
    assert coco.read(tmp_path / "a.json").images[0].objects.geometries_N[0].area == 400


def test_bad_rows_are_dropped_and_counted(tmp_path):
    path = file_of(
        tmp_path / "a.json",
        {"bbox": [1, 1, 5, 5]}, {"bbox": [1, 1, -5, 5]}, {"bbox": [1, 1, "x", 5]}, {"bbox": [1, 1, 5]}, {},
        {"bbox": [1, 1, 5, 5], "image_id": 8}, {"bbox": [1, 1, 5, 5], "category_id": 3},
        {"bbox": [1, 1, 5, 5], "score": "high"}, {"bbox": [1, 1, 5, 10**400]}, {"bbox": [True, 1, 5, 5]},
    )  # fmt: skip
    data = json.loads(path.read_text())
    data["annotations"] += [3, None]
    data["images"] += [{"id": 7}, {"id": 9, "file_name": "../../etc/passwd"}, "x", {"file_name": "c.png"}]
    path.write_text(json.dumps(data).replace("1.5", "NaN"))
    read = coco.read(path)
    assert len(read) == 1 and read.account.kept == 1
    assert read.account.dropped.counts == {
        "no area": 1, "neither box nor outline": 5, "image that the file does not hold": 1,
        "category that the file does not hold": 1, "score is no number": 1, "no JSON object": 2,
        "image without an id of its own": 3, "image name leads out of its folder": 1,
    }  # fmt: skip
    assert len(read.account.dropped.examples["neither box nor outline"]) == 3
    assert "5: neither box nor outline (as in annotation 2" in str(read.account)


def test_ids_that_cannot_be_used_are_renumbered(tmp_path):
    objects = Objects.from_hbb([[0, 0, 1, 1], [2, 2, 3, 3]], ["a", "b"])  # "0" and "1": 0 means unmatched elsewhere
    coco.write([LabelledImage("a.png", 9, 9, objects)], tmp_path / "a.json")
    assert [a["id"] for a in json.loads((tmp_path / "a.json").read_text())["annotations"]] == [1, 2]
    assert coco.read(tmp_path / "a.json").images[0].objects.ids_N.tolist() == ["0", "1"]
    path = file_of(tmp_path / "b.json", {"bbox": [1, 1, 5, 5], "id": 3}, {"bbox": [1, 1, 5, 5], "id": 3})
    read = coco.read(path)
    assert len(set(read.images[0].objects.ids_N)) == 2 and read.account.changed.total == 1


def test_results_need_the_truth(tmp_path):
    truth = coco.read(file_of(tmp_path / "truth.json", {"bbox": [1, 1, 5, 5]}))
    rows = [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 7, "category_id": 0, "segmentation": [RING], "score": 0.25},
        {"image_id": 7, "category_id": 0, "bbox": [1, 2, 3, 4]},
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    read = coco.read_results(tmp_path / "results.json", truth=truth)
    assert read.images[0].objects.labels_N.tolist() == ["storage tank", "ship"]
    assert read.images[0].objects.scores_N.tolist() == [0.5, 0.25]
    assert read.account.dropped.counts == {"score is no number": 1}
    coco.write_results(read.images, tmp_path / "again.json", truth=truth)
    again = json.loads((tmp_path / "again.json").read_text())
    assert again[0] == rows[0] and again[1]["bbox"] == [10, 10, 20, 20] and again[1]["segmentation"] == [RING]
    with pytest.raises(InputError, match="coco-results"):
        coco.read(tmp_path / "results.json")
    with pytest.raises(InputError, match="read annotations with coco"):
        coco.read_results(tmp_path / "truth.json", truth=truth)
    account = coco.write_results(truth.images, tmp_path / "none.json", truth=truth)
    assert account.dropped.counts == {"no score": 1} and json.loads((tmp_path / "none.json").read_text()) == []


def test_points_and_lines_are_dropped(tmp_path):
    objects = Objects.of(
        [shapely.Point(1, 1), shapely.LineString([(0, 0), (5, 5)])], ["a", "b"], kind=["point", "line"]
    )
    account = coco.write([LabelledImage("a.png", 9, 9, objects)], tmp_path / "a.json")
    assert account.dropped.total == 2 and account.kept == 0


numbers = st.floats(1, 90).map(lambda v: round(v, 3))


@given(st.lists(st.tuples(numbers, numbers, st.floats(1, 40), st.floats(1, 40), st.floats(0, 359)), max_size=6))
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("coco") / "a.json"
    boxes = [shapely.box(x, y, x + w, y + h) for x, y, w, h, _ in rows]
    turned = [OBB(x, y, w, h, a).to_polygon() for x, y, w, h, a in rows]
    objects = Objects.of(
        boxes + turned + turned,
        ["ship"] * len(boxes) + ["tank"] * 2 * len(rows),
        kind=["hbb"] * len(rows) + ["obb"] * len(rows) + ["polygon"] * len(rows),
        scores=[0.5] * len(rows) + [None] * 2 * len(rows),
        attributes=[{"n": n} for n in range(3 * len(rows))],
    )
    account = coco.write([LabelledImage("a.png", 100, 100, objects)], path)
    assert account.kept == len(objects) and account.changed.total == account.dropped.total == 0
    again = coco.read(path).images[0].objects
    for name in ("ids_N", "labels_N", "kinds_N"):
        assert getattr(again, name).tolist() == getattr(objects, name).tolist()
    np.testing.assert_array_equal(again.scores_N, objects.scores_N)
    assert [a["n"] for a in again.attributes_N] == list(range(len(objects)))
    for before, after in zip(objects, again, strict=True):
        first, second = shapely.get_coordinates(before.geometry), shapely.get_coordinates(after.geometry)
        np.testing.assert_allclose(second, first, atol=0.0011)  # three decimals, twice for a corner and a size


@pytest.mark.shared
def test_real_boxes(shared_data, tmp_path):
    path = shared_data / "banepa-buildings" / "detection_labels.json"
    read = coco.read(path)
    assert (len(read), read.account.kept, read.account.dropped.total) == (32, 1197, 0)
    assert read.classes == {"building": 0}  # ids may start with 0
    coco.write(read.images, tmp_path / "a.json", classes=read.classes)
    first, again = json.loads(path.read_text()), json.loads((tmp_path / "a.json").read_text())
    assert again["images"] == first["images"] and again["categories"] == first["categories"]
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    order = {a["id"]: a for a in again["annotations"]}
    assert all(order[a["id"]][key] == a[key] for a in first["annotations"] for key in keys)


def test_images_may_be_named_by_words(tmp_path):
    path = file_of(
        tmp_path / "a.json", {"bbox": [1, 1, 5, 5], "image_id": "u-1"}, images=[{"id": "u-1", "file_name": "a.png"}]
    )
    read = coco.read(path)
    assert read.account.kept == 1 and read.images[0].attributes == {"id": "u-1"}
    coco.write(read.images, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["images"] == [{"id": 1, "file_name": "a.png"}]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from([7, 0, RING])
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
keys = st.sampled_from(
    ["id", "image_id", "category_id", "bbox", "segmentation", "score", "attributes", "area", "iscrowd"]
)
boxes = st.lists(st.floats(-9, 90), min_size=4, max_size=4)
good = {"id": st.integers(0, 3), "image_id": st.just(7), "category_id": st.just(0), "bbox": boxes}
lists = st.fixed_dictionaries({}, optional={"size": st.just([80, 100]), "counts": anything})


rows = st.dictionaries(keys, anything | lists, max_size=9)
nearly_good = st.tuples(st.fixed_dictionaries(good), rows).map(lambda pair: {**pair[1], **pair[0]})


@given(st.lists(rows | nearly_good), anything, anything)
def test_any_json_is_read_or_refused(tmp_path_factory, annotations, images, categories):
    path = file_of(tmp_path_factory.mktemp("coco") / "a.json", *annotations)
    for changes in ({}, {"images": images}, {"categories": categories}, {"annotations": images}):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        try:
            read = coco.read(path)
        except InputError:
            continue
        # what was read can be written
        coco.write(read.images, path.with_name("b.json"), classes=read.classes)


def test_an_outline_of_babble_is_left_out_at_once(tmp_path):
    """Repairing 3,000 points strewn at random would take minutes; a bow-tie is kept as it is."""
    strewn = (np.random.default_rng(0).random(6000) * 80).round(1).tolist()
    found, account = one(tmp_path, bbox=[0, 0, 80, 80], segmentation=[strewn, strewn[::-1]])
    assert found.kind == "hbb" and account.changed.counts["ring that crosses itself too often left out"] == 2
    found, account = one(tmp_path, bbox=[0, 0, 80, 80], segmentation=[[0, 0, 9, 9, 9, 0, 0, 9]])
    assert found.kind == "polygon"
