"""RRSIS-D: a pickle that is not trusted, masks of several parts, sentences of references."""

import json
import pickle

import pytest
import shapely
from tests.data.published_1 import picture, reference, what
from tests.data.published_1 import rle as coded
from tests.data.published_1 import rrsis_d as made

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers import rrsis_d
from georefer.scenes.readers.base import Asked, Published

SIZE = (40, 30)
IMAGES = [{"id": n, "file_name": f"0000{n}.jpg", "width": 40, "height": 30} for n in (1, 2, 3)]


def annotation(number, *masks, **change):
    row = {"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0}
    return {**row, "segmentation": list(masks) or [coded(SIZE, (5, 5, 15, 15))], **change}


ANNOTATIONS = [annotation(1), annotation(2, category_id=2), annotation(3)]
REFS = [
    reference(1, "The Airport", "Left of it"),
    reference(2, "The ship", split="test"),
    reference(3, "x", split="val"),
]


def test_sentences_ask_for_masks(tmp_path):
    found = rrsis_d.read(made(tmp_path, REFS, ANNOTATIONS, IMAGES))
    image = found.images["00001.jpg"]
    (airport,) = image.objects
    assert (image.width, image.height, image.attributes) == (40, 30, {"id": 1})
    assert (airport.id, airport.label, airport.kind, airport.geometry.bounds) == (
        "1",
        "airport",
        "mask",
        (5, 5, 15, 15),
    )
    assert airport.attributes == {"bbox": [5, 5, 10, 10]}
    asks = [(one.id, one.image, one.asks, one.text, one.object_ids, one.split) for one in found]
    assert asks == [
        ("1/0", "00001.jpg", "res", "The Airport", ("1",), "train"),
        ("1/1", "00001.jpg", "res", "Left of it", ("1",), "train"),
        ("2/0", "00002.jpg", "res", "The ship", ("2",), "test"), ("3/0", "00003.jpg", "res", "x", ("3",), "val"),
    ]  # fmt: skip
    assert found.questions[0].params == {"expression": "the airport", "ref_id": 1, "sent_id": 100}
    assert found.images["00002.jpg"].objects.labels_N.tolist() == ["ship"]


def test_paths_and_splits(tmp_path):
    made(tmp_path / "rrsisd", REFS, ANNOTATIONS, IMAGES)
    for path in (tmp_path, tmp_path / "rrsisd", tmp_path / "rrsisd" / "refs(unc).p"):
        found = rrsis_d.read(path, split="test")
        assert [one.id for one in found] == ["2/0"] and list(found.images) == ["00002.jpg"]
    with pytest.raises(InputError, match="no split 'dev'; it has test, train, val"):
        rrsis_d.read(tmp_path, split="dev")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds none of"):
        rrsis_d.read(tmp_path / "empty")
    (tmp_path / "rrsisd" / "instances.json").unlink()
    with pytest.raises(InputError, match="cannot be opened"):
        rrsis_d.read(tmp_path)


@pytest.mark.parametrize(
    "masks, area, kind, changed",
    [
        ([coded(SIZE, (5, 5, 15, 15)), coded(SIZE, (20, 5, 30, 15))], 200, "mask", None),
        ([coded(SIZE, (5, 5, 15, 15)), coded(SIZE, (10, 5, 20, 15))], 150, "mask",
         "parts of a mask that overlap, joined"),
        ([coded(SIZE, (5, 5, 15, 15)), coded((30, 40), (1, 1, 2, 2))], 100, "mask",
         "part of a mask left out: mask of another size than its image"),
        ([[0, 0, 4, 0, 4, 3, 0, 3]], 12, "polygon", None),
        ([[0, 0, 4, 4, 4, 0, 0, 4], [10, 10, 14, 10, 14, 14]], 16, "polygon", None),  # one crosses itself
    ],
)  # fmt: skip
def test_masks_of_several_parts(tmp_path, masks, area, kind, changed):
    found = rrsis_d.read(made(tmp_path, REFS[:1], [annotation(1, *masks)], IMAGES))
    (thing,) = found.images["00001.jpg"].objects
    assert (thing.geometry.area, thing.kind) == (area, kind)
    assert list(found.account.changed.counts) == ([changed] if changed else [])


BAD_MASKS = [
    (["x"], "outline of fewer than three points"),
    ([{}], "mask without [height, width]"),
    ([{"size": [30, 40], "counts": "00"}], "mask whose runs do not fill it"),
    ([{"size": [30, 40], "counts": [10**30]}], "mask whose runs do not fill it"),
    ([{"size": [1 << 20, 1 << 20], "counts": "1"}], "mask without [height, width]"),  # a side of over a million
    ([{"size": [1 << 14, 1 << 14], "counts": "1"}], "mask of another size than its image"),
    ([{"size": [30, 40], "counts": [1_200]}], "mask without pixels"),
    ([coded(SIZE, (5, 5, 15, 15))] * 1_001, "mask of more than 1000 parts"),
]


@pytest.mark.parametrize(
    "refs, annotations, images, reason",
    [
        *[([reference(1, "a")], [annotation(1, *masks)], IMAGES, reason) for masks, reason in BAD_MASKS],
        ([reference(1, "a")], [annotation(1, segmentation=None)], IMAGES, "outline of fewer than three points"),
        ([reference(9, "a")], ANNOTATIONS, IMAGES, "annotation that instances.json does not hold"),
        ([reference(1, "a")], ANNOTATIONS, IMAGES[1:], "image that instances.json does not hold"),
        ([reference(1, "a")], [annotation(1, category_id=7)], IMAGES, "category without a name"),
        (
            [reference(1, "a")],
            ANNOTATIONS,
            [{**IMAGES[0], "file_name": "../a.jpg"}],
            "image name leads out of its folder",
        ),
        ([reference(1)], ANNOTATIONS, IMAGES, "no sentence, or sentences beyond 100"),
        ([reference(1, *["a"] * 101)], ANNOTATIONS, IMAGES, "no sentence, or sentences beyond 100"),
        ([reference(1, "")], ANNOTATIONS, IMAGES, "sentence without words"),
        ([{**reference(1), "sentences": [7]}], ANNOTATIONS, IMAGES, "sentence without words"),
        ([7], ANNOTATIONS, IMAGES, "reference without a ref_id of its own"),
        ([reference(1, "a"), reference(1, "b")], ANNOTATIONS, IMAGES, "reference without a ref_id of its own"),
        ([{**reference(1, "a"), "ref_id": float("nan")}], ANNOTATIONS, IMAGES, "reference without a ref_id of its own"),
    ],
)
def test_bad_references_are_counted(tmp_path, refs, annotations, images, reason):
    good = reference(3, "good")
    found = rrsis_d.read(made(tmp_path, [*refs, good], [*annotations, annotation(3)], [*images, IMAGES[2]]))
    assert found.account.dropped.counts == {reason: 1}
    assert found.questions[-1].text == "good"


def test_references_to_one_annotation_mean_one_object(tmp_path):
    refs = [reference(1, "a"), reference(2, "b", ann=1, image=1), reference(3, "c", ann=1, image=2)]
    found = rrsis_d.read(made(tmp_path, refs, ANNOTATIONS, IMAGES))
    assert [one.object_ids for one in found] == [("1",)] * 3 and found.account.kept == 1
    assert found.account.changed.counts == {
        "image of the annotation differs from the reference's, which was not taken": 1
    }


def test_sizes_are_checked_against_pictures(tmp_path):
    picture(tmp_path / "JPEGImages" / "00001.jpg", (30, 40))
    refs = [reference(1, "a"), reference(2, "b")]
    found = rrsis_d.read(made(tmp_path / "rrsisd", refs, ANNOTATIONS, IMAGES), images=tmp_path / "JPEGImages")
    assert found.account.dropped.counts == {"mask of another size than its image": 1}  # it would lie on other ground


class Runs:
    def __reduce__(self):
        return __import__("os").system, ("echo ran > ran.txt",)


@pytest.mark.parametrize(
    "refs",
    [
        pickle.dumps([reference(1, "a"), Runs()]),
        pickle.dumps({"refs": []}),
        b"\x80\x04]r\xff\xff\xff\xff0]" + b"(" * 100 + b".",
        b"I" + b"9" * 10_000 + b"\n.",
        b"",
    ],
)
def test_hostile_pickles_are_refused(tmp_path, monkeypatch, refs):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        rrsis_d.read(made(tmp_path, refs, ANNOTATIONS, IMAGES))
    assert not (tmp_path / "ran.txt").exists()


def test_sentences_that_are_shared_do_not_multiply(tmp_path):
    many = [{"raw": "a", "sent_id": 1}] * 5_000
    refs = [{**reference(n, ann=1), "sentences": many} for n in range(50)]
    found = rrsis_d.read(made(tmp_path, refs, ANNOTATIONS, IMAGES))
    assert len(found) == 50 * rrsis_d.MAX_SENTENCES
    loop: list = []
    loop.append(loop)
    refs = [{**reference(1, "a"), "tokens": loop, "split": loop}, {**reference(2), "sentences": loop}]
    assert [one.split for one in rrsis_d.read(made(tmp_path, refs, ANNOTATIONS, IMAGES))] == [None]


@pytest.mark.parametrize("content", ["[]", '{"images": []}', '{"images": 1, "annotations": [], "categories": []}', "{"])
def test_tables_that_are_none(tmp_path, content):
    made(tmp_path, REFS, ANNOTATIONS, IMAGES)
    (tmp_path / "instances.json").write_text(content)
    with pytest.raises(InputError):
        rrsis_d.read(tmp_path)


@pytest.mark.parametrize("protocol", range(6))
def test_all_comes_back(tmp_path, protocol):
    first = rrsis_d.read(made(tmp_path / "a", REFS, ANNOTATIONS, IMAGES, protocol))
    account = rrsis_d.write(first, tmp_path / "b")
    assert account.kept == 3 and not account.dropped.total and not account.changed.total
    assert what(rrsis_d.read(tmp_path / "b")) == what(first)
    # the published tools open it with pickle, and look up each reference's annotation
    refs = pickle.loads((tmp_path / "b" / "refs(unc).p").read_bytes())  # noqa: S301
    assert refs == REFS or [ref["sentences"] for ref in refs] == [ref["sentences"] for ref in REFS]
    tables = json.loads((tmp_path / "b" / "instances.json").read_text())
    assert [row["segmentation"] for row in tables["annotations"]] == [row["segmentation"] for row in ANNOTATIONS]


def test_what_the_files_cannot_hold_is_counted(tmp_path):
    shapes = [shapely.box(0, 0, 4, 3), shapely.Point(1, 1)]
    objects = Objects.of(shapes, ["a", "b"], kind=["hbb", "point"], ids=["x", "y"])
    asked = [Asked("0", "a.png", "res", "one", None, ("x",)), Asked("1", "a.png", "res", "two", None, ("y",)),
             Asked("2", "a.png", "vqa", "?", "yes"), Asked("3", "a.png", "res", "none", None, ())]  # fmt: skip
    ours = Published("ours", {"a.png": LabelledImage("a.png", 9, 9, objects)}, tuple(asked), Account())
    account = rrsis_d.write(ours, tmp_path)
    assert account.kept == 1 and account.changed.counts == {"a hbb written as whole pixels": 1}
    assert account.dropped.counts == {
        "a point without pixels, or in an image of unknown size": 1, "expression for an object that was not written": 1,
        "question that is no expression for one object": 2,
    }  # fmt: skip
    (question,) = (found := rrsis_d.read(tmp_path)).questions
    assert question.text == "one" and found.images["a.png"].objects.geometries_N[0].area == 12
