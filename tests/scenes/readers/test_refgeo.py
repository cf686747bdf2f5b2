"""refGeo: quads that are boxes, boxes that stand in for quads, names whose endings are wrong, records over lines."""

import json

import pytest
import shapely
from tests.data.published_1 import lines, mask_file, picture, what

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers import refgeo
from georefer.scenes.readers.base import Asked, Published

BOX = {"dataset": "rsvg", "image_id": "1.jpg", "question": "the ship", "question_id": 5, "bbox": [10, 20, 30, 40],
       "poly": [[10, 20], [30, 20], [30, 40], [10, 40]]}  # fmt: skip
TURNED = {**BOX, "dataset": "geochat", "bbox": [10, 10, 30, 30], "poly": [[20, 10], [30, 20], [20, 30], [10, 20]]}
QUADS = [[[10, 10], [20, 10], [20, 14], [10, 14]], [[50, 50], [60, 50], [60, 54], [50, 54]]]


def read(folder, name, *rows, **options):
    return refgeo.read(lines(folder / "metainfo" / name, *rows), **options)


@pytest.mark.parametrize("subset, size", [*refgeo.NOMINAL.items(), ("geochat", (None, None))])
def test_sizes_are_nominal_or_unknown(tmp_path, subset, size):
    image = read(tmp_path, f"{subset}_test.jsonl", BOX).images[f"{subset}/1.jpg"]
    assert (image.width, image.height) == size
    assert image.attributes == ({"size": "nominal"} if size[0] else {})


@pytest.mark.parametrize(
    "subset, change, kind, bounds, counted",
    [
        ("rsvg", {}, "hbb", (10, 20, 30, 40), None),  # the quad is the box again
        ("dior_rsvg", {"poly": "?"}, "hbb", (10, 20, 30, 40), None),
        ("rsvg", {"bbox": [30, 40, 10, 20]}, "hbb", (10, 20, 30, 40), "corners in another order, sorted"),
        ("vrsbench", {}, "obb", (10, 20, 30, 40), None),
        ("geochat", TURNED, "obb", (10, 10, 30, 30), None),
        ("geochat", {**TURNED, "poly": TURNED["poly"][::-1]}, "obb", (10, 10, 30, 30),
         "corners ran anticlockwise, turned"),
        ("avvg", {"poly": [[10, 20], [30, 22], [27, 40], [10, 33]]}, "polygon", (10, 20, 30, 40),
         "four corners that are no rectangle, kept as a polygon"),
        ("avvg", {"poly": [[10, 20]] * 4}, "hbb", (10, 20, 30, 40), "outline without area, box kept instead"),
        ("avvg", {"poly": [[10, 20], [30, 40], [20, 30], [10, 20]]}, "hbb", (10, 20, 30, 40),
         "outline without area, box kept instead"),
        ("avvg", {"bbox": None}, "obb", (10, 20, 30, 40), None),
    ],
)  # fmt: skip
def test_quads_and_boxes(tmp_path, subset, change, kind, bounds, counted):
    found = read(tmp_path, f"{subset}_val.jsonl", {**BOX, **change})
    (thing,), (question,) = found.images[f"{subset}/1.jpg"].objects, found.questions
    assert (thing.kind, thing.geometry.bounds, thing.attributes) == (kind, bounds, {})
    assert list(found.account.changed.counts) == ([] if counted is None else [counted])
    assert (question.id, question.asks, question.text, question.split) == (f"{subset}_val/5", "rec", "the ship", "val")
    assert question.object_ids == (thing.id,) and question.params["expression"] == "the ship"


def test_a_box_that_is_not_the_quads_is_kept_beside_it(tmp_path):
    (thing,) = read(tmp_path, "geochat_val.jsonl", {**TURNED, "bbox": [9, 10, 30, 31]}).images["geochat/1.jpg"].objects
    assert thing.attributes == {"bbox": [9, 10, 30, 31]}


def test_names_take_the_ending_of_the_picture(tmp_path):
    picture(tmp_path / "images" / "geochat" / "1.png", (640, 600))
    picture(tmp_path / "images" / "avvg" / "2.JPG", (400, 225))
    picture(tmp_path / "images" / "geochat_test" / "3.png", (90, 80))
    rows = [TURNED, {**TURNED, "question_id": 6}, {**TURNED, "image_id": "3.jpg", "question_id": 7}]
    found = read(tmp_path, "geochat_test.jsonl", *rows, images=tmp_path / "images")
    sizes = {key: (image.width, image.height) for key, image in found.images.items()}
    assert sizes == {"geochat/1.png": (640, 600), "geochat/3.png": (90, 80)}
    assert found.account.changed.counts == {"image name with another ending than the picture's, corrected": 2}
    (key,) = read(tmp_path, "avvg_test.jsonl", {**BOX, "image_id": "2.jpg"}, images=tmp_path / "images").images
    assert key == "avvg/2.JPG"


def test_records_are_wrapped_over_lines(tmp_path):
    text = json.dumps(BOX).replace('"poly"', '\n"poly"').replace("the ship", "the\nship")
    found = read(tmp_path, "rsvg_test.jsonl", text, {**BOX, "question_id": 6}, "{broken", {**BOX, "question_id": 7})
    assert [question.id for question in found] == ["rsvg_test/5", "rsvg_test/6", "rsvg_test/7"]
    assert found.questions[0].text == "the\nship"
    assert found.account.dropped.counts == {"line that is no JSON": 1}


def test_masks_are_named_where_they_are(tmp_path):
    mask_file(tmp_path / "masks" / "avvg" / "1_5.png", (4, 4), None)
    found = read(tmp_path, "avvg_train.jsonl", BOX, {**BOX, "question_id": "../6"})
    assert [question.params.get("mask") for question in found] == ["avvg/1_5.png", None]
    assert found.account.changed.counts == {"mask file missing": 1}


def test_detection_asks_for_all_of_a_class(tmp_path):
    row = {"image_id": "1.JPG", "question": "red car.", "poly": QUADS}
    rows = [row, row, {**row, "question": "BMW"}, {**row, "poly": QUADS[0], "question": "bus"}, {**row, "poly": []}]
    found = read(tmp_path, "avvg_detection_test.jsonl", *rows)
    objects = found.images["avvg/1.JPG"].objects
    assert objects.labels_N.tolist() == ["red car", "red car", "BMW", "BMW", "bus"]  # equal quads of a class are one
    assert [question.object_ids for question in found] == [("0", "1"), ("0", "1"), ("2", "3"), ("4",), ()]
    assert {question.asks for question in found} == {"detection"} and found.questions[0].params["class"] == "red car"
    bad = [[[0, 0]] * 4, "x", [[0, 0], [1, None], [2, 2], [3, 3]], [[float("inf"), 0], [1, 1], [2, 2], [0, 2]]]
    found = read(tmp_path, "avvg_detection_train.jsonl", {**row, "poly": [*bad, QUADS[0]]})
    assert found.account.dropped.counts == {"outline without area": 1, "no quad": 3} and found.account.kept == 1


@pytest.mark.parametrize(
    "row, reason",
    [
        ({**BOX, "image_id": "../../1.jpg"}, "image name leads out of its folder"),
        ({**BOX, "image_id": 7}, "image name leads out of its folder"),
        ({**BOX, "question": ["ship"]}, "no question"),
        ({**BOX, "bbox": [1, 2, 1, 2]}, "box without area"),
        ({**BOX, "bbox": {"x": 1}}, "box that is not four numbers"),
        ({**BOX, "bbox": [[1, 2], [3, 4]]}, "box that is not four numbers"),
    ],
)
def test_bad_rows_are_counted(tmp_path, row, reason):
    found = read(tmp_path, "rsvg_test.jsonl", row, BOX)
    assert found.account.dropped.counts == {reason: 1} and len(found) == 1
    with pytest.raises(InputError, match=reason):
        read(tmp_path, "rsvg_test.jsonl", row)


def dataset(folder):
    lines(folder / "metainfo" / "rsvg_test.jsonl", BOX)
    lines(
        folder / "metainfo" / "geochat_train.jsonl", TURNED, {**TURNED, "question_id": "q-6", "bbox": [9, 10, 30, 31]}
    )
    lines(folder / "metainfo" / "dior_rsvg_val.jsonl", {**BOX, "dataset": "dior_rsvg", "bbox": [10.5, 20, 30, 40]})
    lines(folder / "metainfo" / "avvg_detection_test.jsonl", {"image_id": "1.JPG", "question": "bus", "poly": QUADS})
    return folder


def test_folders_and_splits(tmp_path):
    for path in (dataset(tmp_path), tmp_path / "metainfo"):
        assert len(refgeo.read(path)) == 5 and len(refgeo.read(path, split="test")) == 2
    with pytest.raises(InputError, match="no split 'dev'"):
        refgeo.read(tmp_path, split="dev")
    with pytest.raises(InputError, match="no split 'train'"):
        refgeo.read(tmp_path / "metainfo" / "rsvg_test.jsonl", split="train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no metainfo"):
        refgeo.read(tmp_path / "empty")


def test_all_comes_back(tmp_path):
    first = refgeo.read(dataset(tmp_path / "a"))
    account = refgeo.write(first, tmp_path / "b")
    assert account.kept == 5 and not account.dropped.total and not account.changed.total
    assert what(refgeo.read(tmp_path / "b")) == what(first)
    (row,) = [json.loads(line) for line in (tmp_path / "b" / "metainfo" / "rsvg_test.jsonl").read_text().splitlines()]
    assert row == BOX
    with pytest.raises(InputError, match="name a folder"):
        refgeo.write(first, tmp_path / "all.jsonl")


def test_what_a_row_cannot_hold_is_counted(tmp_path):
    shapes = [shapely.box(0, 0, 4, 3), shapely.Polygon([(0, 0), (9, 0), (0, 9)]), shapely.Point(1, 1)]
    more = {"scores": [0.5] * 3, "attributes": [{"colour": "red"}] * 3}
    objects = Objects.of(shapes, ["a"] * 3, kind=["hbb", "mask", "point"], **more)
    asked = [
        Asked(str(n), "a.png", "rec", "it", None, ids) for n, ids in enumerate([("0",), ("1",), ("2",), ("0", "1"), ()])
    ]
    asked.append(Asked("9", "a.png", "caption", "?", "A."))
    ours = Published("ours", {"a.png": LabelledImage("a.png", 9, 9, objects)}, tuple(asked), Account())
    account = refgeo.write(ours, tmp_path / "refgeo_train.jsonl")
    assert account.kept == 2
    assert account.dropped.counts == {
        "a point has no area to write": 1, "expression of 0 areas where one is written": 2,
        "expression of 2 areas where one is written": 1, "question that is not one of a place": 1,
    }  # fmt: skip
    assert account.changed.counts == {
        "outline written as its minimum-area rectangle": 2, "class left out": 2, "score left out": 3,
        "attributes left out": 3, "box written as a quad, which reads as an oriented box": 1,
    }  # fmt: skip
    assert refgeo.read(tmp_path / "refgeo_train.jsonl").account.kept == 2
