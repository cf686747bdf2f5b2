"""Drawing: lines lie where the shapes are, at any scale, and are seen on any ground."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from georefer.geometry import OBB, Objects
from georefer.imagery.render import draw_objects

RED = (255, 0, 0)
BOX = Objects.from_hbb(np.array([[20, 10, 60, 40]]), ["house"])


def ground(value=128, size=(60, 80)):
    return np.full((*size, 3), value, dtype=np.uint8)


def drawn_mask(picture_HW3, colour=RED):
    return np.abs(picture_HW3.astype(int) - colour).max(axis=2) < 60


@pytest.mark.parametrize("scale", [0.5, 1, 2, 2.5, 3])
def test_lines_lie_on_the_edges_of_the_shape_at_any_scale(scale):
    picture = draw_objects(ground(size=(120, 160)), BOX, RED, width=2, scale=scale)
    assert picture.shape == (round(120 * scale), round(160 * scale), 3)
    rows, columns = np.nonzero(drawn_mask(picture))
    for found, edge in ((columns.min(), 20), (columns.max(), 60), (rows.min(), 10), (rows.max(), 40)):
        assert abs(found + 0.5 - edge * scale) <= 2
    middle = picture[round(25 * scale), round(40 * scale)]
    assert (middle == 128).all()


def test_the_image_given_is_not_drawn_into():
    image = ground()
    draw_objects(image, BOX, RED)
    assert (image == 128).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_dark_halo_parts_the_line_from_the_ground(value):
    picture = draw_objects(ground(value), BOX, (255, 255, 255), width=2)
    column = picture[:16, 40].max(axis=1).astype(int)
    assert column.max() > 200 and column.min() < 60


def test_no_halo_leaves_only_the_colour():
    picture = draw_objects(ground(), BOX, RED, width=2, halo=0)
    changed = (picture != 128).any(axis=2)
    assert changed.any()
    assert (picture[changed][:, 0] >= 128).all()


def test_holes_are_outlined_too():
    hole = shapely.box(35, 20, 45, 30)
    courtyard = Objects.of([shapely.box(20, 10, 60, 40) - hole], ["block"])
    with_hole, without = draw_objects(ground(), courtyard, RED), draw_objects(ground(), BOX, RED)
    assert drawn_mask(with_hole)[20, 40] and not drawn_mask(without)[20, 40]


def test_an_oriented_box_is_drawn_as_it_lies():
    tilted = Objects.of([OBB(40, 30, 40, 10, 45).to_polygon()], ["ship"], kind="obb")
    mask = drawn_mask(draw_objects(ground(), tilted, RED))
    assert not mask[:14, :24].any() and not mask[:14, 56:].any()
    assert mask[40:50, 45:60].any()


@pytest.mark.parametrize(
    ("geometry", "kind", "pixel"),
    [
        (shapely.Point(40, 30), "point", (30, 43)),  # a ring of 3 pixels
        (shapely.LineString([(10, 30), (70, 30)]), "line", (30, 50)),
        (shapely.MultiPolygon([shapely.box(5, 5, 15, 15), shapely.box(60, 40, 70, 50)]), "polygon", (50, 65)),
        (shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(60, 40, 70, 50)]), "polygon", (50, 65)),
    ],
)
def test_other_kinds(geometry, kind, pixel):
    mask = drawn_mask(draw_objects(ground(), Objects.of([geometry], ["x"], kind=kind), RED, width=3))
    assert mask[pixel]
    assert mask.mean() < 0.2


def test_a_line_is_not_closed():
    bent = Objects.of([shapely.LineString([(10, 10), (70, 10), (70, 50)])], ["road"], kind="line")
    mask = drawn_mask(draw_objects(ground(), bent, RED))
    assert mask[10, 40] and not mask[30, 40]


@pytest.mark.parametrize("far", [1e3, 1e7, 1e12])
def test_shapes_far_outside_do_no_harm(far):
    objects = Objects.from_hbb(np.array([[20, 10, far, far], [-far, -far, -far + 5, -far + 5]]), ["a", "b"])
    mask = drawn_mask(draw_objects(ground(), objects, RED, labels=True))
    assert mask[10, 50] and not mask[30, 50]


@pytest.mark.parametrize("label", ["house", "bâtiment", "房子", "", "a" * 200])
def test_labels_of_any_text_are_written_inside_the_picture(label):
    edge = Objects.from_hbb(np.array([[0, 0, 30, 20], [70, 50, 79, 59]]), [label, label])
    with_labels = draw_objects(ground(), edge, RED, labels=True)
    without = draw_objects(ground(), edge, RED)
    assert (with_labels != without).any() == (label not in ("", "房子"))


def test_nothing_to_draw_is_the_image_itself():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert (draw_objects(image, Objects.none(), RED) == image).all()
    doubled = draw_objects(image, Objects.none(), RED, scale=2)
    assert (doubled[::2, ::2] == image).all()
