"""The table as people read it: the generated page is current, and ceilings are those of the formats."""

from pathlib import Path

import pytest

from georefer.dialects import DIALECTS
from georefer.dialects.ceiling import ceiling
from georefer.dialects.reference import markdown

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dialects.md"


def test_the_page_is_the_one_that_the_table_gives():
    assert PAGE.read_text(encoding="utf-8") == markdown(DIALECTS.values()), (
        "run: georefer dialects --markdown > docs/reference/dialects.md"
    )


@pytest.mark.parametrize(
    ("name", "kind", "object_px", "image_px", "low", "high"),
    [
        # GeoGround's 0-100 floored loses nearly all oriented boxes of 3 % of the width, 0-1000 rounded none
        ("geoground", "obb", 20, 1024, 0.2, 0.4),
        ("georefer", "obb", 20, 1024, 0.93, 0.96),
        # 10 px in 1024: 0.904 at 0-1000, 0.157 at 0-100 floored (measured for the fact sheets with other boxes)
        ("georefer", "hbb", 10, 1024, 0.88, 0.92),
        ("vrsbench", "hbb", 10, 1024, 0.08, 0.2),
        ("kosmos-2", "hbb", 20, 4096, 0.0, 0.05),
        # a grid inside the box keeps every size alike, one over the image does not
        ("georefer", "mask", 40, 800, 0.9, 0.94),
        ("georefer", "mask", 320, 800, 0.9, 0.94),
        # rectangles of 80 x 32 px, as in the fact sheet's 0.40
        ("geoground-32", "mask", 50.6, 800, 0.36, 0.44),
    ],
)
def test_ceilings_are_those_of_the_formats(name, kind, object_px, image_px, low, high):
    found = ceiling(DIALECTS[name], kind, object_px, (image_px, image_px), count=100)
    assert low <= found.mean_iou <= high and 0 <= found.at_50 <= 1 and found.characters > 8


def test_a_ceiling_of_points_is_a_distance():
    found = ceiling(DIALECTS["molmo"], "point", 20, (1000, 1000), count=100)
    assert found.error_px == pytest.approx(0.38, abs=0.05)  # mean distance from the middle of a 1 px cell
