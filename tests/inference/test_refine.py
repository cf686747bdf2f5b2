"""What all refiners share."""

import numpy as np
import pytest
import shapely

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.inference.refine import Outcome, applied, check_image, load_refiner
from georefer.inference.snapping import SnapRefiner


def test_a_refiner_is_named():
    assert isinstance(load_refiner("snap"), SnapRefiner)
    for name in ("", "sam", "sam:", "snap:here", "sam2:folder"):
        with pytest.raises(InputError, match="choose 'snap'"):
            load_refiner(name)


def test_an_outcome_changes_only_what_it_should():
    boxes = [shapely.box(0, 0, 5, 5), shapely.box(1, 1, 9, 9)]
    before = [{"seen": 1, "kept_because": "an old reason"}, {"seen": 2, "refined_by": "another"}]
    objects = Objects.of(boxes, ["a", "b"], kind="hbb", ids=["x", "y"], scores=[0.3, None], attributes=before)
    new = shapely.box(0, 0, 4, 4)
    found = applied(objects, [Outcome(new, "mask", facts={"iou": 0.9}), Outcome(None, why_kept="far")], "sam")
    assert list(found.geometries_N) == [new, boxes[1]]
    assert list(found.kinds_N) == ["mask", "hbb"]
    assert list(found.attributes_N) == [
        {"seen": 1, "iou": 0.9, "refined_by": "sam"},
        {"seen": 2, "kept_because": "far"},
    ]
    assert (list(found.ids_N), list(found.labels_N)) == (["x", "y"], ["a", "b"])
    assert np.array_equal(found.scores_N, [0.3, np.nan], equal_nan=True)
    assert list(objects.kinds_N) == ["hbb", "hbb"]  # the given ones are as they were
    assert list(objects.attributes_N) == before


def test_images_are_checked():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3))):
        with pytest.raises(ValueError, match="pass uint8"):
            check_image(wrong)
    huge = np.broadcast_to(np.zeros(1, np.uint8), (9000, 9000, 3))
    with pytest.raises(InputError, match="window by window"):
        check_image(huge)
