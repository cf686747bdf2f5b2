"""Text4Seg: labels of cells."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.dialects.promises import check_nothing_breaks_it, check_own_words, kinds_of_problems

from georefer.dialects.runs import Text4SegRuns
from georefer.dialects.text4seg import Text4SegDialect
from georefer.geometry import OBB, Frame, Objects
from georefer.geometry.mask import Mask
from georefer.geometry.raster_grid import grid_to_geometry

TEXT4SEG = Text4SegDialect()
FRAME = Frame.resize((800, 608), (336, 336))
LABELS = ("others", "red car", "ship")


def text_of(grid_RC):
    return f"<seg>{Text4SegRuns(LABELS).write(grid_RC)}</seg>"


@given(st.data())
def test_grids_come_back(data):
    cells = data.draw(st.lists(st.integers(0, 2), min_size=256, max_size=256))
    grid_RC = np.array(cells).reshape(16, 16)
    text = text_of(grid_RC)
    reading = TEXT4SEG.read(text, FRAME)
    assert TEXT4SEG.strict.fullmatch(text) and not reading.problems
    assert reading.says_none == (not grid_RC.any())
    assert TEXT4SEG.write(reading.objects, FRAME) == text
    for label, geometry in zip(reading.objects.labels_N, reading.objects.geometries_N, strict=True):
        assert geometry.equals(grid_to_geometry(grid_RC == LABELS.index(label), (0, 0, 800, 608)))


@pytest.mark.parametrize("size", [(512, 512), (640, 480), (333, 517)])
@given(at=st.tuples(st.floats(0, 1), st.floats(0, 1)), sides=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
       heading=st.floats(0, 180))  # fmt: skip
def test_cells_are_those_of_nearest_sampling(size, at, sides, heading):
    """As the original resizes its masks of pixels, in PIL."""
    obb = OBB(at[0] * size[0], at[1] * size[1], sides[0] * size[0], sides[1] * size[1], heading)
    mask = Mask.of_geometry(obb.to_polygon(), (size[1], size[0]))
    small_RC = np.array(Image.fromarray(mask.dense().astype(np.uint8)).resize((16, 16), Image.Resampling.NEAREST))
    area = mask.to_geometry()
    text = TEXT4SEG.write(Objects.of([area], ["ship"], kind="mask"), Frame.resize(size, (336, 336)))
    assert text == f"<seg>{Text4SegRuns(('others', 'ship')).write(small_RC)}</seg>"


def test_the_exact_words():
    objects = Objects.of(
        [shapely.box(100, 0, 200, 38), shapely.box(150, 0, 300, 76), shapely.box(799, 607, 800, 608)],
        ["red car", "ship", "lost"], kind="mask",
    )  # fmt: skip
    text = TEXT4SEG.write(objects, FRAME)
    rows = ["others *2| red car *1| ship *3| others *10", "others *3| ship *3| others *10", *["others *16"] * 14]
    assert text == "<seg>" + "\n ".join(rows) + "\n</seg>"
    reading = check_own_words(TEXT4SEG, objects, FRAME)
    assert list(reading.objects.labels_N) == ["red car", "ship"]
    assert not TEXT4SEG.read("Sure, the segmentation result is " + text, FRAME).problems
    unlabelled = TEXT4SEG.write(objects[:1], FRAME, labelled=False)
    assert list(TEXT4SEG.read(unlabelled, FRAME).objects.labels_N) == ["object"]


def test_objects_of_one_label_become_one_mask():
    two = Objects.of([shapely.box(0, 0, 50, 38), shapely.box(700, 500, 800, 608)], ["ship"] * 2, kind="mask")
    reading = check_own_words(TEXT4SEG, two, FRAME)
    assert len(reading.objects) == 1 and reading.objects.geometries_N[0].geom_type == "MultiPolygon"


REPAIRS = [
    ("ship *4\n others *4\n others *4\n others *4\n", set()),
    ("ship *4\nothers *4\nothers *4\nothers *4", {"off-grammar"}),
    (" ship * 4 \n others*4\n others *4\n others *4\n", {"off-grammar"}),
    ("ship *4\n others *4\n others *4\n", {"truncated"}),
    ("ship *4\n others *3\n others *4\n others *4\n", {"wrong-count"}),
    ("ship *4\n others *99999999\n others *4\n others *4\n", {"wrong-count"}),
    ("ship *4\n others\n others *4\n others *4\n", {"unreadable", "wrong-count"}),
]


@pytest.mark.parametrize("inside, kinds", REPAIRS, ids=[r[0] for r in REPAIRS])
def test_repairs(inside, kinds):
    reading = TEXT4SEG.read(f"<seg>{inside}</seg>", FRAME)
    assert list(reading.objects.labels_N) == ["ship"] and kinds_of_problems(reading) == kinds
    assert reading.objects.hbb_N4[0] == pytest.approx([0, 0, 800, 152])


def test_a_missing_tag_is_noticed():
    inside = "ship *4\n others *4\n others *4\n others *4\n"
    assert kinds_of_problems(TEXT4SEG.read(f"<seg>{inside}", FRAME)) == {"truncated"}
    assert kinds_of_problems(TEXT4SEG.read(f"{inside}</seg>", FRAME)) == {"off-grammar"}
    for text in (inside, "no idea", "", "<seg>", "<seg></seg>"):
        reading = TEXT4SEG.read(text, FRAME)
        assert not reading.readable and any(p.is_loss for p in reading.problems)


@pytest.mark.parametrize("label", ["", " ship", "a|b", "a *3", "a\nb", "a<b", "others", "Others"])
def test_labels_that_cannot_be_read_back_are_refused(label):
    with pytest.raises(ValueError, match="label"):
        TEXT4SEG.write(Objects.of([shapely.box(0, 0, 99, 99)], [label], kind="mask"), FRAME)


def test_nothing_breaks_it():
    check_own_words(TEXT4SEG, Objects.none(), FRAME)
    grid_RC = np.zeros((16, 16), dtype=int)
    grid_RC[3:9, 4:7], grid_RC[8:12, 6:13] = 1, 2
    check_nothing_breaks_it(TEXT4SEG, [text_of(grid_RC), TEXT4SEG.nothing], FRAME)


def test_hostile_text_is_quick():
    many = "<seg>" + "\n ".join("| ".join(f"label {i * 16 + j} *1" for j in range(16)) for i in range(64)) + "\n</seg>"
    for text in (
        "<seg>" * 200_000, "<seg>" + "a *1| " * 160_000, "<seg>" + "| " * 500_000, "<seg>" + "\n " * 500_000,
        "<seg>a *16\n</seg>" * 60_000, "<seg>others *99999999\n" * 40_000, many * 3,
    ):  # fmt: skip
        reading = TEXT4SEG.read(text, FRAME)
        assert any(p.is_loss for p in reading.problems)
