import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from georefer.geometry import GeoGrid, Objects
from georefer.inference.ask import ask
from georefer.models import FakeModel

IMAGE = np.zeros((100, 200, 3), dtype=np.uint8)
TRUTH = Objects.from_hbb(np.array([[20, 10, 60, 50]]), ["pond"])


def test_an_answer_lies_in_the_pixels_of_the_image():
    answer = ask(FakeModel(lambda asked: TRUTH), IMAGE, "Find every pond.")
    assert np.allclose(answer.reading.objects.hbb_N4, [[20, 10, 60, 50]])
    assert answer.lonlat_boxes() is None and answer.text.startswith("[")


def test_an_answer_lies_on_the_map_where_the_image_does():
    grid = GeoGrid(CRS("EPSG:4326"), Affine(1e-5, 0, 85.0, 0, -1e-5, 27.0), 200, 100)
    answer = ask(FakeModel(lambda asked: TRUTH), IMAGE, "Find every pond.", grid)
    assert answer.lonlat_boxes()[0] == pytest.approx([85.0002, 26.9995, 85.0006, 26.9999])


def test_babble_is_kept_and_reads_as_nothing():
    answer = ask(FakeModel(lambda asked: "a pond, I think"), IMAGE, "Find every pond.")
    assert answer.text == "a pond, I think" and not answer.reading.readable
