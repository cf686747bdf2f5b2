"""DOTA: headers, corners that carry the head, quadrangles that are no rectangles, and result files."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.geometry import OBB, Objects
from georefer.scenes.interchange import LabelledImage, dota


def text(folder, *lines, name="P1.txt"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_headers_sizes_and_rows(tmp_path):
    rows = ["0 0 10 0 10 5 0 5 small-vehicle 1", "", "0 0 4 0 4 4 0 4 ship"]
    text(tmp_path / "d", "imagesource:GoogleEarth", "gsd:0.15", *rows)
    text(tmp_path / "d", "gsd:null", name="P2.part.txt")
    read = dota.read(tmp_path / "d", sizes={"P1.png": (640, 480)}, names=["small vehicle"], ending=".tif")
    first, second = read.images
    assert (first.file_name, first.width, first.height) == ("P1.png", 640, 480)
    assert (second.file_name, second.width, second.attributes) == ("P2.part.tif", None, {})
    assert first.attributes == {"imagesource": "GoogleEarth", "gsd": 0.15}
    assert first.objects.labels_N.tolist() == ["small vehicle", "ship"]
    assert (
        first.objects.attributes_N.tolist() == [{"difficult": 1}, {}] and first.objects.kinds_N.tolist() == ["obb"] * 2
    )
    assert dota.read(tmp_path / "d", sizes=lambda stem: (9, 9)).images[1].width == 9


def test_the_first_corner_is_the_front_left(tmp_path):
    # a plane that flies right: its front left is the upper corner on the right side
    text(tmp_path / "d", "30 10 30 20 10 20 10 10 plane 0")
    (found,) = dota.read(tmp_path / "d").images[0].objects
    box = OBB.from_polygon(found.geometry)
    assert (box.heading_deg, box.length, box.width) == (0, 20, 10)
    dota.write(dota.read(tmp_path / "d"), tmp_path / "again")
    assert (tmp_path / "again" / "P1.txt").read_text() == "30 10 30 20 10 20 10 10 plane 0\n"


def test_anticlockwise_corners_are_turned_around_the_first(tmp_path):
    text(tmp_path / "d", "0 0 0 5 10 5 10 0 ship 0")
    read = dota.read(tmp_path / "d")
    dota.write(read, tmp_path / "again")
    assert (tmp_path / "again" / "P1.txt").read_text() == "0 0 10 0 10 5 0 5 ship 0\n"
    assert read.account.changed.counts == {"corners ran anticlockwise, turned": 1}


def test_quadrangles_stay_what_they_are(tmp_path):
    nearly, askew, crossed = "0 0 20 0.6 20 10 0 10", "0 0 20 5 20 10 0 10", "0 0 10 10 10 0 0 10"
    text(tmp_path / "d", f"{nearly} a 0", f"{askew} b 0", f"{crossed} c 0")
    read = dota.read(tmp_path / "d")
    objects = read.images[0].objects
    assert objects.kinds_N.tolist() == ["obb", "polygon", "polygon"]
    corners = shapely.get_coordinates(objects.geometries_N[0])[:4]
    assert np.isclose((corners[1] - corners[0]) @ (corners[2] - corners[1]), 0, atol=1e-9)
    assert read.account.changed.counts == {
        "nearly a rectangle, made one": 1, "four corners that are no rectangle, kept as a polygon": 1,
        "corners cross each other, kept as a polygon": 1,
    }  # fmt: skip
    dota.write(read, tmp_path / "again")
    assert f"{askew} b 0\n" in (tmp_path / "again" / "P1.txt").read_text()
    assert dota.read(tmp_path / "d", tolerance_px=0.1).images[0].objects.kinds_N[0] == "polygon"


def test_bad_rows_are_counted_and_a_wrong_file_is_refused(tmp_path):
    text(tmp_path / "d", "0 0 4 0 4 4 0 4 ship 0", "1 2 3", "0 0 4 0 4 4 0 x ship 0", "0 0 1 1 2 2 3 3 ship 0",
         "nan 0 4 0 4 4 0 4 ship 0", "0 0 4 0 4 4 0 4 ship maybe", "1_0 0 4 0 4 4 0 4 ship 0")  # fmt: skip
    account = dota.read(tmp_path / "d").account
    assert account.kept == 1 and account.dropped.counts == {
        "not 9 or 10 fields": 1, "coordinates are no numbers": 3, "no area": 1, "difficult is no whole number": 1,
    }  # fmt: skip
    text(tmp_path / "yolo", "0 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match=r"no usable row.*are expected"):
        dota.read(tmp_path / "yolo")


def test_what_cannot_be_said_is_counted(tmp_path):
    l_shape = shapely.Polygon([(0, 0), (10, 0), (10, 3), (4, 3), (4, 8), (0, 8)])
    objects = Objects.of(
        [l_shape, shapely.box(0, 0, 5, 5), shapely.Point(1, 1)],
        ["storage tank", "ship", "tree"],
        kind=["polygon", "hbb", "point"],
        scores=[0.5, None, None],
        attributes=[{"roof": "red", "difficult": 1}, {}, {}],
    )
    account = dota.write([LabelledImage("a/b.png", 20, 20, objects)], tmp_path / "d")
    assert account.kept == 2 and account.dropped.counts == {"a point has no corners to write": 1}
    assert account.changed.counts == {
        "score left out": 1, "attributes left out": 1, "outline written as its minimum-area rectangle": 1,
        "spaces in the class name written as hyphens": 1,
    }  # fmt: skip
    lines = (tmp_path / "d" / "a" / "b.txt").read_text().splitlines()
    assert lines[0].endswith(" storage-tank 1") and lines[1] == "0 0 5 0 5 5 0 5 ship 0"


def test_results_are_one_file_a_class(tmp_path):
    objects = Objects.of(
        [OBB(50, 50, 20, 10, 30).to_polygon(), shapely.box(1, 1, 5, 5), shapely.box(2, 2, 3, 3)],
        ["large vehicle", "ship", "ship"], kind=["obb", "hbb", "hbb"], scores=[0.75, 0.5, None],
    )  # fmt: skip
    account = dota.write_results([LabelledImage("P1.png", 100, 100, objects)], tmp_path / "r")
    assert account.kept == 2 and account.dropped.counts == {"no score": 1}
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["Task1_large-vehicle.txt", "Task1_ship.txt"]
    assert (tmp_path / "r" / "Task1_ship.txt").read_text() == "P1 0.5 1 1 5 1 5 5 1 5\n"
    (tmp_path / "r" / "Task2_ship.txt").write_text(
        "P2 0.25 1 2 3 4\n../P3 0.5 1 2 3 4\nP2 high 1 2 3 4\nP2 0.5 3 3 1 1\n"
    )
    read = dota.read_results(tmp_path / "r", names=["large vehicle"])
    assert [image.file_name for image in read] == ["P1.png", "P2.png"]
    assert read.images[0].objects.labels_N.tolist() == ["large vehicle", "ship"]
    assert OBB.from_polygon(read.images[0].objects.geometries_N[0]).heading_deg == pytest.approx(30, abs=0.1)
    assert read.images[1].objects.kinds_N.tolist() == ["hbb"] and read.images[1].objects.scores_N.tolist() == [0.25]
    assert read.account.dropped.counts == {
        "image name leads out of its folder": 1, "score is no number": 1, "no area": 1,
    }  # fmt: skip
    with pytest.raises(InputError, match="Task1_<category>"):
        dota.read_results(text(tmp_path / "d", "0 0 4 0 4 4 0 4 ship 0"))
    evil = Objects.from_hbb([[0, 0, 1, 1]], ["../../up"], scores=[0.5])
    with pytest.raises(InputError, match="cannot be part of a file name"):
        dota.write_results([LabelledImage("P1.png", 9, 9, evil)], tmp_path / "r")


side = st.floats(2, 80)


@given(st.lists(st.tuples(st.floats(-50, 500), st.floats(-50, 500), side, side, st.floats(0, 359.9)), max_size=5))
def test_round_trip(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("dota")
    boxes = [OBB(*row) for row in rows]
    objects = Objects.of([box.to_polygon() for box in boxes], ["plane"] * len(rows), kind="obb",
                         attributes=[{"difficult": 1}] * len(rows))  # fmt: skip
    account = dota.write([LabelledImage("a.png", 500, 500, objects)], folder)
    assert account.dropped.total == account.changed.total == 0
    again = dota.read(folder).images[0].objects
    assert (
        again.kinds_N.tolist() == ["obb"] * len(rows) and again.attributes_N.tolist() == objects.attributes_N.tolist()
    )
    for before, after in zip(objects.geometries_N, again.geometries_N, strict=True):
        # two decimals; corners are in the same order, so the heading is the same
        np.testing.assert_allclose(shapely.get_coordinates(after), shapely.get_coordinates(before), atol=0.02)
