"""RSVG as refGeo has it, and RSVG-HR's lines with commas inside sentences."""

import pytest
from tests.data.published_1 import lines, picture

from georefer.errors import InputError
from georefer.scenes.readers import rsvg

ROW = {"dataset": "rsvg", "image_id": "1.jpg", "question": "the ship", "question_id": 5, "bbox": [10, 20, 30, 40]}


@pytest.mark.parametrize("place", ["rsvg_test.jsonl", "metainfo/rsvg_test.jsonl"])
def test_files_of_refgeo(tmp_path, place):
    lines(tmp_path / place, ROW)
    lines(tmp_path / "metainfo" / "rsvg_val.jsonl", ROW)
    for path in (tmp_path, tmp_path / place):
        found = rsvg.read(path, split="test")
        (question,), image = found.questions, found.images["rsvg/1.jpg"]
        assert (question.text, question.split, question.asks) == ("the ship", "test", "rec")
        assert (image.width, image.attributes) == (1024, {"size": "nominal"})
        assert image.objects.hbb_N4.tolist() == [[10, 20, 30, 40]]


@pytest.mark.parametrize(
    "line, text, bounds, changed, dropped",
    [
        ("1.jpg,10,20,30.5,40,the ship", "the ship", (10, 20, 30.5, 40), [], []),
        ("1.jpg, 10, 20, 30, 40, the ship, left of it", "the ship, left of it", (10, 20, 30, 40),
         ["comma in the expression, which is kept whole"], []),
        ("1.jpg,30,40,10,20,x", "x", (10, 20, 30, 40), ["corners in another order, sorted"], []),
        ("1.jpg,10\uff0c20,30,40\uff0cx", "x", (10, 20, 30, 40), [], []),
        ("1.jpg,10,20,300,40,x", "x", (10, 20, 300, 40), ["box that reaches out of the image, kept"], []),
        ("1.jpg,210,20,300,40,x", None, None, [], ["box outside the image"]),
        ("1.jpg,10,20,30,x", None, None, [], ["line without image, four numbers and an expression"]),
        ("1.jpg,10,20,30,40,", None, None, [], ["line without image, four numbers and an expression"]),
        ("1.jpg,10,20,ten,40,x", None, None, [], ["box that is not four numbers"]),
        ("1.jpg,10,20,10,40,x", None, None, [], ["box without area"]),
        ("../1.jpg,10,20,30,40,x", None, None, [], ["image name leads out of its folder"]),
        ("," * 100_000, None, None, [], ["box that is not four numbers"]),
        ("1.jpg,1e400,20,30,40,x", None, None, [], ["box that is not four numbers"]),
    ],
)  # fmt: skip
def test_lines_of_rsvg_hr(tmp_path, line, text, bounds, changed, dropped):
    picture(tmp_path / "images" / "1.jpg", (200, 100))
    (tmp_path / "train.txt").write_text(f"{line}\n\n1.jpg,0,0,9,9,good\n")
    found = rsvg.read(tmp_path / "train.txt", images=tmp_path / "images")
    assert [one.text for one in found] == ([text] if text else []) + ["good"]
    assert found.images["1.jpg"].objects.geometries_N[0].bounds == (bounds or (0, 0, 9, 9))
    assert list(found.account.changed.counts) == changed and list(found.account.dropped.counts) == dropped
    assert {one.split for one in found} == {"train"}


def test_splits_are_files(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text(f"1.jpg,0,0,9,9,{name}\n")
    assert [one.text for one in rsvg.read(tmp_path)] == ["train", "test"]
    assert [one.text for one in rsvg.read(tmp_path, split="test")] == ["test"]
    assert rsvg.read(tmp_path).images["1.jpg"].width is None  # no document tells it
    with pytest.raises(InputError, match="no split 'val'"):
        rsvg.read(tmp_path, split="val")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="neither"):
            rsvg.read(path)
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        rsvg.read(tmp_path)
