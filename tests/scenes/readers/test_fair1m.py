"""FAIR1M: closed rectangles without a front, hostile XML, files that read the same when written again."""

import pytest
from tests.data.published_2 import FAIR1M, fair1m, picture

from georefer.errors import InputError
from georefer.geometry import OBB
from georefer.scenes.readers.fair1m import SOURCE

TALL = "100.0,50.0 120.0,50.0 120.0,150.0 100.0,150.0 100.0,50.0"


def test_a_folder(tmp_path):
    fair1m(tmp_path / "labelXml" / "0.xml", ("Boeing737", TALL), ("Small Car", "0,0 0,5 10,5 10,0 0,0"))
    read = SOURCE.read(tmp_path)
    (image,) = read.images.values()
    assert (image.file_name, image.width, image.height) == ("0.tif", 1000, 900)
    assert image.attributes == {"origin": "GF2/GF3"} and image.objects.labels_N.tolist() == ["Boeing737", "Small Car"]
    boxes = [OBB.from_polygon(g) for g in image.objects.geometries_N]
    # the longer side is the length, wherever the corners begin and whichever way they run
    assert [(b.length, b.width, b.heading_deg) for b in boxes] == [(100, 20, 90), (10, 5, 0)]
    assert not read.account.changed.total


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("step", [1, -1])
def test_the_order_of_corners_says_nothing(tmp_path, turn, step):
    corners = ["10,10", "40,20", "37,29", "7,19"][::step]
    corners = corners[turn:] + corners[:turn]
    (image,) = SOURCE.read(fair1m(tmp_path / "0.xml", ("Van", " ".join([*corners, corners[0]])))).images.values()
    box = OBB.from_polygon(image.objects.geometries_N[0])
    assert box.heading_deg == pytest.approx(18.435, abs=1e-3) and box.length == pytest.approx(1000**0.5)


def test_it_comes_back(tmp_path):
    read = SOURCE.read(fair1m(tmp_path / "0.xml", ("Van", "10,10 40,20 37,29 7,19 10,10"), ("Bus", TALL)))
    account = SOURCE.write(read, tmp_path / "again")
    again = SOURCE.read(tmp_path / "again")
    first, second = read.images["0.tif"], again.images["0.tif"]
    assert account.kept == 2 and (second.width, second.height) == (1000, 900)
    assert abs(first.objects.hbb_N4 - second.objects.hbb_N4).max() < 0.01
    assert second.objects.labels_N.tolist() == ["Van", "Bus"] and second.attributes == first.attributes
    text = (tmp_path / "again" / "0.xml").read_text()
    assert text.count("<point>") == 10 and "<coordinate>pixel</coordinate>" in text


def test_sizes_of_the_pictures_and_scores(tmp_path):
    path = fair1m(tmp_path / "labelXml" / "0.xml", ("Van", TALL))
    path.write_text(path.read_text().replace("</name>", "</name><probability>0.5</probability>"))
    picture(tmp_path / "images" / "0.tif", (700, 600))
    read = SOURCE.read(tmp_path)
    (image,) = read.images.values()
    assert (image.width, image.height) == (700, 600) and image.objects.scores_N.tolist() == [0.5]
    assert read.account.changed.counts == {"size in the file is not the picture's, which is taken": 1}
    SOURCE.write(read, tmp_path / "again")
    assert "<probability>0.5</probability>" in (tmp_path / "again" / "0.xml").read_text()


@pytest.mark.parametrize(
    ("label", "points", "reason"),
    [
        ("", TALL, "no class name"),
        ("Van", "0,0 1,1 2,2", "not four corners and the first again"),
        ("Van", "0,0 1,0 1,1 0,1 5,5", "not four corners and the first again"),
        ("Van", "0,0,0 1,0,0 1,1,0 0,1,0", "not four corners and the first again"),
        ("Van", "0,0 1,x 1,1 0,1", "coordinates are no numbers"),
        ("Van", "0,0 1,1 2,2 3,3 0,0", "no area"),
    ],
)
def test_bad_objects_are_counted(tmp_path, label, points, reason):
    read = SOURCE.read(fair1m(tmp_path / "0.xml", (label, points), ("Bus", TALL)))
    assert read.account.dropped.counts == {reason: 1} and read.account.kept == 1


def test_map_coordinates_are_no_pixels(tmp_path):
    path = fair1m(tmp_path / "0.xml", ("Van", TALL))
    path.write_text(path.read_text().replace(">pixel<", ">geo<"))
    assert SOURCE.read(path).account.dropped.counts == {"coordinates are 'geo', not pixels": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + FAIR1M.partition("?>")[2], "declares a document type"),
        ("<a>" * 40, "nested deeper"),
        ("<annotation/>", "<annotation> with <objects> is expected"),
        ("no xml", "is no XML"),
    ],
)
def test_hostile_files_are_refused(tmp_path, text, message):
    (tmp_path / "0.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        SOURCE.read(tmp_path / "0.xml")


def test_names_that_lead_out_are_dropped(tmp_path):
    read = SOURCE.read(fair1m(tmp_path / "0.xml", ("Van", TALL), name="../../0.tif"))
    assert not read.images and read.account.dropped.counts == {"image name leads out of its folder": 1}
