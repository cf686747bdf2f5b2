"""Geo-R1's few-shot sets by name: one split at a time, pictures inside the files or beside them."""

import json

import pyarrow as pa
import pytest
from tests.data.geo_r1_fs import cell, encoded, encoded_mask, parquet_rows, rec_row, vrsbench_fs
from tests.data.published_1 import lines, mask_file, picture, whole

from georefer.errors import InputError
from georefer.scenes.readers import SOURCES, geo_r1_fs

NAMES = ("vrsbench-fs", "nwpu-fs", "earthreason-fs")


def test_all_three_stand_in_the_table():
    assert set(NAMES) <= set(SOURCES)
    assert [SOURCES[name].holds_pictures for name in NAMES] == [True, False, True]


def test_vrsbench_fs_is_read_split_by_split(tmp_path):
    folder = vrsbench_fs(tmp_path)
    found = geo_r1_fs.read_vrsbench(folder, split="val")
    assert found.name == "VRSBench-FS" and len(found.images) == 2  # of three rows two share a picture
    assert [(q.id, q.asks, q.text, q.params["is_unique"], q.split) for q in found] == [
        ("val_0", "rec", "the ship of 3 at 1", True, "val"),
        ("val_1", "rec", "the plane of 3 at 10", True, "val"),
        ("val_2", "rec", "the ship of 4 at 4", False, "val"),
    ]
    image = found.images[found.questions[1].image]
    (thing,) = image.objects.with_ids(found.questions[1].object_ids)
    assert (
        (image.width, image.height) == (64, 48) and thing.label == "plane" and thing.geometry.bounds == (10, 10, 30, 30)
    )
    assert found.questions[0].image == found.questions[1].image != found.questions[2].image
    one, ten = (geo_r1_fs.read_vrsbench(folder, split=f"train_{n}shot") for n in (1, 10))
    assert set(one.images) < set(ten.images)  # the same picture has the same name in every split
    assert len(geo_r1_fs.read_vrsbench(folder / "data" / "val-00000-of-00001.parquet")) == 3


@pytest.mark.parametrize("split", [None, "train", "test"])
def test_no_split_is_taken_for_another(tmp_path, split):
    with pytest.raises(InputError, match="has the splits train_10shot, train_1shot, val where one is read at a time"):
        geo_r1_fs.read_vrsbench(vrsbench_fs(tmp_path), split=split)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"answer": [1.0, 2.0, 3.0]}, "box that is not four numbers"),
        ({"answer": [1.0, 2.0, 1.0, 5.0]}, "box without area"),
        ({"answer": [float("nan"), 2.0, 1.0, 5.0]}, "box that is not four numbers"),
        ({"answer": None}, "box that is not four numbers"),
        ({"problem": None}, "no problem, or neither solution nor bbox_list nor mask"),
        ({"images": []}, "row without a readable picture"),
        ({"images": None}, "row without a readable picture"),
        ({"images": [cell(None, "a.png")]}, "row without a readable picture"),
        ({"images": [cell(b"no picture at all")]}, "row without a readable picture"),
    ],
)
def test_bad_rows_are_counted(tmp_path, change, reason):
    rows = [{**rec_row(1, (1, 1, 9, 9)), **change}, rec_row(2, (1, 1, 9, 9))]
    found = geo_r1_fs.read_vrsbench(parquet_rows(tmp_path / "val-00000-of-00001.parquet", rows))
    assert found.account.dropped.counts == {reason: 1} and [q.id for q in found] == ["val_1"]


def test_is_unique_as_a_truth_value(tmp_path):
    rows = [{**rec_row(n, (1, 1, 9, 9)), "is_unique": flag} for n, flag in enumerate((True, False, None))]
    found = geo_r1_fs.read_vrsbench(parquet_rows(tmp_path / "val.parquet", rows, {"is_unique": pa.bool_()}))
    assert [q.params.get("is_unique") for q in found] == [True, False, None]


def gres(seed, boxes, mask=None, **more):
    row = {"image": cell(encoded(seed)), "problem": f"where of {seed}?", "category": "Airport", "bbox_list": boxes}
    return {**row, **({} if mask is None else {"mask": cell(mask)}), **more}


def test_earthreason_fs_with_masks_inside(tmp_path):
    rows = [
        gres(1, [[2.0, 3.0, 6.0, 7.0]], encoded_mask((2, 3, 6, 7), (20, 20, 30, 30)), id="EarthReason_0826_0"),
        gres(2, [], encoded_mask(), id="b"),  # nothing is there
        gres(3, [[1.0, 1.0, 5.0, 5.0]], encoded_mask(size=(9, 9)), id="c"),  # of another size: the boxes count
    ]
    found = geo_r1_fs.read_earthreason(parquet_rows(tmp_path / "data" / "test-00000-of-00001.parquet", rows).parent)
    assert [(q.id, q.asks, len(q.object_ids), q.params["category"]) for q in found] == [
        ("EarthReason_0826_0", "res", 1, "Airport"), ("b", "res", 0, "Airport"), ("c", "res", 1, "Airport"),
    ]  # fmt: skip
    first = found.images[found.questions[0].image].objects
    assert first.kinds_N.tolist() == ["mask"] and first.geometries_N[0].area == 4 * 4 + 10 * 10
    assert found.account.changed.counts == {"mask of another size than its image, boxes kept instead": 1}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.list_(pa.list_(pa.float64())), [[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 9.0, 9.0]], 2),
        (pa.list_(pa.float64()), [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 9.0, 9.0], 2),  # flat
        (pa.string(), "[[1, 2, 3, 4], [5, 5, 9, 9]]", 2),
        (pa.string(), '[{"bbox_2d": [1, 2, 3, 4], "keypoint1": [2, 3], "keypoint2": [2, 3]}]', 1),
        (pa.string(), '{"bbox_2d": [1, 2, 3, 4]}', 1),
        (pa.string(), "[]", 0),
        (pa.list_(pa.float64()), [], 0),
        (pa.string(), "None", None),  # no list: the row is dropped, not taken for nothing
        (pa.list_(pa.float64()), [1.0, 2.0, 3.0, 4.0, 5.0], 1),  # the rest is no box
        (pa.string(), "[" * 100_000, None),
    ],
)
def test_earthreason_fs_with_boxes_in_every_form(tmp_path, kind, value, expected):
    rows = [gres(1, None, answer=value), gres(2, None, answer=value)]
    rows = [{name: v for name, v in row.items() if name != "bbox_list"} for row in rows]
    path = parquet_rows(tmp_path / "val-00000-of-00001.parquet", rows, {"answer": kind})
    if expected is None:
        with pytest.raises(InputError, match="bbox_list is no list"):
            geo_r1_fs.read_earthreason(path)
        return
    assert [len(q.object_ids) for q in geo_r1_fs.read_earthreason(path)] == [expected, expected]


def test_other_columns_are_named(tmp_path):
    path = parquet_rows(tmp_path / "a.parquet", [{"image": cell(encoded(1)), "problem": "?", "id": "x"}])
    with pytest.raises(InputError, match="has the columns image, problem, id where"):
        geo_r1_fs.read_earthreason(path)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="no readable Parquet file"):
        geo_r1_fs.read_earthreason(tmp_path / "b.parquet")


def test_vrsbench_fs_in_json(tmp_path):
    row = {"image": "P1.png", "problem": "it", "solution": [1, 2, 9, 9], "is_unique": False, "category": "ship"}
    whole(tmp_path / "rec_train_1shot.json", [row])
    whole(tmp_path / "rec_train_10shot.json", [row, {**row, "problem": "that"}])
    picture(tmp_path / "images" / "P1.png", (64, 48))
    assert len(geo_r1_fs.read_vrsbench(tmp_path, tmp_path / "images", "train_10shot")) == 2
    (one,) = geo_r1_fs.read_vrsbench(tmp_path, split="train_1shot")
    assert one.params["expression"] == "it" and one.split == "train_1shot"
    for split in (None, "val"):
        with pytest.raises(InputError, match=r"holds rec_train_10shot\.json, rec_train_1shot\.json where one file"):
            geo_r1_fs.read_vrsbench(tmp_path, split=split)


@pytest.mark.parametrize("place", ["", "images/"])
@pytest.mark.parametrize("folder", ["masks", "labels"])
def test_masks_of_json_lines_are_found_beside_file_or_images(tmp_path, place, folder):
    mask_file(tmp_path / place / folder / "0826.png", (20, 10), (2, 3, 6, 7))
    picture(tmp_path / "images" / "0826.png", (20, 10))
    row = {"id": "a", "image": "/data/test/images/0826.png", "mask": "/data/test/labels/0826.png", "problem": "where?",
           "category": "Airport", "bbox_list": [[0, 0, 20, 10]]}  # fmt: skip
    path = lines(tmp_path / "gres.jsonl", row, {**row, "id": "b", "mask": "masks/0826.png"})
    found = geo_r1_fs.read_earthreason(path, tmp_path / "images")
    objects = found.images["0826.png"].objects
    assert [q.object_ids for q in found] == [("0",), ("0",)] and objects.geometries_N[0].bounds == (2, 3, 6, 7)


def test_nwpu_fs(tmp_path):
    coco = {
        "images": [{"id": 4, "file_name": "004.jpg", "width": 90, "height": 80}],
        "categories": [{"id": 1, "name": "airplane"}],
        "annotations": [{"id": 7, "image_id": 4, "category_id": 1, "bbox": [10, 20, 5, 5]}],
    }
    whole(tmp_path / "annotations_test_set_new.json", coco)
    whole(tmp_path / "nwpu_exist_cat.json", {"4": ["airplane"]})
    for split in (None, "test"):
        (one,) = (found := geo_r1_fs.read_nwpu(tmp_path, split=split))
        assert found.name == "NWPU-FS" and one.asks == "detection" and one.params["class"] == "airplane"
    whole(tmp_path / "annotations_train_10shot.json", coco)
    with pytest.raises(InputError, match="where one file is expected"):
        geo_r1_fs.read_nwpu(tmp_path)
    assert geo_r1_fs.read_nwpu(tmp_path, split="train_10shot").questions[0].split == "train_10shot"
    with pytest.raises(InputError, match="of the split val is expected"):
        geo_r1_fs.read_nwpu(tmp_path, split="val")


def test_damaged_files_end_in_one_sentence_or_in_rows(tmp_path):
    whole_bytes = parquet_rows(tmp_path / "a.parquet", [rec_row(n, (1, 1, 9, 9)) for n in range(3)]).read_bytes()
    for number, place in enumerate(range(0, len(whole_bytes), max(1, len(whole_bytes) // 40))):
        broken = bytearray(whole_bytes)
        broken[place] ^= 0xFF
        path = tmp_path / f"broken-{number}.parquet"
        path.write_bytes(bytes(broken) if number % 2 else whole_bytes[:place])
        try:
            assert len(geo_r1_fs.read_vrsbench(path)) <= 3
        except InputError as error:
            assert str(path) in str(error)
    (tmp_path / "junk.json").write_text(json.dumps([{"image": 7, "problem": [], "solution": {}}] * 3))
    with pytest.raises(InputError, match="holds no usable row"):
        geo_r1_fs.read_vrsbench(tmp_path / "junk.json")
