"""GroundSet: two scales, tasks named by files, JSON keys that nobody documents, and Parquet that is not trusted."""

import json

import numpy as np
import pytest
import shapely
from tests.data.published_1 import lines, parquet, picture, what, whole

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers import groundset, groundset_parquet
from georefer.scenes.readers.base import Asked, Published

BOX = {"id": 17, "image": "p.png", "question": "All churches?", "answer": "[0.25, 0.5, 0.5, 1.0]", "class": "Church"}
TRAIN = [
    {"image": "p.png", "human": "Detect all churches.", "gpt": "[250, 500, 500, 1000], [0, 0, 10, 10]"},
    {"image": "p.png", "human": "Outline the pond.", "gpt": "[0, 0, 100, 0, 100, 100]"},
    {"image": "p.png", "human": "Find ['Church', \"Harbor master's office\"]", "gpt": "Church: [0, 0, 10, 10]"},
    {"image": "p.png", "human": "Is there a quarry?", "gpt": "Yes."},
    {"image": "p.png", "human": "What is at [250, 500, 500, 1000]?", "gpt": "Church"},
    {"image": "p.png", "human": "Where is the dam?", "gpt": "None"},
    {"image": None, "human": "What is a dam?", "gpt": "A wall across a river."},
]


def one(path, row, task="detection", **options):
    found = groundset.read(lines(path / f"GroundSet_EVAL_{task}.jsonl", row), **options)
    return found, found.questions[0]


def test_test_files_speak_of_parts_of_the_side(tmp_path):
    found, asked = one(tmp_path, {**BOX, "noise": True})
    image = found.images["p.png"]
    (church,) = image.objects
    assert church.geometry.bounds == (168, 336, 336, 672) and (church.label, church.kind) == ("Church", "hbb")
    assert (image.width, image.height, image.attributes) == (672, 672, {"size": "nominal"})
    assert asked.params == {"scale": 1, "task": "detection", "class": "Church", "noise": True}
    assert (asked.id, asked.asks, asked.text, asked.answer, asked.split, asked.object_ids) == (
        "17", "detection", BOX["question"], BOX["answer"], "test", (church.id,),
    )  # fmt: skip


def test_sizes_come_from_pictures_where_they_are(tmp_path):
    picture(tmp_path / "pictures" / "p.png", (400, 200))
    found, _ = one(tmp_path, BOX, images=tmp_path / "pictures")
    assert found.images["p.png"].objects.hbb_N4.tolist() == [[100, 100, 200, 200]]
    assert found.images["p.png"].attributes == {}


@pytest.mark.parametrize("task, asks", groundset.TASKS.items())
def test_the_task_stands_in_the_files_name(tmp_path, task, asks):
    assert one(tmp_path, {**BOX, "id": "a-1"}, task)[1].asks == asks
    assert one(tmp_path, {**BOX, "id": "a-1"}, task)[1].id == "a-1"


def test_classification_asks_about_a_region(tmp_path):
    row = {"id": 1, "image": "p.png", "question": "What is [0, 0.5, 0.5, 0.5, 0.5, 1]?", "answer": "Pond"}
    found, asked = one(tmp_path, row, "classification")
    (pond,) = found.images["p.png"].objects
    assert (pond.label, pond.kind, pond.geometry.area) == ("Pond", "polygon", 336**2 / 2)
    assert asked.params["region"] == pond.id and asked.object_ids == ()


def test_phrases_name_the_class_of_each_box(tmp_path):
    row = {**BOX, "question": "Find ['Industrial, agricultural zone', 'Harbor master's office', 'Zone']", "class": None,
           "answer": "Harbor master's office: [0, 0, 0.1, 0.1], [0.2, 0, 0.3, 0.1]; industrial, agricultural zone"
                     " [0.5, 0.5, 0.6, 0.6]"}  # fmt: skip
    found, asked = one(tmp_path, row, "phrase")
    assert asked.params["classes"] == ["Industrial, agricultural zone", "Harbor master's office", "Zone"]
    labels = ["Harbor master's office", "Harbor master's office", "Industrial, agricultural zone"]
    assert found.images["p.png"].objects.labels_N.tolist() == labels


def test_train_files_speak_of_thousandths_and_name_no_task(tmp_path):
    for path in (whole(tmp_path / "GroundSet_TRAIN_it.json", TRAIN), lines(tmp_path / "GroundSet_TRAIN.jsonl", *TRAIN)):
        found = groundset.read(path)
        asks = [question.asks for question in found]
        assert asks == ["detection", "segment", "phrase", "presence", "classification", "detection", "chat"]
        assert {question.params["task"] for question in found} == {"guessed"}
        assert {question.split for question in found} == {"train"}
        assert found.questions[-1].image == "" and list(found.images) == ["p.png"]
        assert found.questions[4].params["region"] == "4" and found.questions[5].object_ids == ()
        labels = ["object", "object", "object", "Church", "Church"]
        assert found.images["p.png"].objects.labels_N.tolist() == labels
        np.testing.assert_allclose(found.images["p.png"].objects.hbb_N4[0], [168, 336, 336, 672])


@pytest.mark.parametrize(
    "answer, kept, reason",
    [
        ("[0.1, 0.1, 0.2]", 0, None),  # three numbers: no list of a shape
        ("[0.1, 0.1, 0.2, 0.2, 0.3]", 0, "odd count of numbers"),
        ("[0.1, 0.1, 0.2, 1.2]", 0, "numbers outside 0 to 1"),
        ("[-0.1, 0.1, 0.2, 0.2]", 0, "numbers outside 0 to 1"),
        ("[0.1, 0.1, 0.1, 0.2]", 0, "box without area"),
        ("[0.2, 0.2, 0.1, 0.1]", 1, None),
        ("[0.1, 0.1, 0.2, 0.2, 0.3, 0.3]", 0, "outline without area"),
        ("None", 0, None),
        ("[" * 50_000 + "0.1,", 0, None),
        ("[0.1" + ", 0.1" * 100_000, 0, None),
        ("[0, 0, 0.5, 0.5] " * 2_500, 1, "more than 2000 lists in one text"),
    ],
)
def test_bad_shapes_are_counted(tmp_path, answer, kept, reason):
    found, asked = one(tmp_path, {**BOX, "answer": answer})
    assert found.account.kept == kept and len(asked.object_ids) == kept
    assert list(found.account.dropped.counts) == ([] if reason is None else [reason])


def test_bad_rows_are_counted(tmp_path):
    path = tmp_path / "GroundSet_EVAL_vqa.jsonl"
    good = {"id": 1, "image": "a.png", "question": "A pond?", "answer": "no"}
    rows = [good, good, {**good, "image": "../a.png"}, {**good, "question": 7}, "{", "[]", {**good, "id": None}]
    found = groundset.read(lines(path, *rows))
    assert [question.id for question in found] == ["1", "1", "4"]
    assert found.account.dropped.counts == {
        "image name leads out of its folder": 1, "no question or no answer": 1, "line that is no JSON": 1,
        "no JSON object": 1,
    }  # fmt: skip
    assert found.account.changed.counts == {"id used twice in one file, kept": 1}
    with pytest.raises(InputError, match="no usable row"):
        groundset.read(lines(path, {"image": "a.png"}))
    with pytest.raises(InputError, match="expected; rename"):
        groundset.read(lines(tmp_path / "GroundSet_EVAL_test.jsonl", good))


def dataset(folder):
    lines(folder / "instructions" / "test" / "GroundSet_EVAL_detection.jsonl", BOX)
    lines(folder / "instructions" / "test" / "GroundSet_EVAL_vqa.jsonl", {**BOX, "answer": "yes"})
    whole(folder / "instructions" / "train" / "GroundSet_TRAIN_it.json", TRAIN)
    parquet(folder / "finetuning" / "test-00000-of-00020.parquet", {"q.png": []})
    parquet(folder / "finetuning" / "train-00000-of-00063.parquet", {"r.png": []})
    return folder


@pytest.mark.parametrize(
    "split, questions, images",
    [("test", 2, {"p.png", "q.png"}), ("train", 7, {"p.png", "r.png"}), (None, 9, {"p.png", "q.png", "r.png"})],
)
def test_folders_hold_both_splits(tmp_path, split, questions, images):
    found = groundset.read(dataset(tmp_path), split=split)
    assert len(found) == questions and set(found.images) == images


def test_folders_without_files_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, split in ((tmp_path / "empty", None), (dataset(tmp_path / "full"), "val"), (tmp_path / "nowhere", None)):
        with pytest.raises(InputError, match="holds no GroundSet file"):
            groundset.read(path, split=split)


# --- writing --------------------------------------------------------------------------------------------------


def test_train_files_come_back(tmp_path):
    first = groundset.read(whole(tmp_path / "GroundSet_TRAIN_it.json", TRAIN))
    account = groundset.write(first, tmp_path / "again_TRAIN.json")
    assert account.kept == 7 and not account.dropped.total and not account.changed.total
    assert what(groundset.read(tmp_path / "again_TRAIN.json")) == what(first)
    assert json.loads((tmp_path / "again_TRAIN.json").read_text()) == TRAIN


def test_test_files_come_back(tmp_path):
    rows = {
        "detection": [BOX, {**BOX, "id": "x", "answer": "None", "noise": False}],
        "classification": [{**BOX, "id": 3, "question": "[0.1, 0.2, 0.3, 0.4]?", "answer": "Dam"}],
        "classification_free": [{**BOX, "id": "007", "question": "[0.1, 0.2, 0.3, 0.4]?", "answer": "a dam"}],
        "caption": [{"id": 9, "image": "p.png", "question": "Describe.", "answer": "A pond. A road."}],
    }
    for task, some in rows.items():
        lines(tmp_path / "a" / f"GroundSet_EVAL_{task}.jsonl", *some)
    first = groundset.read(tmp_path / "a")
    assert groundset.write(first, tmp_path / "b").kept == 5
    assert what(groundset.read(tmp_path / "b")) == what(first)
    for task, some in rows.items():
        text = (tmp_path / "b" / f"GroundSet_EVAL_{task}.jsonl").read_text()
        assert [json.loads(line) for line in text.splitlines()] == some
    with pytest.raises(InputError, match="name a folder"):
        groundset.write(first, tmp_path / "GroundSet_EVAL_rec.jsonl")


def test_numbers_are_brought_to_the_other_scale(tmp_path):
    first, _ = one(tmp_path, {**BOX, "question": "Near [0.3, 0.1, 0.35, 0.15]?"})
    account = groundset.write(first, tmp_path / "TRAIN.json")
    assert account.changed.counts == {"id, task, class left out": 1}
    (row,) = json.loads((tmp_path / "TRAIN.json").read_text())
    assert row["gpt"] == "[250, 500, 500, 1000]" and row["human"] == "Near [300, 100, 350, 150]?"
    groundset.write(groundset.read(tmp_path / "TRAIN.json"), tmp_path / "GroundSet_EVAL_detection.jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "GroundSet_EVAL_detection.jsonl").read_text().splitlines()]
    # of equal width: the published replacement of 0.1000 leaves 0.1500 alone
    assert row["question"] == "Near [0.3000, 0.1000, 0.3500, 0.1500]?"
    assert row["answer"] == "[0.2500, 0.5000, 0.5000, 1.0000]"


def test_objects_of_our_own_become_answers(tmp_path):
    shapes = [shapely.box(0, 0, 100, 50), shapely.Polygon([(0, 0), (100, 0), (50, 50)]),
              shapely.box(0, 0, 9, 9).difference(shapely.box(2, 2, 3, 3))]  # fmt: skip
    objects = Objects.of(shapes, ["Dam"] * 3, kind=["hbb", "polygon", "polygon"])
    image = LabelledImage("a.png", 200, 100, objects)
    asked = [
        Asked("1", "a.png", "detection", "All dams?", None, ("0", "1", "2"), {"class": "Dam"}),
        Asked("2", "a.png", "detection", "All ponds?", None),
        Asked("3", "a.png", "choice", "Which?", "A"),
    ]
    ours = Published("ours", {"a.png": image, "b.png": image}, tuple(asked), Account())
    account = groundset.write(ours, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "GroundSet_EVAL_detection.jsonl").read_text().splitlines()]
    assert rows[0]["answer"] == "[0.0000, 0.0000, 0.5000, 0.5000], [0.0000, 0.0000, 0.5000, 0.0000, 0.2500, 0.5000]"
    assert rows[1]["answer"] == "None" and len(rows) == account.kept == 2
    assert account.dropped.counts == {
        "image without a question": 1,
        "question of no task of GroundSet's tests": 1,
    }
    assert account.changed.counts == {"a polygon that is neither a box nor one ring left out": 1}


# --- Parquet --------------------------------------------------------------------------------------------------

RING = [[10, 10], [20, 10], [20, 30]]
QUAD = [[1, 1], [9, 1], [9, 5], [1, 5]]
FLAT = [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize(
    "document, kind, bounds",
    [
        ({"objects": [{"class": "Dam", "hbb": [1, 2, 3, 4]}]}, "hbb", (1, 2, 3, 4)),
        ([{"label": " Dam ", "bbox": [[1, 2], [3, 4]]}], "hbb", (1, 2, 3, 4)),  # pairs, a bare list
        ({"annotations": [{"category": "Dam", "segmentation": [[1, 1, 2, 1, 2, 3]]}]}, "polygon", (1, 1, 2, 3)),
        ({"objects": [{"class": "Dam", "polygon": RING, "bbox": [1, 2, 3, 4]}]}, "polygon", (10, 10, 20, 30)),
        ({"objects": [{"class": "Dam", "obb": QUAD, "hbb": [0, 0, 9, 9]}]}, "obb", (1, 1, 9, 5)),
        ({"objects": [{"class": "Dam", "line": [[1, 1], [9, 9]]}]}, "line", (1, 1, 9, 9)),
        ({"features": [{"properties": {"class": "Dam"}, "geometry": {"type": "Polygon", "coordinates": [RING]}}]},
         "polygon", (10, 10, 20, 30)),
        ({"features": [{"properties": {"class": "Dam"}, "geometry": {"type": "LineString", "coordinates": RING}}]},
         "line", (10, 10, 20, 30)),
        ({"objects": [{"class": "Dam", "hbb": [0, 0, 0.5, 1.0]}]}, "hbb", (0, 0, 336, 672)),  # parts of the side
        ({"objects": [{"class": "Dam", "polygon": [[1, 1], [2, 2]]}]}, "hbb", (1, 1, 2, 2)),
        ({"objects": [{"class": "Dam", "polygon": FLAT, "hbb": [1, 2, 3, 4]}]}, "hbb", (1, 2, 3, 4)),
    ],
)  # fmt: skip
def test_json_keys_are_understood_by_their_aliases(tmp_path, document, kind, bounds):
    found = groundset.read(parquet(tmp_path / "a.parquet", {"p.png": document}))
    (thing,) = found.images["p.png"].objects
    assert (thing.label, thing.kind, thing.geometry.bounds) == ("Dam", kind, bounds)


def test_holes_and_boxes_beside_an_outline(tmp_path):
    document = {"objects": [{"class": "Dam", "bbox": [1, 2, 3, 4], "polygon": [RING, [[12, 11], [13, 11], [13, 12]]]}]}
    found = groundset.read(parquet(tmp_path / "a.parquet", {"p.png": document}))
    (thing,) = found.images["p.png"].objects
    assert thing.attributes == {"hbb": [1, 2, 3, 4]} and thing.geometry.area == 100
    assert found.account.changed.counts == {"holes and further parts left out": 1}


HOLED = [[[0, 0], [20, 0], [20, 20], [0, 20]], [[5, 5], [5, 9], [9, 9], [9, 5]]]


@pytest.mark.parametrize(
    "outline, area",
    [
        # GeoJSON says holes and parts, which lists of rings do not
        ({"type": "Polygon", "coordinates": HOLED}, 384),
        ({"type": "MultiPolygon", "coordinates": [HOLED, [[[30, 0], [40, 0], [40, 10]]]]}, 434),
        # one ring is a plain outline
        ({"type": "Polygon", "coordinates": HOLED[:1]}, 400),
        # a bad hole: the outer ring is what is left, and the loss is counted
        ({"type": "Polygon", "coordinates": [HOLED[0], [[5, 5], [5, 9]]]}, 400),
        ({"type": "Polygon", "coordinates": [HOLED[0], "hole"]}, 400),
    ],
)
def test_outlines_of_geojson_are_whole(tmp_path, outline, area):
    document = {"objects": [{"class": "Dam", "polygon": outline}]}
    found = groundset.read(parquet(tmp_path / "a.parquet", {"p.png": document}))
    (thing,) = found.images["p.png"].objects
    assert thing.geometry.area == area and thing.kind == "polygon"
    whole = outline["coordinates"] == HOLED or outline["type"] == "MultiPolygon" or len(outline["coordinates"]) == 1
    assert found.account.changed.counts == ({} if whole else {"holes and further parts left out": 1})


@pytest.mark.parametrize(
    "outline",
    [
        {"type": "Polygon", "coordinates": [[1, 2]]},
        {"type": "Polygon", "coordinates": "x"},
        {"type": "MultiPolygon", "coordinates": [[[[1e999, 2], [3, 4], [5, 6]]]]},
        {"type": "MultiPolygon", "coordinates": [[[[1, 1], [2, 2], [3, 3]]]]},
        {"type": ["Polygon"], "coordinates": {}},
    ],
)
def test_what_is_no_outline_is_dropped(tmp_path, outline):
    good = {"class": "Dam", "hbb": [1, 2, 3, 4]}
    document = {"objects": [good, {"class": "Dam", "polygon": outline}]}
    found = groundset.read(parquet(tmp_path / "a.parquet", {"p.png": document}))
    assert len(found.images["p.png"].objects) == 1 and found.account.dropped.total == 1


def test_what_our_own_files_say_beside_the_objects(tmp_path):
    deep: list = []
    for _ in range(200):
        deep = [deep]
    things = [
        {"id": 7, "class": "Dam", "hbb": [0.25, 0.5, 0.75, 1], "attributes": {"height_m": 3}},
        {"id": True, "class": "Dam", "hbb": [0, 0, 1, 1], "attributes": "high"},
        {"id": "7", "class": "Dam", "hbb": [0, 0, 0.5, 1], "attributes": {"deep": deep}},
    ]
    told = {"width": 40, "height": 30, "coordinates": "pixels", "crs": "EPSG:2154", "scene": "s", "provenance": deep}
    found = groundset.read(parquet(tmp_path / "a.parquet", {"p.png": {**told, "objects": things}}))
    image = found.images["p.png"]
    # numbers below 1 are pixels here, since the file says so
    assert image.objects.hbb_N4.tolist() == [[0.25, 0.5, 0.75, 1], [0, 0, 1, 1], [0, 0, 0.5, 1]]
    assert image.objects.ids_N[0] == "7" and len(set(image.objects.ids_N)) == 3
    assert list(image.objects.attributes_N) == [{"height_m": 3}, {}, {}]
    assert (image.width, image.height, image.attributes) == (40, 30, {"crs": "EPSG:2154", "scene": "s"})
    assert found.account.changed.counts == {"id used twice in one image, replaced": 1}


def test_unknown_keys_are_refused_or_named(tmp_path):
    path = parquet(tmp_path / "a.parquet", {"p.png": {"objets": [{"nature": "Dam", "emprise": [1, 2, 3, 4]}]}})
    with pytest.raises(InputError, match=r"keys objets where .*aliases"):
        groundset.read(path)
    aliases = {"objects": ["objets"], "label": ["nature"], "hbb": ["emprise"]}
    assert groundset.read(path, aliases=aliases).images["p.png"].objects.hbb_N4.tolist() == [[1, 2, 3, 4]]


def test_bad_cells_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(groundset_parquet, "MAX_CELL_BYTES", 10_000)
    good = {
        "objects": [{"class": "Dam", "hbb": [1, 2, 3, 4]}, 7, {"class": "Dam"}, {"class": "Dam", "hbb": [1, 2, 1, 4]}]
    }
    cells = {"p.png": good, "a": "{", "b": "[" * 9_000, "c": "[" + "1," * 6_000 + "1]", "d": None, "e": {"objects": 3},
             "../f": [], "g": "7", "h": '[{"class": "Dam", "hbb": [1, 2, ' + "9" * 5_000 + ", 3]}]"}  # fmt: skip
    found = groundset.read(parquet(tmp_path / "a.parquet", cells))
    assert found.account.kept == 1
    assert found.account.dropped.counts == {
        "no JSON object": 1, "object without a class or a shape": 2, "box without area": 1, "json that is no JSON": 2,
        "json missing or over 10,000 bytes": 2, "json without a list of objects": 2,
        "image name leads out of its folder": 1,
    }  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"compression": "zstd", "row_group_size": 3}])
def test_one_long_cell_said_often_costs_nothing(tmp_path, options):
    long = json.dumps([{"class": "Dam", "hbb": [1, 2, 3, 4], "note": "x" * (5 << 20)}])
    cells = {"p.png": [{"class": "Dam", "hbb": [1, 2, 3, 4]}]} | {f"{n}.png": long for n in range(6)}
    found = groundset.read(parquet(tmp_path / "a.parquet", cells, **options))
    assert found.account.dropped.counts == {"json missing or over 4,194,304 bytes": 6} and list(found.images) == [
        "p.png"
    ]


def test_columns_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(groundset_parquet, "MAX_GROUP_BYTES", 100_000)
    path = parquet(tmp_path / "a.parquet", {"p.png": " " * 200_000}, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match="unpacks to"):
        groundset.read(path)


def test_what_is_no_parquet_of_this_kind_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"\x00" * 100 + b"PAR1")
    pq.write_table(pa.table({"file_name": ["a"]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"file_name": ["a"], "json": [7]}), tmp_path / "c.parquet")
    whole = parquet(tmp_path / "d.parquet", {f"{n}.png": [{"class": "D", "hbb": [1, 2, 3, n]}] for n in range(50)})
    data = bytearray(whole.read_bytes())
    data[100:400] = bytes(300)
    whole.write_bytes(bytes(data))
    for name in "abcd":
        with pytest.raises(InputError):
            groundset.read(tmp_path / f"{name}.parquet")


def test_texts_made_to_be_slow_are_read_in_bounded_work(tmp_path):
    names = ", ".join(f"'{n}'" for n in range(2_000))
    rows = [
        {**BOX, "question": f"['{names[1:-1]}']", "answer": "x" * 1_000_000 + "[0, 0, 0.5, 0.5]"},
        {**BOX, "question": "['" * 50_000, "answer": "[1, 1, 1, 1, " * 50_000},
        {**BOX, "question": "['a', 'b" * 50_000, "answer": "[" + "0." * 200_000},
    ]
    found = groundset.read(lines(tmp_path / "GroundSet_EVAL_phrase.jsonl", *rows))
    assert [len(question.object_ids) for question in found] == [0 if n else 1 for n in range(3)]
    assert len(found.questions[0].params.get("classes", [])) <= groundset.MAX_NAMES
