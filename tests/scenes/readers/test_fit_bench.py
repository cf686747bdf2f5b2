"""FIT-RSFG and FIT-RSRC: JSON lines of several kinds, options turned round, rows written as they were."""

import json

import pytest
from tests.data.published_2 import CAR, FIT_COMPLEX, FIT_RSRC, TILE, lines

from georefer.errors import InputError
from georefer.scenes.readers.fit_bench import SOURCE


def test_complex_tasks(tmp_path):
    read = SOURCE.read(lines(tmp_path / "test_FITRS_complex_comprehension_eval.jsonl", FIT_COMPLEX))
    assert [asked.asks for asked in read] == ["detection", "relation", "object-reasoning"]
    first, second, third = read
    assert first.id == "1" and first.params == {"class": "car", "category": "task1", "question_id": 1}
    # the box that task 4 says without a class is the car of task 1
    assert first.object_ids == third.object_ids and read.images[TILE].objects.labels_N.tolist().count("car") == 1
    assert second.params["predicates"] == ["approach"] and third.params["region"] not in third.object_ids
    assert read.images[TILE].attributes["tile"] == [2884, 5768] and first.split == "test"


def test_rotations_share_their_question(tmp_path):
    read = SOURCE.read(lines(tmp_path / "FIT-RSRC_Questions_2k.jsonl", FIT_RSRC))
    assert read.name == "FIT-RSRC" and {asked.asks for asked in read} == {"choice"}
    assert [asked.id for asked in read] == ["5", "5.2", "5.3"]
    assert [asked.params["rotation"] for asked in read] == [0, 1, 2]
    assert {asked.params["question_id"] for asked in read} == {5}
    # the letters differ, what they mean does not
    right = {asked.params["options"]["ABC".index(asked.answer)] for asked in read}
    assert [asked.answer for asked in read] == ["A", "C", "B"] and right == {"The car is over the bridge."}
    assert not read.account.changed.total


@pytest.mark.parametrize(
    ("name", "row", "asks"),
    [
        ("test_FITRS_imageclassify_eval", {"text": "Which? Answer in one word or a short phrase."}, "classification"),
        ("test_FITRS_imageclassify_eval", {"text": "Answer with all classes separated by commas."}, "multilabel"),
        ("test_FITRS_vqa_eval", {"text": "Describe the colour", "category": "color"}, "vqa"),
        ("test_FITRS_image_caption_eval", {"question": "What is there?"}, "caption"),
        ("test_FITRS_region_caption_eval", {"question": f"What is at {CAR}?"}, "region-caption"),
        ("hrben", {"text": "Is a road present?", "category": "presence"}, "vqa"),
        # a name that says nothing: the row does
        ("some", {"text": "A. a\nB. b", "category": "exist", "ground_truth": "B"}, "choice"),
        ("some", {"question": "Describe it", "ground_truth": "A harbor with some ships."}, "caption"),
    ],
)
def test_every_file_and_back(tmp_path, name, row, asks):
    row = {"question_id": "7", "image": TILE, "ground_truth": "airport", **row}
    read = SOURCE.read(lines(tmp_path / f"{name}.jsonl", [row]))
    assert read.questions[0].asks == asks
    SOURCE.write(read, tmp_path / "again.jsonl")
    assert json.loads((tmp_path / "again.jsonl").read_text()) == row


@pytest.mark.parametrize("rows", [FIT_COMPLEX, FIT_RSRC], ids=["complex", "rsrc"])
def test_rows_come_back_as_they_were(tmp_path, rows):
    read = SOURCE.read(lines(tmp_path / "a.jsonl", rows))
    account = SOURCE.write(read, tmp_path / "b.jsonl")
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == rows
    assert account.kept == len(rows)
    with pytest.raises(InputError, match=r"name of a \.jsonl file"):
        SOURCE.write(read, tmp_path / "b.json")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question_id": None}, "row without a question_id"),
        ({"image": None}, "row without an image"),
        ({"image": "/etc/passwd"}, "image name leads out of its folder"),
        ({"question": 5}, "question is no text"),
        ({"ground_truth": ["a"]}, "ground truth is no text"),
        ({"more": float("inf")}, "row is nested too deeply or holds no finite number"),
    ],
)
def test_bad_rows_are_counted(tmp_path, change, reason):
    path = lines(tmp_path / "a.jsonl", [{**FIT_COMPLEX[0], **change}, FIT_COMPLEX[1]])
    path.write_text(path.read_text() + "no json\n")
    read = SOURCE.read(path)
    assert read.account.dropped.counts == {reason: 1, "line that is no JSON": 1} and len(read) == 1


def test_a_repeated_id_outside_rotations_is_told(tmp_path):
    read = SOURCE.read(lines(tmp_path / "a.jsonl", [FIT_COMPLEX[1]] * 2))
    assert [asked.id for asked in read] == ["2", "2.2"]
    assert read.account.changed.counts == {"question_id used twice, numbered": 1}


@pytest.mark.shared
def test_the_published_scorers_own_files(golden):
    read = SOURCE.read(golden / "fit" / "fit_vqa.jsonl")
    assert len(read) == 600 and {asked.asks for asked in read} == {"vqa"}
