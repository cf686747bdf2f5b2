"""Refining what a sweep found: every object at the sweep's scale, in a window that shows it whole."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import rasterio
import shapely

from georefer.geometry import Objects, Window
from georefer.imagery.raster import open_imagery
from georefer.inference.refine import Outcome, applied
from georefer.inference.refine_found import AROUND, refine_found

WINDOWS = tuple(Window(x, y, 128, 128) for y in (0, 96, 172) for x in (0, 96, 192, 272))


@dataclass
class Shifter:
    """Moves shapes by a pixel of what it is shown to the right, but keeps every other one."""

    name: str = "shifter"
    shown: list = field(default_factory=list)

    def __call__(self, image_HW3, objects):
        self.shown.append((image_HW3.shape[1::-1], objects))
        moved = shapely.transform(objects.geometries_N, lambda xy: np.add(xy, (1, 0)))
        outcomes = [
            Outcome(shape, kind) if label == "moves" else Outcome(None, why_kept="it is here to stay")
            for shape, kind, label in zip(moved, objects.kinds_N, objects.labels_N, strict=True)
        ]
        return applied(objects, outcomes, self.name)


@pytest.fixture(scope="module")
def imagery(tmp_path_factory):
    path = tmp_path_factory.mktemp("area") / "area.tif"
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=3, width=400, height=300) as file:
        file.write(np.random.default_rng(0).integers(0, 255, (3, 300, 400), np.uint8))
    with open_imagery(path) as opened:
        yield opened


def found(boxes, labels):
    ids = [f"n{i}" for i in range(len(boxes))]
    return Objects.from_hbb(
        np.array(boxes, float), labels, ids=ids, scores=np.linspace(0.1, 0.9, len(boxes)),
        attributes=[{"seen": i} for i in range(len(boxes))],
    )  # fmt: skip


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (256, 256)])
def test_shapes_move_by_what_the_refiner_sees_and_come_back_in_order(imagery, size):
    boxes = [(300.3, 10, 330, 40), (10, 10, 30.7, 40), (100, 20, 126, 50), (305, 200, 350, 290)]
    labels = ["moves", "stays", "moves", "moves"]
    objects = found(boxes, labels)
    refined = refine_found(Shifter(), imagery, objects, WINDOWS, size)
    assert list(refined.ids_N) == list(objects.ids_N) and list(refined.labels_N) == labels
    np.testing.assert_array_equal(refined.scores_N, objects.scores_N)
    step = 128 / size[0]
    expected = np.array(boxes) + np.array([[step if label == "moves" else 0, 0] * 2 for label in labels])
    np.testing.assert_allclose(refined.hbb_N4, expected, atol=1e-9)
    assert refined.geometries_N[1] is objects.geometries_N[1]  # kept to the last bit
    assert [a["seen"] for a in refined.attributes_N] == [0, 1, 2, 3]
    assert ["refined_by" in a for a in refined.attributes_N] == [label == "moves" for label in labels]


def test_each_is_seen_whole_with_most_around_it_and_windows_are_shared(imagery):
    # in the first window alone, in two but near the border of the first, and two more in the first
    objects = found([(90, 20, 110, 40), (110, 60, 126, 80), (10, 10, 20, 20), (30, 12, 44, 20)], ["moves"] * 4)
    refiner = Shifter()
    refine_found(refiner, imagery, objects, WINDOWS, (128, 128))
    assert sorted(len(shown) for _, shown in refiner.shown) == [1, 3]
    for size, shown in refiner.shown:
        assert size == (128, 128)
        assert (shown.hbb_N4 > 4).all() and (shown.hbb_N4 < 124).all()


def test_what_no_window_shows_whole_gets_one_of_its_own(imagery):
    refiner = Shifter()
    refined = refine_found(refiner, imagery, found([(20, 100, 390, 120)], ["moves"]), WINDOWS, (64, 64))
    ((size, shown),) = refiner.shown
    assert size == (232, 64) and round(AROUND * 370) == 462  # whole pixels of the raster, rounded up, then halved
    assert (shown.hbb_N4[:, :2] >= 0).all() and (shown.hbb_N4[:, 2:] <= size).all()
    np.testing.assert_allclose(refined.hbb_N4, [[22, 100, 392, 120]], atol=0.05)  # sides are whole pixels


def test_what_is_too_large_to_be_looked_at_is_kept(imagery):
    refiner = Shifter()
    objects = found([(0, 0, 400, 300), (10, 10, 20, 20)], ["moves", "moves"])
    refined = refine_found(refiner, imagery, objects, WINDOWS, (1024, 1024))
    assert len(refiner.shown) == 1 and "larger than" in refined.attributes_N[0]["kept_because"]
    assert refined.attributes_N[1]["refined_by"] == "shifter"


def test_nothing_found_is_nothing_refined(imagery):
    assert len(refine_found(Shifter(), imagery, Objects.none(), WINDOWS, (64, 64))) == 0


def test_another_kind_comes_back_as_such(imagery):
    class Outliner(Shifter):
        def __call__(self, image_HW3, objects):
            return applied(objects, [Outcome(o.geometry.buffer(2), "mask") for o in objects], self.name)

    objects = found([(50, 50, 70, 70)], ["moves"])
    (refined,) = refine_found(Outliner(), imagery, replace(objects), WINDOWS, (64, 64))
    assert refined.kind == "mask" and refined.geometry.area > 400
