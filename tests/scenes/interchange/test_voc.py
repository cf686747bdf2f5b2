"""Pascal VOC: which edges a pixel number means, rotated boxes, and XML that is not trusted."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.geometry import OBB, Objects
from georefer.scenes.interchange import LabelledImage, voc

BOX = "<bndbox><ymin>1</ymin><xmin>3</xmin><xmax>5</xmax><ymax>1</ymax></bndbox>"
SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def xml(folder, *objects, head="<filename>a.png</filename>", name="a.xml"):
    inside = "".join(f"<object>{one}</object>" for one in objects)
    (folder / name).write_text(f"<annotation>{head}{SIZE}{inside}</annotation>")
    return folder


@pytest.mark.parametrize(
    "one_based, inclusive, bounds",
    [
        (True, True, (2, 0, 5, 1)),
        (False, True, (3, 1, 6, 2)),
        (False, False, (3, 1, 5, 9)),
        (True, False, (2, 0, 4, 8)),
    ],
)
def test_what_a_pixel_number_means(tmp_path, one_based, inclusive, bounds):
    box = BOX if inclusive else BOX.replace("<ymax>1<", "<ymax>9<")
    (image,) = voc.read(xml(tmp_path, f"<name>ship</name>{box}"), one_based=one_based, inclusive=inclusive)
    assert (image.file_name, image.width, image.height) == ("a.png", 40, 30)
    assert image.objects.geometries_N[0].bounds == bounds and image.objects.kinds_N.tolist() == ["hbb"]
    voc.write([image], tmp_path / "again", one_based=one_based, inclusive=inclusive)
    again = voc.read(tmp_path / "again", one_based=one_based, inclusive=inclusive)
    assert again.images[0].objects.geometries_N[0].bounds == bounds


def test_parts_have_boxes_of_their_own(tmp_path):
    part = f"<part><name>bow</name>{BOX.replace('>3<', '>4<')}</part>"
    flags = "<pose>Left</pose><truncated>1</truncated><difficult>0</difficult><occluded>1</occluded><note> x </note>"
    (found,) = voc.read(xml(tmp_path, f"<name> ship </name>{part}{BOX}{flags}")).images[0].objects
    assert found.geometry.bounds == (2, 0, 5, 1) and found.label == "ship"
    assert found.attributes == {"pose": "Left", "truncated": 1, "difficult": 0, "occluded": 1, "note": "x"}


def test_rotated_boxes_turn_clockwise_in_radians(tmp_path):
    box = "<cx>20</cx><cy>10</cy><w>8</w><h>4</h><angle>0.5</angle>"
    rotated = f"<type>robndbox</type><name>ship</name><robndbox>{box}</robndbox>"
    (found,) = voc.read(xml(tmp_path, rotated)).images[0].objects
    got = OBB.from_polygon(found.geometry)
    assert found.kind == "obb" and (got.cx, got.cy, got.length, got.width) == pytest.approx((20, 10, 8, 4))
    assert got.heading_deg == pytest.approx(math.degrees(0.5))  # no pixel is taken off


def test_dior_writes_corners(tmp_path):
    corners = {"left_top": (10, 5), "right_top": (20, 5), "right_bottom": (20, 9), "left_bottom": (10, 9)}
    inside = "".join(f"<x_{k}>{x}</x_{k}><y_{k}>{y}</y_{k}>" for k, (x, y) in corners.items())
    (found,) = (
        voc.read(xml(tmp_path, f"<name>ship</name><robndbox>{inside}</robndbox><angle>0</angle>")).images[0].objects
    )
    assert found.kind == "obb" and found.geometry.bounds == (10, 5, 20, 9) and found.attributes == {"angle": "0"}


def test_hrsc_knows_the_head(tmp_path):
    # numbers of a published annotation: the head lies right and up of the middle, as the angle says
    box = ("<Class_ID>100000013</Class_ID><difficult>0</difficult><box_xmin>194</box_xmin><mbox_cx>582.9349</mbox_cx>"
           "<mbox_cy>353.2006</mbox_cy><mbox_w>778.1303</mbox_w><mbox_h>174.2541</mbox_h><mbox_ang>-0.2144308</mbox_ang>"
           "<header_x>{}</header_x><header_y>290</header_y>")  # fmt: skip
    head = "<Img_FileName>100000001</Img_FileName><Img_FileFmt>bmp</Img_FileFmt><Img_SizeWidth>1166</Img_SizeWidth>"
    for header, heading in ((964, 360 - math.degrees(0.2144308)), (200, 180 - math.degrees(0.2144308))):
        inside = f"<HRSC_Objects><HRSC_Object>{box.format(header)}</HRSC_Object></HRSC_Objects>"
        (tmp_path / "a.xml").write_text(f"<HRSC_Image>{head}{inside}</HRSC_Image>")
        (image,) = voc.read(tmp_path, names={"100000013": "carrier"})
        assert (image.file_name, image.width, image.height) == ("100000001.bmp", 1166, None)
        (found,) = image.objects
        assert found.label == "carrier" and found.attributes == {"difficult": 0}
        assert OBB.from_polygon(found.geometry).heading_deg == pytest.approx(heading)


def test_bad_objects_and_names_are_counted(tmp_path):
    xml(tmp_path, f"<name>ship</name>{BOX}", BOX, f"<name></name>{BOX}", "<name>ship</name>", "<name>s</name><bndbox/>",
        f"<name>ship</name>{BOX.replace('>5<', '>1<')}")  # fmt: skip
    xml(tmp_path, f"<name>ship</name>{BOX}", head="<filename>../../a.png</filename>", name="b.xml")
    xml(tmp_path, head="<filename>a.png</filename>", name="c.xml")
    xml(tmp_path, head="", name="d.xml")
    (tmp_path / "e.xml").write_text("<annotation><object>")
    (tmp_path / "f.xml").write_text("<PAMDataset/>")
    read = voc.read(tmp_path)
    assert [image.file_name for image in read] == ["a.png", "c.png", "d.jpg"]
    assert read.account.kept == 1 and read.account.dropped.counts == {
        "no class name": 2, "no box": 1, "coordinates are no numbers": 1, "no area": 1,
        "image name leads out of its folder": 1, "file that cannot be read": 2,
    }  # fmt: skip
    assert read.account.changed.counts == {
        "image name used twice, named after its file": 1, "image without a name, named after its file": 1,
    }  # fmt: skip
    assert voc.read(tmp_path, unnamed="ship").account.kept == 3


BOMB = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "content, says",
    [
        (f'<!DOCTYPE a [<!ENTITY l0 "lol">{BOMB}]><annotation>&l9;</annotation>', "declares a document type"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
            "declares a document type",
        ),
        ("<a>" * 50_000, "nested deeper"),
        ("<annotation>", "is no XML"),
        ("", "is no XML"),
        ("<svg/>", "holds <svg>"),
    ],
)
def test_xml_that_means_harm_is_refused_in_one_sentence(tmp_path, content, says):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(InputError, match=says) as error:
        voc.read(tmp_path / "a.xml")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=says):
        voc.read(tmp_path)  # a folder of nothing else


def test_what_cannot_be_said_is_counted(tmp_path):
    objects = Objects.of(
        [shapely.box(0.4, 0.4, 0.6, 9), shapely.Polygon([(0, 0), (9, 0), (9, 9)]), shapely.Point(1, 1)],
        ["<ship>", "b\x00ow", "tree"],
        kind=["hbb", "polygon", "point"],
        scores=[0.5, None, None],
        attributes=[{"difficult": 1, "roof": "red"}, {}, {}],
    )
    account = voc.write([LabelledImage("x/a.png", 20, 20, objects)], tmp_path)
    assert account.kept == 2 and account.dropped.counts == {"a point has no area to write": 1}
    assert account.changed.counts == {
        "score left out": 1, "attributes left out": 1, "edges rounded to whole pixels": 1,
        "shape written as its box": 1,
    }  # fmt: skip
    (image,) = voc.read(tmp_path)
    assert image.file_name == "x/a.png" and image.objects.labels_N.tolist() == ["<ship>", "bow"]
    assert image.objects.geometries_N[0].bounds == (0, 0, 1, 9)  # a sliver keeps a pixel


whole = st.integers(0, 30)


@given(
    st.lists(st.tuples(whole, whole, st.integers(1, 30), st.integers(1, 30), st.floats(0, 359.9)), max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_round_trip(tmp_path_factory, rows, one_based, inclusive):
    folder = tmp_path_factory.mktemp("voc")
    shapes = [shapely.box(x, y, x + w, y + h) for x, y, w, h, _ in rows] + [OBB(*row).to_polygon() for row in rows]
    kinds = ["hbb"] * len(rows) + ["obb"] * len(rows)
    attributes = [{"difficult": n % 2} for n in range(len(shapes))]
    objects = Objects.of(shapes, ["ship"] * len(shapes), kind=kinds, attributes=attributes)
    convention = {"one_based": one_based, "inclusive": inclusive}
    account = voc.write([LabelledImage("a.png", 60, 60, objects)], folder, **convention)
    assert account.dropped.total == account.changed.total == 0
    again = voc.read(folder, **convention).images[0].objects
    assert again.kinds_N.tolist() == kinds and again.attributes_N.tolist() == attributes
    for before, after in zip(objects.geometries_N, again.geometries_N, strict=True):
        first, second = shapely.get_coordinates(before), shapely.get_coordinates(after)
        np.testing.assert_allclose(second, first, atol=1e-4)


@pytest.mark.shared
def test_real_crowns(shared_data, tmp_path):
    folder = shared_data / "neon-trees"
    counted = {"TEAK": 345, "HARV": 145, "OSBS": 39, "SJER-2018": 108, "SJER-2017": 85}
    reads = {name: voc.read(folder / name) for name in counted}
    # some crowns have an empty name there
    for name, read in reads.items():
        assert read.account.kept + read.account.dropped.total == counted[name]
        assert set(read.account.dropped.counts) <= {"no class name"}
        assert voc.read(folder / name, unnamed="Tree").account.kept == counted[name]
        bounds = np.concatenate([image.objects.hbb_N4 for image in read])
        assert bounds.min() >= 0 and bounds.max() <= 400  # 1-based and inclusive: nothing leaves the image
        voc.write(read, tmp_path / name)
        for before, after in zip(read, voc.read(tmp_path / name), strict=True):
            assert before.file_name == after.file_name
            np.testing.assert_array_equal(before.objects.hbb_N4, after.objects.hbb_N4)
