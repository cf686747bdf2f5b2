"""VRSBench: corners as parts of the side, boxes of DIOR and rotated ones of DOTA, lists rounded to hundredths."""

import json

import pytest
import shapely
from tests.data.published_1 import lines, picture, what, whole

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers import vrsbench
from georefer.scenes.readers.base import Asked, Published

LEVEL = [0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.25, 0.75]
TURNED = [0.5, 0.25, 0.75, 0.5, 0.5, 0.75, 0.25, 0.5]
SHIP = {"obj_id": 0, "obj_cls": "ship", "referring_sentence": "The ship at the left.", "obj_corner": LEVEL,
        "obj_coord": [0.25, 0.5, 0.5, 0.75], "is_unique": True, "obj_position": "middle-left", "obj_rel_position": "",
        "obj_size": "small", "obj_rel_size": "", "flag": 1}  # fmt: skip
PATCH = {"image": "P0003_0002.png", "caption": "Ships in a harbor.",
         "objects": [SHIP, {**SHIP, "obj_id": 3, "obj_corner": TURNED}],
         "qa_pairs": [{"ques_id": 0, "question": "Any ship?", "type": "object existence", "answer": "Yes"},
                      {"ques_id": 1, "question": "How many?", "type": "object quantity", "answer": 2}]}  # fmt: skip
ROW = {"image_id": "P0003_0002.png", "question": "The ship.", "ground_truth": "{<25><50><50><75>}",
       "dataset": "RSBench", "question_id": 4, "type": "ref", "unique": False, "obj_corner": LEVEL,
       "obj_cls": "ship", "obj_ids": [0], "size_group": "small"}  # fmt: skip


def patch(folder, change=None, name="a.json", **options):
    return vrsbench.read(whole(folder / name, {**PATCH, **(change or {})}), **options)


def test_a_patch(tmp_path):
    found = patch(tmp_path)
    image = found.images["P0003_0002.png"]
    level, turned = image.objects
    assert (image.width, image.height, image.attributes) == (512, 512, {"source": "DOTA", "size": "nominal"})
    assert (level.kind, level.geometry.bounds) == ("obb", (128, 256, 256, 384))
    assert (turned.id, turned.kind, turned.geometry.bounds) == ("3", "obb", (128, 128, 384, 384))
    assert level.attributes == {name: SHIP[name] for name in vrsbench.SAID}
    asks = [(one.asks, one.text, one.answer, one.object_ids) for one in found]
    assert asks == [
        ("rec", "The ship at the left.", None, ("0",)), ("rec", "The ship at the left.", None, ("3",)),
        ("caption", vrsbench.CAPTION, "Ships in a harbor.", ()), ("vqa", "Any ship?", "Yes", ()),
        ("vqa", "How many?", "2", ()),
    ]  # fmt: skip
    assert found.questions[0].params == {"expression": SHIP["referring_sentence"], "class": "ship", "is_unique": True}
    assert found.questions[3].params == {"type": "object existence", "ques_id": 0}


@pytest.mark.parametrize(
    "name, corners, kind",
    [
        ("00012_0003.png", LEVEL, "hbb"),  # DIOR's objects are boxes, whatever they are called
        ("00012_0003.png", TURNED, "obb"),
        ("P0003_0002.png", LEVEL, "obb"),
    ],
)
def test_boxes_of_dior_are_horizontal(tmp_path, name, corners, kind):
    found = patch(tmp_path, {"image": name, "objects": [{**SHIP, "obj_corner": corners}]})
    assert found.images[name].objects.kinds_N.tolist() == [kind]
    assert found.images[name].attributes["source"] == ("DOTA" if name[0] == "P" else "DIOR")


def test_sizes_come_from_pictures(tmp_path):
    picture(tmp_path / "pictures" / "P0003_0002.png", (100, 200))
    found = patch(tmp_path, images=tmp_path / "pictures")
    assert found.images["P0003_0002.png"].objects.hbb_N4[0].tolist() == [25, 100, 50, 150]


@pytest.mark.parametrize(
    "change, kept, dropped, changed",
    [
        ({"obj_corner": None}, 1, [], ["no corners with an area, box kept instead"]),
        ({"obj_corner": [0.5] * 8}, 1, [], ["no corners with an area, box kept instead"]),
        ({"obj_corner": [0.5] * 8, "obj_coord": None}, 0, ["no corners with an area"], []),
        ({"obj_corner": "?", "obj_coord": [0.5, 0.5, 0.5, 0.5]}, 0, ["box without area"], []),
        ({"obj_corner": [-0.1, 0, 1.2, 0, 1.2, 1, -0.1, 1]}, 1, [], []),  # over the edge, not cut
        ({"obj_corner": LEVEL[6:] + LEVEL[4:6] + LEVEL[2:4] + LEVEL[:2]}, 1, [], ["corners ran anticlockwise, turned"]),
        ({"obj_corner": [str(v) for v in LEVEL], "obj_id": "x"}, 1, [], []),
        ({"obj_cls": None, "referring_sentence": "", "flag": float("nan")}, 1, [], []),
    ],
)
def test_objects_that_are_not_as_they_should_be(tmp_path, change, kept, dropped, changed):
    found = patch(tmp_path, {"objects": [{**SHIP, **change}]})
    assert found.account.kept == kept
    assert list(found.account.dropped.counts) == dropped and list(found.account.changed.counts) == changed


def test_bad_patches_are_counted(tmp_path):
    whole(tmp_path / "Annotations_val" / "good.json", PATCH)
    whole(tmp_path / "Annotations_val" / "away.json", {**PATCH, "image": "../a.png"})
    whole(tmp_path / "Annotations_val" / "other.json", {"shapes": []})
    (tmp_path / "Annotations_val" / "cut.json").write_text('{"objects": [')
    (tmp_path / "Annotations_val" / "deep.json").write_text('{"objects": ' + "[" * 100_000)
    (tmp_path / "Annotations_val" / "bytes.json").write_bytes(b"\xff\xfe")
    odd = {"caption": 7, "objects": [3, None], "qa_pairs": [{"question": "?"}]}
    whole(tmp_path / "Annotations_val" / "odd.json", odd)
    found = vrsbench.read(tmp_path)
    assert found.account.dropped.counts == {
        "image name leads out of its folder": 1, "file without objects, caption or qa_pairs": 1,
        "file that is no JSON": 3,
        "objects that are no JSON objects, or more than 10000": 1, "no question or no answer": 1,
    }  # fmt: skip
    assert len(found) == 5 and {one.split for one in found} == {"val"} and "odd.png" in found.images


def test_splits_are_folders(tmp_path):
    whole(tmp_path / "Annotations_val" / "a.json", PATCH)
    whole(tmp_path / "Annotations_train" / "b.json", {**PATCH, "image": "b.png"})
    assert set(vrsbench.read(tmp_path).images) == {"P0003_0002.png", "b.png"}
    assert set(vrsbench.read(tmp_path, split="train").images) == {"b.png"}
    assert {one.split for one in vrsbench.read(tmp_path / "Annotations_val")} == {"val"}
    for path, split in ((tmp_path, "test"), (tmp_path / "Annotations_val", "train")):
        with pytest.raises(InputError, match="no split"):
            vrsbench.read(path, split=split)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError):
            vrsbench.read(path)


# --- lists for the metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 4])
def test_lists_hold_corners_beside_hundredths(tmp_path, indent):
    rows = [ROW, {**ROW, "question_id": 5, "type": "caption", "ground_truth": "A ship."},
            {**ROW, "question_id": 6, "type": "object color", "ground_truth": "red"}]  # fmt: skip
    found = vrsbench.read(whole(tmp_path / "VRSBench_EVAL_referring.json", rows, indent), split="val")
    (ship,) = found.images["P0003_0002.png"].objects
    assert ship.geometry.bounds == (128, 256, 256, 384) and ship.label == "ship"
    assert [(one.id, one.asks, one.answer) for one in found] == [
        ("4", "rec", "{<25><50><50><75>}"), ("5", "caption", "A ship."), ("6", "vqa", "red"),
    ]  # fmt: skip
    assert found.questions[0].params["is_unique"] is False and {one.split for one in found} == {"val"}


@pytest.mark.parametrize(
    "change, bounds, changed, dropped",
    [
        ({"obj_corner": None}, (128, 256, 256, 384), "no corners with an area, box kept instead", None),
        ({"obj_corner": None, "ground_truth": "{<25><50><25><50>}"}, None, None,
         "neither corners nor a box with an area"),
        ({"obj_corner": [0.5] * 8, "ground_truth": "left"}, None, None, "neither corners nor a box with an area"),
        ({"ground_truth": None}, None, None, "no question or no ground truth"),
        ({"question": ""}, None, None, "no question or no ground truth"),
        ({"image_id": "/etc/passwd"}, None, None, "image name leads out of its folder"),
        ({"is_unique": True}, (128, 256, 256, 384), None, None),
        ({"question_id": 4}, (128, 256, 256, 384), "id used twice in one file, kept", None),
    ],
)  # fmt: skip
def test_rows_of_lists(tmp_path, change, bounds, changed, dropped):
    rows = [{**ROW, "image_id": "b", "question_id": 4 if "question_id" in change else 3}, {**ROW, **change}]
    found = vrsbench.read(whole(tmp_path / "a.json", rows))
    if bounds is not None:
        assert found.images["P0003_0002.png"].objects.geometries_N[0].bounds == bounds
        assert found.questions[1].params["is_unique"] is change.get("is_unique", False)
    assert list(found.account.changed.counts) == ([changed] if changed else [])
    assert list(found.account.dropped.counts) == ([dropped] if dropped else [])


def test_lines_are_no_list(tmp_path):
    with pytest.raises(InputError, match="no usable row"):
        vrsbench.read(lines(tmp_path / "a.json", ROW, ROW))


# --- writing --------------------------------------------------------------------------------------------------


def test_annotations_come_back(tmp_path):
    whole(tmp_path / "a" / "Annotations_val" / "a.json", PATCH)
    whole(tmp_path / "a" / "Annotations_train" / "b.json", {**PATCH, "image": "00012_0003.png", "objects": [SHIP]})
    first = vrsbench.read(tmp_path / "a")
    account = vrsbench.write(first, tmp_path / "b")
    assert account.kept == 3 and not account.dropped.total and not account.changed.total
    again = vrsbench.read(tmp_path / "b")
    assert what(again) == what(first)
    written = json.loads((tmp_path / "b" / "Annotations_val" / "P0003_0002.json").read_text())
    assert written["objects"][0] == SHIP and written["caption"] == PATCH["caption"]
    assert written["objects"][1]["obj_corner"] == TURNED


def test_lists_come_back(tmp_path):
    rows = [ROW, {**ROW, "question_id": 5, "obj_corner": TURNED, "ground_truth": "{<25><25><75><75>}"}]
    plain = [{name: ROW[name] for name in ("image_id", "question", "dataset")} | {"question_id": 7, "type": kind,
             "ground_truth": "two"} for kind in ("caption", "object quantity")]  # fmt: skip
    first = vrsbench.read(whole(tmp_path / "a.json", rows + plain))
    assert vrsbench.write(first, tmp_path / "b.json").kept == 4
    assert what(vrsbench.read(tmp_path / "b.json")) == what(first)
    vrsbench.write(first, tmp_path / "c")  # what a question says of its object goes with the object
    assert [one.params["is_unique"] for one in vrsbench.read(tmp_path / "c") if one.asks == "rec"] == [False, False]
    written = json.loads((tmp_path / "b.json").read_text())
    assert written == [{**row, "is_unique": False} for row in rows] + plain  # both names of the flag


def test_hundredths_are_cut_at_the_edge_and_rounded_down(tmp_path):
    corners = [-0.1, 0.019, 1.2, 0.019, 1.2, 0.999, -0.1, 0.999]
    first = patch(tmp_path, {"objects": [{**SHIP, "obj_corner": corners}]})
    vrsbench.write(first, tmp_path / "list.json")
    assert json.loads((tmp_path / "list.json").read_text())[0]["ground_truth"] == "{<0><1><100><99>}"


def test_lists_hold_less_than_annotations(tmp_path):
    first = patch(tmp_path)
    account = vrsbench.write(first, tmp_path / "list.json")
    assert account.kept == 5 and not account.dropped.total
    assert account.changed.counts == {"attributes left out": 2, "id replaced by its place": 5}


def test_what_the_files_cannot_hold_is_counted(tmp_path):
    shapes = [shapely.box(0, 0, 64, 32), shapely.Point(3, 3), shapely.box(0, 0, 9, 9)]
    objects = Objects.of(shapes, ["a"] * 3, kind=["hbb", "point", "mask"])
    asked = [
        Asked("0", "a.png", "rec", "one", None, ("0",)), Asked("1", "a.png", "rec", "again", None, ("0",)),
        Asked("2", "a.png", "rec", "both", None, ("0", "2")), Asked("3", "a.png", "detection", "all", None, ("2",)),
    ]  # fmt: skip
    images = {"a.png": LabelledImage("a.png", 64, 64, objects), "b.png": LabelledImage("b.png", None, None, objects)}
    ours = Published("ours", images, tuple(asked), Account())
    account = vrsbench.write(ours, tmp_path)
    assert account.kept == 2
    assert account.changed.counts == {"box written by its corners, which read as an oriented box": 1}
    assert account.dropped.counts == {
        "a point without area, or in an image of unknown size": 1,
        "second sentence of an object, or one of several objects": 2,
        "question that asks for detection": 1, "image of unknown size": 3,
    }  # fmt: skip
    ours.images["a.jpg"] = LabelledImage("a.jpg", 64, 64, objects)
    with pytest.raises(InputError, match="share the annotation"):
        vrsbench.write(ours, tmp_path)
    del ours.images["a.jpg"]
    account = vrsbench.write(ours, tmp_path / "list.json")
    assert account.changed.counts["box written by its corners, which read as an oriented box"] == 2
    assert account.kept == 2 and account.dropped.counts == {
        "image without a question": 1,
        "sentence of 2 objects where one is written": 1,
        "question that asks for detection without an answer in words": 1,
    }
