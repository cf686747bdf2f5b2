"""Which objects of a chip are asked about, rule by rule."""

import numpy as np
import pytest
import shapely

from georefer.building.features import Features
from georefer.building.targets import TargetSettings, chip_objects, on_imagery
from georefer.geometry import Objects, Window

WINDOW, SIZE = Window(100, 100, 100, 100), (50, 50)  # two source pixels a chip pixel

SHAPES = {
    "whole": shapely.box(120, 120, 160, 160),
    "thin": shapely.box(120, 170, 180, 174),
    "small": shapely.box(110, 110, 126, 126),
    "cut": shapely.box(90, 150, 114, 190),
    "edge": shapely.box(182, 100, 200, 116),
    "huge": shapely.box(0, 0, 400, 400),
    "outside": shapely.box(10, 10, 50, 50),
    "touching": shapely.box(50, 100, 100, 200),
}


def features(*names):
    objects = Objects.of([SHAPES[n] for n in names], list(names), ids=list(names))
    return Features(objects, shapely.STRtree(objects.geometries_N), shapely.area(objects.geometries_N), {})


@pytest.mark.parametrize(
    "rules, dropped",
    [
        ({"min_px": 0, "min_visible": 0}, {}),
        ({"min_px": 3, "min_visible": 0}, {"thin": "smaller than min_px"}),
        # thin has 60 x 4 source pixels, so 60 of the chip's
        ({"min_px": 0, "min_visible": 0, "min_area_px": 62}, {"thin": "smaller than min_area_px"}),
        ({"min_px": 0, "min_visible": 0, "min_area_m2": 15.5}, {"thin": "smaller than min_area_m2"}),
        # 14 of its 24 source pixels show; the huge one spans the chip, so it stays
        ({"min_px": 0, "min_visible": 0.6}, {"cut": "less visible than min_visible"}),
        ({"min_px": 0, "min_visible": 1.0}, {"cut": "less visible than min_visible"}),
        (
            {"min_px": 0, "min_visible": 0, "margin_px": 6},
            {"edge": "within margin_px of the border", "cut": "within margin_px of the border"},
        ),
        # 40 x 40 of the huge one's 100 x 100 lie below "whole", 6 x 6 of 16 x 16 of the small one
        (
            {"min_px": 0, "min_visible": 0, "on_top": ("whole",), "max_hidden": 0.15},
            {"huge": "hidden beyond max_hidden"},
        ),
        ({"min_px": 0, "min_visible": 0, "on_top": ("whole",), "max_hidden": 0.17}, {}),
        # the first rule that holds is the one that counts
        ({"min_px": 3, "min_area_px": 62}, {"thin": "smaller than min_px"}),
    ],
)  # fmt: skip
def test_every_rule_leaves_out_what_it_says(rules, dropped):
    shown = [name for name in SHAPES if name not in ("outside", "touching")]
    found = chip_objects(features(*SHAPES), WINDOW, SIZE, TargetSettings(**rules), gsd_m=0.5)
    assert dict(zip(found.others.ids_N, found.rules_O, strict=True)) == dropped
    assert set(found.targets.ids_N) == set(shown) - set(dropped)
    assert sum(found.drops.values()) == len(dropped)


def test_objects_are_clipped_and_what_lies_inside_stays_as_it_is():
    found = chip_objects(features(*SHAPES), WINDOW, SIZE, TargetSettings(0, min_visible=0))
    by_id = dict(zip(found.targets.ids_N, found.targets.geometries_N, strict=True))
    assert by_id["huge"].equals(shapely.box(0, 0, 50, 50))
    assert by_id["cut"].equals(shapely.box(0, 25, 7, 45))
    assert by_id["whole"].equals_exact(shapely.box(10, 10, 30, 30))
    shown = dict(zip(found.targets.ids_N, found.visible_N, strict=True))
    assert shown["whole"] == 1 and shown["cut"] == pytest.approx(14 / 24) and shown["huge"] == pytest.approx(1 / 16)


def test_an_area_without_a_size_on_the_ground_has_no_rule_for_it():
    found = chip_objects(features("thin"), WINDOW, SIZE, TargetSettings(0, min_area_m2=1e6), gsd_m=None)
    assert len(found.targets) == 1


@pytest.mark.parametrize("share, left", [(0.5, ["huge"]), (0.0, ["whole", "huge"]), (1.0, [])])
def test_objects_without_imagery_are_left_out(share, left):
    """The left 24 columns are blank: 14 of the 20 of "whole"."""
    valid_HW = np.ones((50, 50), dtype=bool)
    valid_HW[:, :24] = False
    found = chip_objects(features("whole", "huge"), WINDOW, SIZE, TargetSettings())
    kept = on_imagery(found, valid_HW, TargetSettings(min_imagery=share))
    assert list(kept.targets.ids_N) == left
    assert dict(kept.drops) == ({"less imagery than min_imagery": 2 - len(left)} if len(left) < 2 else {})
    assert len(kept.visible_N) == len(left)
    assert on_imagery(found, np.ones((50, 50), dtype=bool), TargetSettings()) is found
