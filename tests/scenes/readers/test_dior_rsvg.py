"""DIOR-RSVG: objects numbered in the order of file names, which the split files count in."""

import pytest
import shapely
from tests.data.published_1 import picture, voc_file, voc_object, what

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers import dior_rsvg
from georefer.scenes.readers.base import Asked, Published


def dataset(folder):
    """Objects 0 and 1 in image 2, 2 in image 10, 3 and 4 in image 11; made in another order than that of the names."""
    annotations = folder / "Annotations"
    voc_file(annotations / "00011.xml", voc_object("dam", (1, 1, 9, 9), "d"), voc_object("ship", (2, 2, 9, 9), "e"))
    voc_file(annotations / "00002.xml", voc_object("dam", (1, 2, 3, 4), "a"), voc_object("dam", (5, 5, 9, 9), " b "))
    voc_file(annotations / "00010.xml", voc_object("ship", (3, 3, 9, 9), "c &amp; more"))
    for name, numbers in (("train", "0\n3\n"), ("val", "4"), ("test", "1\n2\n")):
        (folder / f"{name}.txt").write_text(numbers)
    return folder


def said(found):
    return [(one.id, one.image, one.text, one.split) for one in found]


def test_objects_are_numbered_in_the_order_of_file_names(tmp_path):
    found = dior_rsvg.read(dataset(tmp_path))
    assert said(found) == [
        ("0", "00002.jpg", "a", "train"), ("1", "00002.jpg", " b ", "test"), ("2", "00010.jpg", "c & more", "test"),
        ("3", "00011.jpg", "d", "train"), ("4", "00011.jpg", "e", "val"),
    ]  # fmt: skip
    image = found.images["00002.jpg"]
    assert (image.width, image.height, image.attributes) == (800, 800, {})
    assert image.objects.ids_N.tolist() == ["0", "1"] and image.objects.hbb_N4[0].tolist() == [1, 2, 3, 4]
    assert found.questions[1].params == {"expression": "b", "class": "dam"}
    assert found.questions[1].object_ids == ("1",)


def test_a_split_has_its_own_objects_only(tmp_path):
    found = dior_rsvg.read(dataset(tmp_path), split="test")
    assert [one.id for one in found] == ["1", "2"] and list(found.images) == ["00002.jpg", "00010.jpg"]
    assert found.images["00002.jpg"].objects.ids_N.tolist() == ["1"]
    for path, split in ((tmp_path, "dev"), (tmp_path / "Annotations" / "00002.xml", "test")):
        with pytest.raises(InputError, match="no split"):
            dior_rsvg.read(path, split=split)


def test_annotations_alone(tmp_path):
    dataset(tmp_path)
    assert len(dior_rsvg.read(tmp_path / "Annotations")) == 5  # the split files lie beside the folder
    assert dior_rsvg.read(tmp_path / "Annotations").questions[0].split == "train"
    assert said(dior_rsvg.read(tmp_path / "Annotations" / "00011.xml")) == [
        ("0", "00011.jpg", "d", None), ("1", "00011.jpg", "e", None),
    ]  # fmt: skip


def test_objects_that_cannot_be_used_keep_their_numbers(tmp_path):
    bad = [voc_object("dam", (5, 5, 5, 9), "x"), voc_object("dam", (1, 1, 2, 2), None),
           voc_object("", (1, 1, 2, 2), "x"), voc_object("dam", ("a", 1, 2, 2), "x"), "<object/>"]  # fmt: skip
    voc_file(tmp_path / "Annotations" / "1.xml", *bad, voc_object("dam", (1, 1, 9, 9), "last"))
    voc_file(tmp_path / "Annotations" / "2.xml", voc_object("dam", (1, 1, 9, 9), "x"), name="../2.jpg")
    voc_file(tmp_path / "Annotations" / "3.xml", voc_object("dam", (1, 1, 9, 9), "end"))
    found = dior_rsvg.read(tmp_path)
    assert [(one.id, one.text) for one in found] == [("5", "last"), ("7", "end")]
    assert found.account.dropped.counts == {
        "box without area": 1, "object without an expression": 1, "no class name": 1, "box that is not four numbers": 2,
        "image name leads out of its folder": 1,
    }  # fmt: skip


def test_children_are_read_by_name(tmp_path):
    voc_file(
        tmp_path / "1.xml", voc_object("dam", (1, 2, 3, 4), "x", swapped=True), voc_object("dam", (9, 4, 3, 2), "y")
    )
    found = dior_rsvg.read(tmp_path)
    assert [one.text for one in found] == ["x", "y"]
    assert found.images["1.jpg"].objects.hbb_N4.tolist() == [[1, 2, 3, 4], [3, 2, 9, 4]]
    assert found.account.changed.counts == {
        "children in another order than the published loader reads": 1,
        "corners in another order, sorted": 1,
    }


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("val.txt", "5", "names object 5 where the annotations in .* hold 5"),  # one beyond the last
        ("val.txt", "99999999", "names object"),
        ("val.txt", "9" * 5_000, "number of an object"),
        ("val.txt", "-1", "number of an object"),
        ("val.txt", "1.5\n", "number of an object"),
        ("val.txt", "00002.jpg\n", "number of an object"),
        ("Annotations/00001.xml", "<annotation><object>", "every later object would have another number"),
        ("Annotations/00001.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "every later object"),
    ],
)
def test_files_that_would_shift_the_numbers_are_refused(tmp_path, name, content, message):
    (dataset(tmp_path) / name).write_text(content)
    with pytest.raises(InputError, match=message):
        dior_rsvg.read(tmp_path)


def test_without_splits_a_broken_file_is_counted(tmp_path):
    voc_file(tmp_path / "2.xml", voc_object("dam", (1, 1, 9, 9), "x"))
    (tmp_path / "1.xml").write_text("<annotation>" * 50)
    assert dior_rsvg.read(tmp_path).account.dropped.counts == {"file that cannot be read": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        dior_rsvg.read(tmp_path / "empty")


@pytest.mark.parametrize(
    "objects, splits, message",
    [
        (5, {"train": 2, "val": 1, "test": 2}, None),
        (6, {"train": 2, "val": 1, "test": 2}, "holds 5 objects in 3 files where 6"),
        (5, {"train": 2, "val": 2, "test": 2}, "val.txt names 1 objects where 2"),
    ],
)
def test_the_whole_set_has_its_counts(tmp_path, monkeypatch, objects, splits, message):
    monkeypatch.setattr(dior_rsvg, "FILES", 3)
    monkeypatch.setattr(dior_rsvg, "OBJECTS", objects)
    monkeypatch.setattr(dior_rsvg, "SPLITS", splits)
    if message is None:
        assert len(dior_rsvg.read(dataset(tmp_path))) == 5
    else:
        with pytest.raises(InputError, match=message):
            dior_rsvg.read(dataset(tmp_path))


def test_an_object_in_two_splits_is_asked_about_in_both(tmp_path):
    (dataset(tmp_path) / "val.txt").write_text("4\n0\n")
    found = dior_rsvg.read(tmp_path)
    assert said(found)[:2] == [("0", "00002.jpg", "a", "train"), ("0", "00002.jpg", "a", "val")]
    assert found.account.changed.counts == {"object in two splits, asked about in both": 1}
    assert len(dior_rsvg.read(tmp_path, split="val")) == 2


def test_sizes_come_from_pictures(tmp_path):
    picture(tmp_path / "JPEGImages" / "00002.jpg", (640, 480))
    found = dior_rsvg.read(dataset(tmp_path), images=tmp_path / "JPEGImages")
    assert (found.images["00002.jpg"].width, found.images["00002.jpg"].height) == (640, 480)
    assert found.account.changed.counts == {"size in the file is not the picture's, which was taken": 1}


def test_all_comes_back(tmp_path):
    first = dior_rsvg.read(dataset(tmp_path / "a"))
    account = dior_rsvg.write(first, tmp_path / "b")
    assert account.kept == 5 and not account.dropped.total and not account.changed.total
    assert what(dior_rsvg.read(tmp_path / "b")) == what(first)
    assert (tmp_path / "b" / "test.txt").read_text() == "1\n2\n"
    text = (tmp_path / "b" / "Annotations" / "00010.xml").read_text()
    # what the published loader reads by place: name, pose, bndbox, description
    assert [text.index(f"<{tag}>") for tag in ("name", "pose", "bndbox", "description")] == sorted(
        text.index(f"<{tag}>") for tag in ("name", "pose", "bndbox", "description")
    )


def test_what_the_files_cannot_hold_is_counted(tmp_path):
    shapes = [shapely.box(0.4, 0, 4.2, 3), shapely.box(5, 5, 7, 7), shapely.Polygon([(0, 0), (4, 0), (0, 4)])]
    objects = Objects.of(shapes, ["a", "b", "c"], kind=["hbb", "hbb", "polygon"])
    asked = [
        Asked("0", "x/a.png", "rec", "one", None, ("0",), split="test"),
        Asked("1", "x/a.png", "rec", "two", None, ("0",)),
        Asked("2", "x/a.png", "rec", "both", None, ("0", "1")), Asked("3", "x/a.png", "vqa", "?", "yes"),
        Asked("4", "x/a.png", "rec", "wedge\x07", None, ("2",), split="test"),
    ]  # fmt: skip
    images = {"x/a.png": LabelledImage("x/a.png", None, None, objects)}
    account = dior_rsvg.write(Published("ours", images, tuple(asked), Account()), tmp_path)
    assert account.kept == 3 and account.changed.counts == {"shape written as its box of whole pixels": 2}
    assert account.dropped.counts == {
        "question that is no expression for one object": 2,
        "object without an expression or an area": 1,
    }
    found = dior_rsvg.read(tmp_path)
    assert said(found) == [
        ("0", "x/a.png", "one", "test"), ("1", "x/a.png", "two", None), ("2", "x/a.png", "wedge", "test"),
    ]  # fmt: skip
    assert found.images["x/a.png"].objects.hbb_N4.tolist() == [[0, 0, 4, 3], [0, 0, 4, 3], [0, 0, 4, 4]]
