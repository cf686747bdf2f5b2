import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from tests.data.telling import TellingModel

from georefer.geometry import GeoGrid, Objects
from georefer.inference.ask import ask
from georefer.inference.calibration import fit_calibration
from georefer.inference.refine import load_refiner
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


def test_objects_have_confidences_where_the_model_tells_them():
    plain = ask(FakeModel(lambda asked: TRUTH), IMAGE, "Find every pond.")
    told = ask(TellingModel(lambda asked: TRUTH), IMAGE, "Find every pond.")
    assert np.isnan(plain.reading.objects.scores_N).all() and 0 < told.reading.objects.scores_N[0] < 1
    calibration = fit_calibration(np.repeat([0.1, 0.9], 50), np.tile([0, 1, 1, 1, 1], 20), "telling")
    surer = ask(TellingModel(lambda asked: TRUTH), IMAGE, "Find every pond.", calibration=calibration)
    assert surer.reading.objects.scores_N == pytest.approx(calibration(told.reading.objects.scores_N))


def test_a_grammar_and_a_refiner_are_used():
    model, image = TellingModel(lambda asked: TRUTH), IMAGE.copy()
    image[13:53, 22:62] = 200  # three pixels beside what is said
    answer = ask(model, image, "Find every pond.", grammar=model.dialect.grammar(), refiner=load_refiner("snap"))
    assert model.grammars == [model.dialect.grammar()]
    assert answer.reading.objects.attributes_N[0]["refined_by"] == "snap"
    assert np.allclose(answer.reading.objects.hbb_N4, [[22, 13, 62, 53]], atol=0.6)
    assert answer.text == ask(model, image, "Find every pond.").text


def test_shapes_of_several_parts_lie_on_the_map_too():
    grid = GeoGrid(CRS("EPSG:4326"), Affine(1e-5, 0, 85.0, 0, -1e-5, 27.0), 200, 100)
    two = shapely.union_all(shapely.box([20, 50], [10, 20], [30, 60], [20, 50]))
    islands = Objects.of([two], ["pond"], kind="polygon")
    answer = ask(FakeModel(lambda asked: islands), IMAGE, "Find every pond.", grid)
    assert answer.lonlat_boxes()[0] == pytest.approx([85.0002, 26.9995, 85.0006, 26.9999])
