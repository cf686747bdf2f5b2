"""Drops as the manifest counts them, and pictures of what scenes say they dropped."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.data.small import small_dataset

from georefer.dialects import DIALECTS
from georefer.evaluation.inspect import inspect
from georefer.evaluation.inspect_drops import examples, plain_lines, registration, tables
from georefer.evaluation.inspect_seen import DialectSight
from georefer.imagery.encode import decode_image, encode_image
from georefer.scenes import DatasetWriter, open_dataset

SIGHT = DialectSight(DIALECTS["georefer"])
COUNTS = {
    "test: objects": 7, "test: objects dropped, smaller than min_px": 4,
    "train: objects dropped, smaller than min_px": 30,
    "train: objects dropped, less visible than min_visible": 2, "train: chips dropped, too little imagery": 1,
    "train: scenes": 9,
}  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """A dataset whose manifest, and what its scenes say they dropped, is replaced by what a test wants."""
    dataset = small_dataset(tmp_path / "data", 4)

    def make(dropped=None, **more):
        if dropped is not None:
            scenes = [replace(s, provenance={"dropped": dropped.get(s.id)}) for s in dataset.scenes("test")]
            with DatasetWriter(dataset.folder, replace=True) as writer:
                writer.write("test", scenes, dataset.questions("test"))
                writer.finish("")
        path = dataset.folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
        return open_dataset(dataset.folder)

    return make


def test_counts_become_tables():
    features = {"roads: read": 5, "roads: used": 3, "ships: read": 1, "no colon": 4, "bad: value": "x"}
    dropped, kept, layers = tables({"counts": COUNTS, "splits": {"train": {}, "test": {}}, "features": features})
    assert dropped.columns == ("train", "test")
    assert dropped.rows == (
        ("objects dropped, smaller than min_px", (30, 4)),
        ("objects dropped, less visible than min_visible", (2, None)),
        ("chips dropped, too little imagery", (1, None)),
    )
    assert kept.rows == (("scenes", (9, None)), ("objects", (None, 7)))
    assert layers.columns == ("read", "used") and layers.rows == (("roads", (5, 3)), ("ships", (1, None)))


@pytest.mark.parametrize("manifest", [{}, {"counts": {}}, {"counts": [1]}, {"counts": {"x": 1}, "features": None}])
def test_a_manifest_without_counts_has_no_tables(manifest):
    assert tables(manifest) == []


def test_the_page_shows_every_count(made):
    page = inspect(made(counts=COUNTS), "test", 1, sight=SIGHT).page
    for row, numbers in (("smaller than min_px", ("4", "30")), ("too little imagery", ("1",))):
        cells = page[page.index(f"<td>objects dropped, {row}" if row != "too little imagery" else f", {row}") :]
        cells = cells[: cells.index("</tr>")]
        assert all(f">{number}</td>" in cells for number in numbers), cells


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ({}, []),
        (None, []),
        ({"a": {"b": 3, "c": []}, "d": [1, 2]}, [("a, b", "3"), ("d", "1, 2")]),
        ([{"kind": "empty", "count": 2}, {"kind": "z"}], [("kind", "empty"), ("count", "2"), ("kind", "z")]),
    ],
)
def test_plain_lines(value, lines):
    assert plain_lines(value) == lines


def test_plain_lines_are_bounded():
    nested = {}
    for _ in range(5000):
        nested = {"x": nested, "y": 1}
    assert len(plain_lines(nested)) == 200
    assert len(plain_lines([{"a": list(range(10**5))}] * 1000)) == 200


def entry(box=(10, 10, 20, 20), rule="small", label="tank"):
    return [label, rule, *box]


def decoded(shown):
    return decode_image(base64.b64decode(shown.picture.partition(",")[2]))


def test_examples_are_crops_of_their_scenes(made):
    dataset = made({"scene-1": [entry((60, 50, 70, 66))]})
    (shown,) = examples(dataset)
    scene = next(s for s in dataset.scenes("test") if s.id == "scene-1")
    x, y, width, height = shown.box
    assert (width, height, shown.label, shown.rule) == (10, 16, "tank", "small")
    crop, whole = decoded(shown), scene.pixels()
    left, top = 60 - int(x), 50 - int(y)
    assert crop.shape[1::-1] == shown.size
    assert (crop == whole[top : top + crop.shape[0], left : left + crop.shape[1]]).all()


@pytest.mark.parametrize(
    "box",
    [
        (-20, 5, 4, 15), (150, 110, 190, 140), (0, 0, 160, 120), (-500, -500, -490, -490), (900, 3, 901, 4),
        (5, 5, 5, 5),
    ],
)  # fmt: skip
def test_boxes_beyond_the_edge_are_shown_with_the_scene_there(box, made):
    (shown,) = examples(made({"scene-1": [entry(box)]}))
    crop = decoded(shown)
    assert crop.shape[1::-1] == shown.size and min(shown.size) >= 1 and shown.size[0] <= 160 and shown.size[1] <= 120
    assert shown.box[2:] == (box[2] - box[0], box[3] - box[1])


def test_at_most_four_examples_a_rule(made):
    boxes = [(n, n, n + 3, n + 3) for n in range(5)]
    given = {f"scene-{n}": [entry(box, rule) for box in boxes for rule in ("small", "hidden")] for n in range(4)}
    dataset = made(given)
    shown = examples(dataset)
    assert [e.rule for e in shown].count("small") == [e.rule for e in shown].count("hidden") == 4
    page = inspect(dataset, "test", 1, sight=SIGHT).page
    assert page.count("<figure><div") == 8


@pytest.mark.parametrize(
    "given",
    [
        None, {}, "x", [1], [[]], [entry((1, 2, 3))], [entry((9, 1, 3, 4))], [entry((1, "2", 3, 4))],
        [entry(rule=None)], [entry(label=5)], [entry((0, 0, 1e9, 1e9))], [entry((float("nan"), 0, 1, 1))],
    ],
)  # fmt: skip
def test_examples_that_are_none_are_passed_over(given, made):
    dataset = made({"scene-1": given})
    assert examples(dataset) == []
    assert "wrong" not in inspect(dataset, "test", 1, sight=SIGHT).page.split("<body>")[1].split("verdict")[0]


def test_registration_is_shown_with_its_picture(made):
    picture = encode_image(np.zeros((4, 6, 3), np.uint8), "JPEG")
    area = {
        "regions": 4,
        "median_east_north_m": [1.5, -0.5],
        "by_region": [{"x": 1}] * 50,
        "picture": "registration.jpg",
    }
    for given, prefix in ((area, ""), ({"town": area, "odd": 3}, "town, ")):
        dataset = made(registration=given)
        (dataset.folder / "registration.jpg").write_bytes(picture)
        lines, pictures = registration(dataset)
        assert lines == [(f"{prefix}regions", "4"), (f"{prefix}median_east_north_m", "1.5, -0.5")]
        assert pictures == [f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"]
        assert pictures[0] in inspect(dataset, "test", 1, sight=SIGHT).page


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "gone.png", "manifest.json", "", ".", 5, None])
def test_no_other_file_is_shown(name, made):
    dataset = made(registration={"regions": 1, "picture": name})
    (dataset.folder.parent / "secret.png").write_bytes(encode_image(np.zeros((4, 6, 3), np.uint8)))
    (dataset.folder / "link.png").unlink(missing_ok=True)
    assert registration(dataset)[1] == []


def test_no_file_is_reached_through_a_link(made):
    dataset = made(registration={"regions": 1, "picture": "link.png"})
    secret = dataset.folder.parent / "secret.png"
    secret.write_bytes(encode_image(np.zeros((4, 6, 3), np.uint8)))
    (dataset.folder / "link.png").symlink_to(secret)
    assert registration(dataset)[1] == []
