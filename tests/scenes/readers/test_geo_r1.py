"""Geo-R1's few-shot files: boxes, masks with paths of another machine, and all objects of a class."""

import gzip
import json

import pytest
import shapely
from tests.data.published_1 import lines, mask_file, picture, what, whole

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers import geo_r1
from georefer.scenes.readers.base import Asked, Published

REC = {"image": "P0001.png", "problem": geo_r1.REC_LEAD + "the ship", "solution": [10, 20, 30, 40], "is_unique": True}
GRES = {"id": "EarthReason_0826_0", "image": "images/0826.jpg", "mask": "masks/0826.png",
        "problem": "Where do planes land?", "category": "Airport",
        "bbox_list": [[1, 2, 3, 4], [5, 5, 9, 9]]}  # fmt: skip


@pytest.mark.parametrize("name, indent", [("rec.json", None), ("rec.json", 4), ("rec.jsonl", None)])
def test_rec(tmp_path, name, indent):
    rows = [REC, {**REC, "problem": "find it", "is_unique": False}]
    path = lines(tmp_path / name, *rows) if name.endswith("l") else whole(tmp_path / name, rows, indent)
    found = geo_r1.read(path, split="train")
    image = found.images["P0001.png"]
    assert (image.width, image.height) == (None, None) and image.objects.hbb_N4.tolist() == [[10, 20, 30, 40]]
    assert [(one.id, one.asks, one.text, one.object_ids, one.split) for one in found] == [
        ("0", "rec", REC["problem"], ("0",), "train"), ("1", "rec", "find it", ("0",), "train"),
    ]  # fmt: skip
    assert [dict(one.params) for one in found] == [
        {"expression": "the ship", "is_unique": True}, {"expression": "find it", "is_unique": False},
    ]  # fmt: skip
    picture(tmp_path / "images" / "P0001.png", (512, 512))
    assert geo_r1.read(path, images=tmp_path / "images").images["P0001.png"].width == 512


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"solution": [10, 20, 10, 40]}, "box without area"),
        ({"solution": "[10, 20, 30, 40]"}, "box that is not four numbers"),
        ({"solution": None}, "box that is not four numbers"),
        ({"image": "../P0001.png"}, "image name leads out of its folder"),
        ({"image": ["P0001.png"]}, "image name leads out of its folder"),
        ({"problem": ""}, "no problem, or neither solution nor bbox_list nor mask"),
    ],
)
def test_bad_rows_are_counted(tmp_path, change, reason):
    found = geo_r1.read(whole(tmp_path / "rec.json", [{**REC, **change}, REC, 7]))
    assert found.account.dropped.counts == {reason: 1, "no JSON object": 1} and [one.id for one in found] == ["1"]


def test_gres_with_boxes(tmp_path):
    found = geo_r1.read(lines(tmp_path / "gres.jsonl", GRES, {**GRES, "id": "x", "bbox_list": []}))
    objects = found.images["images/0826.jpg"].objects
    assert objects.hbb_N4.tolist() == [[1, 2, 3, 4], [5, 5, 9, 9]] and set(objects.labels_N) == {"Airport"}
    assert [(one.id, one.asks, one.object_ids) for one in found] == [
        ("EarthReason_0826_0", "res", ("0", "1")), ("x", "res", ()),  # nothing is there
    ]  # fmt: skip
    assert found.questions[0].params == {name: GRES[name] for name in ("mask", "category", "bbox_list")}


def test_gres_with_masks(tmp_path):
    mask_file(tmp_path / "masks" / "0826.png", (20, 10), (2, 3, 6, 7))
    mask_file(tmp_path / "masks" / "none.png", (20, 10), None)
    elsewhere = {**GRES, "mask": "/training/somebody/masks/0826.png", "image": "C:\\data\\0826.jpg"}
    others = [{**GRES, "mask": f"{name}.png"} for name in ("masks/none", "masks/gone", "../masks/0826")]
    rows = [GRES, elsewhere, *others]
    path = lines(tmp_path / "gres.jsonl", *rows)
    found = geo_r1.read(path, masks=tmp_path)
    assert [one.object_ids for one in found] == [("0",), ("0", "1"), (), ("1", "2"), ("1", "2")]
    assert found.images["images/0826.jpg"].objects.kinds_N.tolist() == ["mask", "hbb", "hbb"]
    assert found.images["images/0826.jpg"].objects.geometries_N[0].bounds == (2, 3, 6, 7)
    assert found.account.changed.counts == {
        "path of another machine, its file name kept": 2, "mask file missing, boxes kept instead": 3,
    }  # fmt: skip
    assert (
        geo_r1.read(path, masks=tmp_path / "masks").account.changed.counts["mask file missing, boxes kept instead"] == 4
    )


@pytest.mark.parametrize(
    "boxes, reason",
    [
        ([[1, 2, 1, 4]], "box without area"),  # would become a question for nothing
        ([{}], "box that is not four numbers"),
        ("none", "bbox_list is no list of at most 1000 boxes"),
        ([[1, 2, 3, 4]] * 1_001, "bbox_list is no list of at most 1000 boxes"),
    ],
)
def test_gres_without_usable_boxes(tmp_path, boxes, reason):
    found = geo_r1.read(lines(tmp_path / "gres.jsonl", {**GRES, "bbox_list": boxes}, GRES))
    assert found.account.dropped.counts == {reason: 1} and len(found) == 1


COCO = {
    "images": [{"id": 4, "file_name": "004.jpg", "width": 90, "height": 80}, {"id": 5, "file_name": "005.jpg"}],
    "categories": [{"id": 1, "name": "airplane"}, {"id": 2, "name": "ship"}],
    "annotations": [
        {"id": 7, "image_id": 4, "category_id": 1, "bbox": [10, 20, 5, 5]},
        {"id": 8, "image_id": 4, "category_id": 2, "bbox": [30, 20, 5, 5]},
        {"id": 9, "image_id": 4, "category_id": 1, "bbox": [50, 20, 5, 5]},
        {"id": 10, "image_id": 4, "category_id": 1, "bbox": [50, 20, 0, 5]},
    ],
}


@pytest.mark.parametrize(
    "existing, asked",
    [
        (None, [("4/airplane", ("7", "9")), ("4/ship", ("8",))]),
        ({"4": ["ship"], "5": ["airplane"], "9": ["ship"]}, [("4/ship", ("8",)), ("5/airplane", ())]),
        ({"4": ["ship", "ship", 7], "5": "ship"}, [("4/ship", ("8",))]),
    ],
)
def test_detection_asks_for_classes_that_are_there(tmp_path, existing, asked):
    path = whole(tmp_path / "annotations_test_set.json", COCO)
    if existing is not None:
        whole(tmp_path / geo_r1.EXISTING, existing)
    for place in (tmp_path, path):
        found = geo_r1.read(place)
        assert [(one.id, one.object_ids) for one in found] == asked
        assert {one.asks for one in found} == {"detection"}
        assert found.images["004.jpg"].objects.hbb_N4[0].tolist() == [10, 20, 15, 25]
        assert found.account.kept == 3 and found.account.dropped.total == 1


def test_detection_of_unknown_classes_and_files(tmp_path):
    whole(tmp_path / "annotations.json", COCO)
    whole(tmp_path / geo_r1.EXISTING, {"4": ["dam"]})
    assert geo_r1.read(tmp_path).account.dropped.counts["class that the annotations do not know"] == 1
    whole(tmp_path / geo_r1.EXISTING, ["dam"])
    with pytest.raises(InputError, match="by image id"):
        geo_r1.read(tmp_path)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds none of"):
            geo_r1.read(path)
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(InputError):
        geo_r1.read(tmp_path / "cut.json")


# --- writing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rec.json", "rec.jsonl"])
def test_rec_comes_back(tmp_path, name):
    rows = [REC, {**REC, "solution": [1.5, 2, 3, 4], "is_unique": False, "problem": "find it"}]
    first = geo_r1.read(whole(tmp_path / "a.json", rows))
    account = geo_r1.write(first, tmp_path / name)
    assert account.kept == 2 and not account.dropped.total and not account.changed.total
    assert what(geo_r1.read(tmp_path / name)) == what(first)
    text = (tmp_path / name).read_text()
    assert (json.loads(text) if name == "rec.json" else [json.loads(line) for line in text.splitlines()]) == rows


def test_gres_comes_back(tmp_path):
    rows = [GRES, {**GRES, "id": "b", "bbox_list": []}]
    first = geo_r1.read(lines(tmp_path / "a.jsonl", *rows))
    assert geo_r1.write(first, tmp_path / "b.jsonl").kept == 2
    assert what(geo_r1.read(tmp_path / "b.jsonl")) == what(first)
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == rows
    mixed = Published("ours", first.images, (*first.questions, Asked("c", "images/0826.jpg", "rec", "?")), Account())
    with pytest.raises(InputError, match="write them apart"):
        geo_r1.write(mixed, tmp_path / "c.jsonl")


def test_what_the_files_cannot_hold_is_counted(tmp_path):
    shapes = [shapely.box(0, 0, 4, 3), shapely.Polygon([(0, 0), (4, 0), (0, 4)]), shapely.Point(1, 1)]
    objects = Objects.of(shapes, ["a", "b", "c"], kind=["hbb", "polygon", "point"])
    images = {name: LabelledImage(name, 9, 9, objects) for name in ("a.png", "b.png")}
    asked = [
        Asked(str(n), "a.png", "rec", "it", None, ids) for n, ids in enumerate([("0",), ("1",), ("2",), ("0", "1")])
    ]
    asked.append(Asked("5", "a.png", "caption", "?", "A."))
    account = geo_r1.write(Published("ours", images, tuple(asked), Account()), tmp_path / "a.json")
    assert account.kept == 2 and account.changed.counts == {
        "shape written as its box": 1, "class left out": 2, "not known whether unique, written as not": 2,
    }  # fmt: skip
    assert account.dropped.counts == {
        "expression of 0 areas where one is written": 1, "expression of 2 areas where one is written": 1,
        "question that asks for caption": 1, "image without a question": 1,
    }  # fmt: skip
    assert json.loads((tmp_path / "a.json").read_text())[0]["problem"] == geo_r1.REC_LEAD + "it"
    asked = [Asked("m", "a.png", "res", "where?", None, ("1",))]
    account = geo_r1.write(Published("ours", images, tuple(asked), Account()), tmp_path / "b.jsonl")
    assert account.changed.counts == {"outline left to the mask's file, which is not written": 1}
    (row,) = map(json.loads, (tmp_path / "b.jsonl").read_text().splitlines())
    assert row["bbox_list"] == [[0, 0, 4, 4]] and row["mask"] == "masks/m.png"


@pytest.mark.shared
def test_the_test_lists_of_the_reference_data(golden, tmp_path):
    rows = json.loads(gzip.decompress((golden / "geo-r1" / "rec_testset.json.gz").read_bytes()))
    found = geo_r1.read(whole(tmp_path / "rec_testset.json", rows))
    assert len(found) + found.account.dropped.total == len(rows) and set(found.account.dropped.counts) <= {
        "box without area"
    }
    assert all(one.params["is_unique"] == rows[int(one.id)].get("is_unique") for one in found)
    for name in ("constant", "scored"):
        truth = json.loads((golden / "geo-r1" / f"ovd_{name}_gt.json").read_text())
        read = geo_r1.read(golden / "geo-r1" / f"ovd_{name}_gt.json")
        assert read.account.kept + read.account.dropped.total == len(truth["annotations"])
        asked = {(row["image_id"], row["category_id"]) for row in truth["annotations"]}
        assert 0 < len(read) <= len(asked)
