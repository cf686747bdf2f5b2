"""FIT-RS: dialogues about tiles, their boxes as objects that questions share, graphs, and rows written as they were."""

import json

import pytest
from tests.data.published_2 import CAR, FIT_ROWS, PLANE, TILE, dialogue, fit_rs, picture

from georefer.errors import InputError
from georefer.geometry import OBB, Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers.base import ASKS, Asked, Published
from georefer.scenes.readers.fit_rs import SOURCE


@pytest.fixture
def whole(tmp_path):
    return SOURCE.read(fit_rs(tmp_path))


def by_id(published):
    return {asked.id: asked for asked in published}


def test_what_each_question_asks_for(whole):
    assert {asked.id: asked.asks for asked in whole} == {
        "d1": "detection", "d2": "detection", "7": "object-reasoning", "g5": "region-graph", "g6": "image-graph",
        "r2": "relation", "r3": "relation-reasoning", "c1": "caption", "k1": "classification", "k2": "multilabel",
        "v1": "vqa", "m1#0": "chat", "m1#1": "chat",
    }  # fmt: skip
    assert {asked.asks for asked in whole} <= set(ASKS)


def test_boxes_become_objects_in_pixels_that_questions_share(whole):
    image, asked = whole.images[TILE], by_id(whole)
    assert (image.width, image.height) == (512, 512)
    assert {"scene": "0505", "tile": [2884, 5768], "tile_size": 512}.items() <= image.attributes.items()
    # two cars and one plane, though eight questions speak of them; the second car is an apron to another question
    assert sorted(image.objects.labels_N) == ["airplane", "apron", "car", "car"]
    cars = asked["d1"].object_ids
    assert asked["7"].object_ids == (cars[0],) and asked["d1"].params["class"] == "car"
    plane = asked["7"].params["region"]
    (found,) = image.objects.with_ids([plane])
    assert found.label == "airplane"  # no question but the graph says so
    box = OBB.from_polygon(found.geometry)
    assert (box.cx, box.cy) == pytest.approx((256, 128)) and box.heading_deg == pytest.approx(30)
    assert (box.length, box.width) == pytest.approx((102.4, 51.2))


def test_relations_are_triplets_of_ids(whole):
    asked, image = by_id(whole), whole.images[TILE]
    plane, (car, other) = asked["7"].params["region"], asked["d1"].object_ids
    assert asked["g6"].params["relations"] == [[car, "adjacent", plane], [other, "adjacent", plane]]
    (apron,) = asked["g5"].object_ids
    assert asked["g5"].params["relations"] == [[plane, "over", apron]]
    assert image.attributes["relations"] == [
        [plane, "over", apron], [car, "adjacent", plane], [other, "adjacent", plane]
    ]  # fmt: skip
    assert asked["r2"].params == {"classes": ["car", "airplane"], "predicates": ["approach"]}
    assert asked["r3"].params["predicates"] == ["away from"] and asked["r3"].params["regions"] == [car, plane]


def test_texts_are_kept_and_rows_come_back_as_they_were(whole, tmp_path):
    assert by_id(whole)["d1"].text == "[detection]Find all cars." and by_id(whole)["d2"].answer.startswith("I'm sorry")
    account = SOURCE.write(whole, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == FIT_ROWS
    assert account.kept == len(whole) and not account.dropped.total
    again = SOURCE.read(tmp_path / "again.json")
    assert [vars(a) for a in again] == [vars(a) for a in whole]


def test_objects_of_other_datasets_are_said_in_fits_words(tmp_path):
    objects = Objects.of([OBB(100, 100, 40, 20, 30).to_polygon()], ["ship"], kind="obb")
    image = LabelledImage("x.png", 400, 200, objects)
    asked = (
        Asked("q", "x.png", "phrase", "Where are ships?", None, ("0",)),
        Asked("no", "x.png", "phrase", None, None, ("0",)),  # nothing is asked in words
    )
    account = SOURCE.write(Published("mine", {"x.png": image}, asked, Account()), tmp_path / "f.json")
    (row,) = json.loads((tmp_path / "f.json").read_text())
    assert row["conversations"][1]["value"] == "<ref>ship</ref><rbox>({<25.00><50.00><10.00><10.00>|<30>})</rbox>"
    assert account.kept == 1 and account.dropped.counts == {"question without a text": 1}


def test_the_pictures_own_size_counts(tmp_path):
    picture(tmp_path / "img" / TILE, (1024, 256))
    image = SOURCE.read(fit_rs(tmp_path), tmp_path / "img").images[TILE]
    assert (image.width, image.height) == (1024, 256)
    assert max(image.objects.hbb_N4[:, 2]) > 512


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": 1, "conversations": []}, "row without an image"),
        ({"image": "a.png", "conversations": []}, "row without an id"),
        (dialogue(1, "../../a.png", ("a", "b")), "image name leads out of its folder"),
        ({"id": 1, "image": "a.png", "conversations": "x"}, "no turns of human and gpt"),
        # an answer comes first
        ({"id": 1, "image": "a.png", "conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}]},
         "no turns of human and gpt"),
        ({"id": 1, "image": "a.png", "conversations": [{"from": "human", "value": 3}, {"from": "gpt", "value": "b"}]},
         "turn without a text"),
        ({"id": 1, "image": "a.png", "conversations": [], "deep": json.loads("[" * 30 + "]" * 30)},
         "row is nested too deeply or holds no finite number"),
        ([], "no JSON object"),
    ],
)  # fmt: skip
def test_bad_rows_are_counted(tmp_path, row, reason):
    (tmp_path / "f.json").write_text(json.dumps([row, FIT_ROWS[0]]))
    read = SOURCE.read(tmp_path)
    assert read.account.dropped.counts == {reason: 1} and len(read) == 1
    (tmp_path / "f.json").write_text(json.dumps([row]))
    with pytest.raises(InputError, match="holds no usable row"):
        SOURCE.read(tmp_path)


def test_lost_boxes_and_repeated_ids_are_counted(tmp_path):
    broken = "<ref>car</ref><rbox>({<1><2><3>}, " + CAR + ")</rbox>"
    rows = [dialogue("x", TILE, (f"{PLANE}?", broken)), dialogue("x", TILE, ("What?", "That."))]
    (tmp_path / "f.json").write_text(json.dumps(rows))
    read = SOURCE.read(tmp_path)
    assert [asked.id for asked in read] == ["x", "x.2"] and len(read.questions[0].object_ids) == 1
    assert read.account.dropped.counts == {"shape in a text lost: wrong-count": 1}
    SOURCE.write(read, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == rows


def test_a_file_of_one_task_says_what_its_questions_are(tmp_path):
    rows = [dialogue("x", TILE, ("What is here?", "Water and two ships at a dock."))]
    for name, asks in (("train_FITRS_regioncaption_72k.json", "region-caption"), ("train_FITRS_vqa_400k.json", "vqa")):
        (tmp_path / name).write_text(json.dumps(rows))
        assert SOURCE.read(tmp_path / name).questions[0].asks == asks
    assert SOURCE.read(tmp_path / name, asks="caption", limit=1).questions[0].asks == "caption"
    with pytest.raises(InputError, match="asks='talk' was given"):
        SOURCE.read(tmp_path / name, asks="talk")


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\x00", '[{"id": 1}, ' + "[" * 5000, "[]" * 9])
def test_hostile_files_raise_nothing_but_input_errors(tmp_path, text):
    (tmp_path / "f.json").write_text(text)
    try:
        assert len(SOURCE.read(tmp_path)) == 0
    except InputError as error:
        assert str(tmp_path) in str(error)


def test_a_long_answer_of_junk_is_read_in_bounded_time(tmp_path):
    junk = "{<1><2><3><4>|<5>} <rel>over</rel> " * 30_000
    (tmp_path / "f.json").write_text(json.dumps([dialogue(1, TILE, (f"{PLANE}?", junk))]))
    read = SOURCE.read(tmp_path)
    # the same box again and again is one object, and what is too long is said to be so
    assert len(read.images[TILE].objects) == 2 and "shape in a text lost: too-long" in read.account.dropped.counts
