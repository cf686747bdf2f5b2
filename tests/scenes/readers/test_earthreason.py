"""EarthReason: files paired by name, several questions of one mask, and questions for which nothing is there."""

import json

import pytest
from tests.data.published_1 import mask_file, picture, whole

from georefer.errors import InputError
from georefer.scenes.readers import earthreason

QUESTIONS = {"questions": ["Where do planes land?", "Which place has runways?"], "answer": ["The airport.", "Here."]}


def sample(folder, name="a", qa=QUESTIONS, box=(2, 3, 6, 7), size=(20, 10), ending=".jpg"):
    picture(folder / "images" / f"{name}{ending}", size)
    mask_file(folder / "labels" / f"{name}.png", size, box)
    whole(folder / "QAs" / f"{name}.json", qa)
    return folder


def test_every_question_of_a_mask_is_asked(tmp_path):
    found = earthreason.read(sample(tmp_path / "val").parent)
    image = found.images["val/images/a.jpg"]
    (place,) = image.objects
    assert (image.width, image.height, image.attributes) == (20, 10, {})
    assert (place.label, place.kind, place.geometry.bounds) == ("object", "mask", (2, 3, 6, 7))
    assert [(one.id, one.asks, one.text, one.answer, one.object_ids, one.split) for one in found] == [
        ("a_0", "res", "Where do planes land?", "The airport.", ("0",), "val"),
        ("a_1", "res", "Which place has runways?", "The airport.", ("0",), "val"),
    ]
    assert found.questions[1].params == {"number": 1, "answers": ["The airport.", "Here."]}


@pytest.mark.parametrize(
    "answers, box, ids, changed",
    [
        ([], None, (), []),  # nothing is there
        (["None."], None, (), []),
        ([], (1, 1, 2, 2), ("0",), ["mask with pixels, but no answer"]),
    ],
)
def test_nothing_may_be_there(tmp_path, answers, box, ids, changed):
    found = earthreason.read(sample(tmp_path / "val", qa={"questions": ["?"], "answer": answers}, box=box).parent)
    (question,) = found
    assert question.object_ids == ids and question.answer == (answers[0] if answers else None)
    assert list(found.account.changed.counts) == changed and not found.account.dropped.total


def test_splits(tmp_path):
    for name in ("train", "val", "test"):
        sample(tmp_path / name, name=f"{name}-image", ending=".png")
    assert {one.split for one in earthreason.read(tmp_path)} == {"train", "val", "test"}
    found = earthreason.read(tmp_path, split="val")
    assert list(found.images) == ["val/images/val-image.png"] and len(found) == 2
    assert list(earthreason.read(tmp_path / "val").images) == ["images/val-image.png"]
    with pytest.raises(InputError, match="no split 'dev'"):
        earthreason.read(tmp_path, split="dev")
    with pytest.raises(InputError, match="no <split>/QAs"):
        earthreason.read(tmp_path / "val" / "QAs")


def test_pictures_may_lie_elsewhere_or_nowhere(tmp_path):
    folder = sample(tmp_path / "data" / "val")
    (folder / "images" / "a.jpg").unlink()
    (folder / "images").rmdir()
    image = earthreason.read(tmp_path / "data").images["val/images/a.jpg"]
    assert (image.width, image.height) == (None, None)  # nothing tells it; the mask is in pixels all the same
    picture(tmp_path / "flat" / "a.png", (20, 10))
    found = earthreason.read(tmp_path / "data", images=tmp_path / "flat")
    assert found.images["val/images/a.png"].width == 20


def test_files_are_paired_by_name(tmp_path):
    folder = sample(sample(sample(tmp_path / "val", "a"), "b", box=(0, 0, 3, 3)), "c")
    (folder / "labels" / "a.png").unlink()
    (folder / "QAs" / "c.json").unlink()
    whole(folder / "QAs" / "d.json", QUESTIONS)
    found = earthreason.read(tmp_path)
    assert list(found.images) == ["val/images/a.jpg", "val/images/b.jpg"]
    assert found.images["val/images/b.jpg"].objects.geometries_N[0].bounds == (0, 0, 3, 3)  # not that of a or c
    assert found.account.dropped.counts == {
        "mask file missing": 1, "questions without a picture": 1, "picture without questions": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{", "file that is no JSON"),
        ("[" * 100_000, "file that is no JSON"),
        ("[]", "no questions"),
        ('{"questions": [], "answer": ["x"]}', "no questions"),
        ('{"questions": [1, null, ""], "answer": "x"}', "no questions"),
    ],
)
def test_bad_files_are_counted(tmp_path, content, reason):
    folder = sample(sample(tmp_path / "val", "a"), "b")
    (folder / "QAs" / "a.json").write_text(content)
    found = earthreason.read(tmp_path)
    assert found.account.dropped.counts == {reason: 1} and len(found) == 2


def test_texts_are_bounded_and_masks_checked(tmp_path):
    folder = sample(tmp_path / "val", qa={"questions": ["?"] * 1_200, "answer": "x"})
    (folder / "QAs" / "a.json").rename(folder / "QAs" / "a.txt")
    assert len(earthreason.read(tmp_path)) == earthreason.MAX_TEXTS
    mask_file(folder / "labels" / "a.png", (10, 20), (1, 1, 2, 2))
    with pytest.raises(InputError, match="mask of another size"):
        earthreason.read(tmp_path)
    (folder / "labels" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 30)
    with pytest.raises(InputError, match="cannot be read"):
        earthreason.read(tmp_path)
    outside = mask_file(tmp_path / "outside.png", (20, 10), (1, 1, 2, 2))
    (folder / "labels" / "a.png").unlink()
    (folder / "labels" / "a.png").symlink_to(outside)
    with pytest.raises(InputError, match="mask file missing"):
        earthreason.read(tmp_path)
    (tmp_path / "secret.json").write_text(json.dumps(QUESTIONS))
    (folder / "QAs" / "a.txt").unlink()
    (folder / "QAs" / "a.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(InputError, match="link out of the folder"):
        earthreason.read(tmp_path)
