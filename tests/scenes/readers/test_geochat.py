"""GeoChat-Instruct and -Bench: boxes need the image's size, tags say what is asked, rows come back as they were."""

import json

import pytest
from tests.data.published_2 import GEOCHAT_REFERRING, GEOCHAT_REGIONS, GEOCHAT_ROWS, dialogue, lines, picture

from georefer.errors import InputError
from georefer.geometry import OBB, Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers.base import Asked, Published
from georefer.scenes.readers.gathering import NO_SIZE
from georefer.scenes.readers.geochat import SOURCES

INSTRUCT, BENCH = SOURCES


@pytest.fixture
def instruct(tmp_path):
    (tmp_path / "GeoChat_Instruct.json").write_text(json.dumps(GEOCHAT_ROWS))
    # the file ends otherwise than its name in the rows
    picture(tmp_path / "images" / "P1.jpg", (1000, 500))
    return INSTRUCT.read(tmp_path, tmp_path / "images")


def test_tags_say_what_is_asked(instruct):
    assert [(asked.id, asked.asks) for asked in instruct] == [
        ("a", "obb-rec"), ("b", "region-caption"), ("c", "phrase"), ("d", "classification"), ("e#0", "chat"),
        ("e#1", "chat"),
    ]  # fmt: skip
    refer, identify, grounding = instruct.questions[:3]
    assert refer.params == {"expression": "the white plane"} and identify.params == {"region": refer.object_ids[0]}
    assert grounding.params["classes"] == ["planes", "an apron"] and len(grounding.object_ids) == 3
    assert grounding.object_ids[0] == refer.object_ids[0]


def test_boxes_turn_in_pixels_of_the_picture(instruct, tmp_path):
    (one,) = instruct.images["P1.png"].objects.with_ids(instruct.questions[0].object_ids)
    box = OBB.from_polygon(one.geometry)
    assert (box.cx, box.cy, box.length, box.width) == pytest.approx((200, 125, 200, 50))
    assert box.heading_deg == pytest.approx(30)
    other = INSTRUCT.read(tmp_path, tmp_path / "images", dialect="geochat-ccw")
    assert OBB.from_polygon(other.images["P1.png"].objects.geometries_N[0]).heading_deg == pytest.approx(150)
    with pytest.raises(InputError, match="geochat-cw or geochat-ccw"):
        INSTRUCT.read(tmp_path, dialect="fit-rs")


def test_without_sizes_only_questions_without_boxes_are_kept(tmp_path):
    (tmp_path / "GeoChat_Instruct.json").write_text(json.dumps(GEOCHAT_ROWS))
    read = INSTRUCT.read(tmp_path)
    assert [asked.id for asked in read] == ["d", "e#0", "e#1"] and read.account.dropped.counts == {NO_SIZE: 3}


def test_dialogues_come_back_as_they_were(instruct, tmp_path):
    INSTRUCT.write(instruct, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == GEOCHAT_ROWS


def mine():
    objects = Objects.of([OBB(100, 50, 40, 20, 0).to_polygon()], ["ship"], kind="obb")
    asked = (Asked("q", "x.png", "obb-rec", None, None, ("0",), {"expression": "the ship"}),)
    return Published("mine", {"x.png": LabelledImage("x.png", 200, 100, objects)}, asked, Account())


def test_questions_of_other_datasets_are_written_for_geochats_scripts(tmp_path):
    BENCH.write(mine(), tmp_path / "b.jsonl")
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {
        "question_id": "q", "image_id": "x", "question": "the ship", "type": "ref", "dataset": "mine",
        # the front left comes first, and this ship heads to the right
        "ground_truth": [[[120.0, 40.0], [120.0, 60.0], [80.0, 60.0], [80.0, 40.0]]], "obj_ids": ["0"],
        "size_group": "",
    }  # fmt: skip
    asked = Asked("q", "x.png", "obb-rec", "[refer] the ship", None, ("0",))
    INSTRUCT.write(Published("mine", mine().images, (asked,), Account()), tmp_path / "i.json")
    (row,) = json.loads((tmp_path / "i.json").read_text())
    assert row["conversations"][1]["value"] == "{<40><40><60><60>|<0>}"


def test_referring_has_quadrangles_in_pixels(tmp_path):
    read = BENCH.read(lines(tmp_path / "referring.jsonl", GEOCHAT_REFERRING))
    one, several = read
    assert (one.asks, several.asks) == ("obb-rec", "phrase") and len(several.object_ids) == 2
    assert one.params["expression"] == "the white plane at the top" and one.answer is None
    image = read.images["P0001__1.0__0___824.png"]
    assert (image.width, image.height) == (1024, 1024)
    (found,) = image.objects.with_ids(one.object_ids)
    assert found.geometry.bounds == (10.5, 20, 50.5, 40) and found.attributes == {"obj_id": 3}
    assert found.label == "object" and read.account.changed.counts["no class is named for a shape"] == 3
    BENCH.write(read, tmp_path / "again.jsonl")
    again = BENCH.read(tmp_path / "again.jsonl")
    assert [vars(a) for a in again] == [vars(a) for a in read]
    assert json.loads((tmp_path / "again.jsonl").read_text().splitlines()[0]) == GEOCHAT_REFERRING[0]


def test_regions_and_other_files_of_the_bench(tmp_path):
    read = BENCH.read(lines(tmp_path / "region_captioning.jsonl", GEOCHAT_REGIONS))
    (asked,) = read
    assert asked.asks == "region-caption" and asked.answer == "1 white plane" and asked.params["region"] == "0"
    assert read.images["00012.png"].width == 600
    BENCH.write(read, tmp_path / "again.jsonl")
    assert json.loads((tmp_path / "again.jsonl").read_text()) == GEOCHAT_REGIONS[0]
    scene = {"question_id": "airport/a1", "image": "airport/a1.jpg", "ground_truth": "airport", "category": "scene",
             "text": "Classify the image within one of these classes. Answer with one word."}  # fmt: skip
    vqa = {"question_id": 3, "image": "3.tif", "text": "Is it?\nAnswer the question using a single word or phrase.",
           "category": "comp"}  # fmt: skip
    told = {"question_id": 0, "image_id": "00012", "description": "Some houses."}
    read = BENCH.read(lines(tmp_path / "aid.jsonl", [scene, vqa, told]))
    assert [asked.asks for asked in read] == ["classification", "vqa", "vqa"] and read.questions[1].answer is None
    BENCH.write(read, tmp_path / "again.jsonl")
    assert [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()] == [scene, vqa, told]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_id": "../a"}, "no image name, or it leads out of its folder"),
        ({"image_id": 5}, "no image name, or it leads out of its folder"),
        ({"ground_truth": [[1, 2]]}, "ground truth without a quadrangle that can be read"),
        ({"ground_truth": [[[0, 0], [1, 1], [2, 2], [3, 3]]]}, "ground truth without a quadrangle that can be read"),
        ({"ground_truth": 3}, "ground truth is no text and no list of quadrangles"),
        ({"question": ["x"]}, "question is no text"),
        ({"question_id": [1]}, "question_id is no number or text"),
        # a box in words about an image whose set is not known
        ({"ground_truth": "x", "question": "{<1><2><3><4>|<5>}", "dataset": "other", "image_id": "o"}, NO_SIZE),
    ],
)
def test_bad_rows_are_counted(tmp_path, change, reason):
    read = BENCH.read(lines(tmp_path / "a.jsonl", [{**GEOCHAT_REFERRING[0], **change}, GEOCHAT_REGIONS[0]]))
    assert reason in read.account.dropped.counts and len(read) == 1


def test_hostile_answers(tmp_path):
    (tmp_path / "i.json").write_text(json.dumps([dialogue(1, "a.png", ("[refer] x", "{<1><2>" * 100_000))]))
    picture(tmp_path / "img" / "a.png", (9, 9))
    read = INSTRUCT.read(tmp_path / "i.json", tmp_path / "img")
    assert len(read) == 1 and not len(read.images["a.png"].objects) and read.account.dropped.total
