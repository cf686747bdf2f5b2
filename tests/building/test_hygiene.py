"""Reports of problems: counts, places, duplicates, mixed types, and what strict refuses."""

import geopandas
import numpy as np
import pytest
import shapely

from georefer.building.hygiene import MAX_LISTED, MixedTypes, Report, UnknownValues, duplicates
from georefer.building.mapping import load_mapping
from georefer.errors import VectorError
from georefer.imagery.problems import Problem

SQUARE = [(0, 0), (4, 0), (4, 4), (0, 4)]


@pytest.mark.parametrize(
    "shape, label, again",
    [
        (shapely.Polygon(SQUARE), "a", True),
        (shapely.Polygon(SQUARE[2:] + SQUARE[:2]), "a", True),  # another start
        (shapely.Polygon(SQUARE[::-1]), "a", True),  # another direction
        (shapely.Polygon([(x + 1e-9, y) for x, y in SQUARE]), "a", True),  # by way of another CRS
        (shapely.Polygon(SQUARE), "b", False),  # a pitch may be a playground
        (shapely.Polygon([(x + 0.5, y) for x, y in SQUARE]), "a", False),
        (shapely.Polygon(SQUARE, [[(1, 1), (2, 1), (2, 2)]]), "a", False),
        (shapely.Polygon([(-0.0, 0), *SQUARE[1:]]), "a", True),
    ],
)
def test_duplicates(shape, label, again):
    shapes_N = np.array([shapely.Polygon(SQUARE), shape], dtype=object)
    assert duplicates(shapes_N, ["a", label]).tolist() == [False, again]


def test_no_shapes_are_no_duplicates():
    assert duplicates(np.empty(0, dtype=object), []).shape == (0,)


def table(**columns):
    count = len(next(iter(columns.values())))
    return geopandas.GeoDataFrame(columns, geometry=[shapely.Point(k, 50) for k in range(count)], crs=4326)


def mixed_types(tables, *names):
    mixed = MixedTypes()
    for one in tables:
        mixed.look(one, *names)
    return mixed.problems()


@pytest.mark.parametrize(
    "values, said",
    [
        (["1", "2", "many", None], "a (2 numbers, 1 other)"),
        ([1, "x", "y", {"z": 1}], "a (1 numbers, 3 other)"),
        (["1", 2, 3.5, "4 m"], None),
        (["x", "y", None, ""], None),
        ([None] * 4, None),
    ],
)
def test_mixed_types(values, said):
    whole = table(a=np.array(values, dtype=object))
    found = mixed_types([whole], ["a", "a", "not there"])
    assert mixed_types([whole.iloc[:1], whole.iloc[1:3], whole.iloc[3:]], ["a", "not there"]) == found
    assert [problem.detail for problem in found] == ([said] if said else [])
    assert all(problem.count == 1 and len(problem.places) == 1 for problem in found)


def test_mixed_types_by_the_names_of_a_mapping():
    frame = table(WIDTH=["7", "wide"], building=["yes", "1"])
    loaded = load_mapping("osm")
    (problem,) = mixed_types([frame], loaded.numeric, loaded.columns(frame))
    assert problem.detail == "width (1 numbers, 1 other)"  # building is never read as a number


def test_rare_unknown_values_are_summed_up():
    frame = table(a=range(200))
    unknown = {f"a={k}": np.array([k]) for k in range(MAX_LISTED + 9)}
    values = UnknownValues()
    values.look(frame, unknown)
    found = values.problems()
    assert len(found) == MAX_LISTED + 1
    assert found[-1].count == 9 and found[-1].detail == "9 more values"
    assert found[3].places == ("feature 3 at 3.00000, 50.00000",)
    values.look(frame, {"a=3": np.array([7]), "a=58": np.array([58]), "a=60": np.array([60])})
    again = values.problems()
    assert again[3].count == 2 and again[3].places == (*found[3].places, "feature 7 at 7.00000, 50.00000")
    assert again[-1].count == 11 and again[-1].detail == "10 more values"


def test_a_report_counts_tells_and_refuses():
    places = ("feature 3 at 1.00000, 2.00000",)
    report = Report({"roofs": (Problem("repaired", 2, places), Problem("unknown_value", 3, (), "a=b")), "trees": ()})
    report = Report({**report.problems, "roofs": (*report.problems["roofs"], Problem("unknown_value", 4, (), "a=c"))})
    assert report.counts() == {
        "roofs: crossing themselves, repaired": 2,
        "roofs: of values that the mapping does not know, dropped": 7,
    }
    assert report.lines()[0] == "roofs: 2 features crossing themselves, repaired (feature 3 at 1.00000, 2.00000)"
    assert report.to_plain()["roofs"][0] == {"kind": "repaired", "count": 2, "detail": "", "places": list(places)}
    assert "trees" not in report.to_plain()
    report.refuse({"trees": ()})
    report.refuse({"roofs": ("repaired", "unknown_value")})
    with pytest.raises(VectorError, match=r"'roofs' holds 2 features crossing.*and 2 more problems where strict"):
        report.refuse({"roofs": ()})
    with pytest.raises(VectorError, match=r"a=b, and 1 more problem"):
        report.refuse({"roofs": ("repaired",)})
