"""YOLO: the variant is named, numbers are parts of the sides, names are words."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.geometry import OBB, Objects
from georefer.scenes.interchange import LabelledImage, yolo

SIZES = {"a.jpg": (200, 100)}
NAMES = ["ship", "plane"]


def label(folder, *lines, name="a.txt"):
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def read(folder, variant="yolo", **options):
    return yolo.read(folder, variant=variant, **{"sizes": SIZES, "names": NAMES, **options})


def test_the_three_variants(tmp_path):
    (found,) = read(label(tmp_path, "1 0.5 0.5 0.2 0.4"))
    assert found.objects.geometries_N[0].bounds == (80, 30, 120, 70) and found.objects.labels_N.tolist() == ["plane"]
    label(tmp_path, "0 0.1 0.1 0.2 0.1 0.2 0.5 0.1 0.5 0.75")
    (found,) = read(tmp_path, "yolo-obb").images[0].objects
    assert found.kind == "obb" and found.score == 0.75 and found.geometry.bounds == (20, 10, 40, 50)
    label(tmp_path, "0 0.1 0.1 0.2 0.1 0.2 0.5 0.1 0.5")
    (found,) = read(tmp_path, "yolo-seg").images[0].objects
    assert found.kind == "polygon" and found.score is None  # eight numbers are an outline here


@pytest.mark.parametrize(
    "variant, row",
    [("yolo", "0 .1 .1 .2 .1 .2 .5 .1 .5"), ("yolo-obb", "0 .5 .5 .2 .2"), ("yolo-seg", "0 .5 .5 .2 .2")],
)
def test_a_wrong_variant_is_refused_not_guessed(tmp_path, variant, row):
    with pytest.raises(InputError, match=f"not the fields of {variant}.*check the variant"):
        read(label(tmp_path, row), variant)
    with pytest.raises(InputError, match="choose among yolo, yolo-obb, yolo-seg"):
        read(tmp_path, "yolov5")


def test_bad_rows_are_counted(tmp_path):
    label(tmp_path, "0 .5 .5 .2 .2 .9", "0 .5 .5 .2", "0 .5 .5 x .2", "7 .5 .5 .2 .2", "0.5 .5 .5 .2 .2",
          "0 .5 .5 0 .2", "0 80 30 20 20", "0 .5 .5 inf .2", "0 .5 .5 .2 .2 high", "1.0 .5 .5 .2 .2")  # fmt: skip
    label(tmp_path, "0 .5 .5 .2 .2", "0 .5 .5 .2 .2", name="b.txt")
    account = read(tmp_path).account
    assert account.kept == 2 and account.dropped.counts == {
        "not the fields of yolo": 1, "coordinates are no numbers": 2, "class that names do not hold": 2, "no area": 1,
        "numbers outside 0 to 1": 1, "score is no number": 1, "image of unknown size": 2,
    }  # fmt: skip


def test_names_are_words_in_any_yaml(tmp_path):
    for content in (
        "names: [no, 'on', 1.0]",
        "path: x\nnc: 3\nnames:\n  0: no\n  1: on\n  2: 1.0\n",
        "names:\n- no\n- on\n- 1.0\n",
    ):
        (tmp_path / "data.yaml").write_text(content)
        assert yolo.class_names(tmp_path / "data.yaml") == {0: "no", 1: "on", 2: "1.0"}
    for content in (
        "nc: 3",
        "names: 3",
        "names: {a: b}",
        "names: [[a]]",
        "- a",
        "{",
        "names: !!python/object:os.system x",
    ):
        (tmp_path / "data.yaml").write_text(content)
        with pytest.raises(InputError):
            yolo.class_names(tmp_path / "data.yaml")
    (tmp_path / "data.yaml").write_text(
        "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(9)) + "names: [y]"
    )
    assert yolo.class_names(tmp_path / "data.yaml") == {0: "y"}
    with pytest.raises(InputError, match="expected once"):
        yolo.class_names(["a", "a"])


def test_the_folder_that_is_written_is_read_without_names(tmp_path):
    objects = Objects.from_hbb([[10, 10, 30, 50]], ['a "quoted": class'], scores=[0.5])
    images = [LabelledImage("x/a.jpg", 200, 100, objects), LabelledImage("b.jpg", 200, 100, Objects.none())]
    yolo.write(images, tmp_path, variant="yolo")
    assert (tmp_path / "labels" / "b.txt").read_text() == ""  # background, as trainers want it
    assert (tmp_path / "labels" / "x" / "a.txt").read_text() == "0 0.1 0.3 0.1 0.4 0.5\n"
    back = yolo.read(tmp_path, variant="yolo", sizes={"x/a.jpg": (200, 100), "b.jpg": (200, 100)})
    assert [i.file_name for i in back] == ["b.jpg", "x/a.jpg"] and back.classes == {'a "quoted": class': 0}


def test_shapes_over_the_edge_are_cut(tmp_path):
    objects = Objects.of(
        [shapely.box(-10, 10, 10, 20), shapely.box(300, 0, 310, 9), OBB(0, 50, 40, 20, 30).to_polygon()],
        ["ship"] * 3, kind=["hbb", "hbb", "obb"],
    )  # fmt: skip
    for variant in ("yolo", "yolo-obb", "yolo-seg"):
        account = yolo.write([LabelledImage("a.jpg", 200, 100, objects)], tmp_path, variant=variant)
        assert account.kept == 2 and account.dropped.counts == {"outside the image": 1}
        assert account.changed.counts["cut at the image's edge"] == 2
        numbers = [
            float(w) for line in (tmp_path / "labels" / "a.txt").read_text().splitlines() for w in line.split()[1:]
        ]
        assert min(numbers) >= 0 and max(numbers) <= 1
    (first, second) = read(tmp_path / "labels", "yolo-seg").images[0].objects
    assert first.geometry.bounds == (0, 10, 10, 20) and second.geometry.area < 800


def test_holes_and_parts_are_counted(tmp_path):
    ring = shapely.box(10, 10, 50, 50).difference(shapely.box(20, 20, 30, 30))
    two = shapely.MultiPolygon([shapely.box(60, 10, 70, 20), shapely.box(80, 10, 90, 20)])
    image = LabelledImage(
        "a.jpg",
        200,
        100,
        Objects.of([ring, two, shapely.Point(1, 1)], ["ship"] * 3, kind=["polygon", "polygon", "point"]),
    )
    account = yolo.write([image], tmp_path, variant="yolo-seg")
    assert account.changed.counts == {"holes filled": 1, "parts written as objects of their own": 1}
    assert account.dropped.counts == {"a point has no area to write": 1}
    assert len(read(tmp_path, "yolo-seg").images[0].objects) == 3


def test_the_callers_mistakes_raise(tmp_path):
    objects = Objects.from_hbb([[10, 10, 30, 50]], ["ship"])
    with pytest.raises(InputError, match=r"size of a.jpg is unknown"):
        yolo.write([LabelledImage("a.jpg", None, None, objects)], tmp_path, variant="yolo")
    with pytest.raises(InputError, match="would share"):
        yolo.write([LabelledImage(n, 9, 9, objects) for n in ("a.jpg", "a.png")], tmp_path, variant="yolo")
    with pytest.raises(InputError, match="differ only by their ending"):
        read(label(tmp_path, "0 .5 .5 .2 .2"), sizes={"a.jpg": (9, 9), "a.png": (8, 8)})
    account = yolo.write([LabelledImage("a.jpg", 99, 99, objects)], tmp_path, variant="yolo", names=["plane"])
    assert account.dropped.counts == {"class that has no number in names": 1}


inside = st.tuples(st.floats(40, 160), st.floats(40, 60), st.floats(2, 40), st.floats(2, 40), st.floats(0, 359.9))


@given(st.sampled_from(["yolo", "yolo-obb", "yolo-seg"]), st.lists(inside, min_size=1, max_size=5))
def test_round_trip(tmp_path_factory, variant, rows):
    folder = tmp_path_factory.mktemp("yolo")
    kind = {"yolo": "hbb", "yolo-obb": "obb", "yolo-seg": "polygon"}[variant]
    shapes = [OBB(*row).to_polygon() for row in rows]
    shapes = [shapely.box(*shape.bounds) for shape in shapes] if kind == "hbb" else shapes
    objects = Objects.of(shapes, ["ship", *["plane"] * (len(rows) - 1)], kind=kind, scores=[0.25] * len(rows))
    account = yolo.write([LabelledImage("a.jpg", 200, 100, objects)], folder, variant=variant, names=NAMES)
    assert account.kept == len(rows) and account.dropped.total == account.changed.total == 0
    (image,) = yolo.read(folder, variant=variant, sizes=SIZES)
    again = image.objects
    assert again.labels_N.tolist() == objects.labels_N.tolist() and again.kinds_N.tolist() == [kind] * len(rows)
    assert again.scores_N.tolist() == [0.25] * len(rows)
    for before, after in zip(objects.geometries_N, again.geometries_N, strict=True):
        # six decimals of 200 px, and corners that need not be a rectangle's to the last digit
        np.testing.assert_allclose(shapely.get_coordinates(after), shapely.get_coordinates(before), atol=5e-4)


@pytest.mark.parametrize("label", ["a\u2028b", "x\x85y", "ship \U0001f6a2", 'q"\\n', "yes", "1e3", "- a: b"])
def test_labels_that_yaml_would_misread_come_back(tmp_path, label):
    image = LabelledImage("P1.png", 120, 80, Objects.from_hbb([[1, 2, 30, 40]], [label]))
    yolo.write([image], tmp_path, variant="yolo")
    (read,) = yolo.read(tmp_path, variant="yolo", sizes={"P1.png": (120, 80)}).images
    assert list(read.objects.labels_N) == [label]
