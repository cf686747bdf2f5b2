"""Every predicate by hand: just inside its threshold, within the margin of it, and just outside."""

import numpy as np
import pytest
import shapely
from tests.building.relations.scenes import Table, rectangle

from georefer.building.relations import RELATIONS

PARKING = ("parking", rectangle(0, 0, 100, 40))


def road(*points):
    return "road", shapely.LineString(points)


def ring_with_gap(gap_deg):
    """A belt of wood around the origin, open over some degrees."""
    angle = np.radians(np.linspace(gap_deg, 360, 200))
    outer, inner = (radius * np.stack((np.cos(angle), np.sin(angle)), axis=1) for radius in (50, 40))
    return shapely.Polygon(np.concatenate((outer, inner[::-1])))


def three_roads(x):
    return Table({"a": road((0, 0), (50, 0)), "b": road((-x, 0), (-50, 0)), "c": road((0, 0), (0, 50))})


def crossing_road(depth):
    """A road of 8 m that ends `depth` metres inside of a bridge: depth / 8 of its width squared."""
    return rectangle(0, -55 + depth, 100, 8, 90)


def on_carrier(label, carrier):
    """a at x on the first carrier, which ends at x = 50, b well on it; the second one begins at x = 60."""
    strips = {"p": (carrier, rectangle(0, 0, 100, 40)), "q": (carrier, rectangle(80, 0, 40, 40))}
    return lambda x: Table({"a": (label, rectangle(x, 0, 4, 2)), "b": (label, rectangle(0, 0, 4, 2)), **strips})


def at_docks(carrier):
    """b at a dock along y = 0, a at x metres from it; another begins at y = 60."""
    docks = {"p": (carrier, rectangle(0, -10, 200, 20)), "q": (carrier, rectangle(0, 70, 200, 20))}
    return lambda x: Table(
        {"a": ("ship", rectangle(40, x + 3, 30, 6)), "b": ("ship", rectangle(-10, 5, 30, 6)), **docks}
    )


def beside(label, carrier, turn):
    """b beside a, turned by x (degrees) or away by x (metres between)."""

    def scene(x):
        b = rectangle(0, 8, 20, 4, x) if turn else rectangle(0, 4 + x, 20, 4)
        carriers = {"p": (carrier, rectangle(0, -22, 200, 40))} if carrier == "dock" else {}
        carriers |= {"p": (carrier, rectangle(0, 0, 200, 80))} if carrier not in ("dock", None) else {}
        return Table({"a": (label, rectangle(0, 0, 20, 4)), "b": (label, b), **carriers})

    return scene


def standing(label, carrier, turn):
    """a on its carrier b, with one neighbour turned by x, or x metres away."""

    def scene(x):
        c = rectangle(6, 0, 4, 2, x) if turn else rectangle(4 + x, 0, 4, 2)
        under = rectangle(0, 0, 200, 40) if carrier in ("parking", "apron") else rectangle(0, -11, 200, 20)
        return Table({"a": (label, rectangle(0, 0, 4, 2)), "c": (label, c), "b": (carrier, under)})

    return scene


def heading_to(label, target, turn=lambda x: x):
    return lambda x: Table(
        {"a": (label, rectangle(0, 0, 4, 2)), "b": (target, rectangle(60, 0, 20, 100))}, headings={"a": turn(x) % 360}
    )


def two_cars(b_heading, offset=0.0):
    """b ahead of a, `offset` metres to the side."""

    def scene(x):
        heading, y = (b_heading, x) if offset is None else (b_heading + x, offset)
        cars = {"a": ("car", rectangle(0, 0, 4, 2)), "b": ("car", rectangle(12, y, 4, 2, heading))}
        return Table(cars, headings={"a": 0.0, "b": heading % 360})

    return scene


def by_given_lanes(x):
    lanes = [shapely.LineString([(-50, y), (50, y)]) for y in (0, 3.5)]
    cars = {"a": ("car", rectangle(0, 0, 4, 2)), "b": ("car", rectangle(12, x, 4, 2))}
    return Table(cars, headings={"a": 0.0, "b": 0.0}, lanes=lanes)


def powered(b_label, middle):
    """Towers a and b at a power line, and in the middle x metres from it a third one (or b itself at x)."""

    def scene(x):
        ends = {"a": ("lattice_tower", rectangle(0, 0, 2, 2)), "b": (b_label, rectangle(200, 0 if middle else x, 2, 2))}
        third = {"c": ("lattice_tower", rectangle(100, x if middle else 0, 2, 2))} if middle else {}
        return Table({**ends, **third}, power=[shapely.LineString([(-50, 0), (400, 0)])])

    return scene


def other_line(x):
    power = [shapely.LineString([(-50, y), (400, y)]) for y in (0, 50)]
    towers = {"a": ("lattice_tower", rectangle(0, 0, 2, 2)), "b": ("lattice_tower", rectangle(100, 50 + x, 2, 2))}
    return Table(towers, power=power)


def yards(x):
    objects = {"a": ("tank", rectangle(x, 0, 4, 2)), "b": ("tank", rectangle(0, 0, 4, 2))}
    yard = {"p": ("goods_yard", rectangle(0, 0, 100, 40)), "q": ("goods_yard", rectangle(80, 0, 40, 40))}
    return Table({**objects, **yard})


def pair(a, b, **more):
    """A scene of two, either of which may depend on x."""
    return lambda x: Table({"a": a(x) if callable(a) else a, "b": b(x) if callable(b) else b}, **more)


def boxed(label, *numbers):
    """A box of which one number is x, given as None."""
    return lambda x: (label, rectangle(*(x if number is None else number for number in numbers)))


BRIDGE = ("bridge", rectangle(0, 0, 100, 10))
CASES = [
    # predicate, scene of x, x just inside, x within the margin, x just outside
    # 4.4 of 8 m are 1.1 * 0.5 squares of the road's width
    ("over", pair(BRIDGE, lambda x: ("road", crossing_road(x))), 4.5, 4.2, 3.5),
    ("pass under", pair(lambda x: ("road", crossing_road(x)), BRIDGE), 4.5, 4.2, 3.5),
    # a car's width is 2 m: half of its square is 1 m of its front
    ("pass through", pair(boxed("car", None, 0, 4, 2), ("toll_gate", rectangle(10, 0, 10, 20))), 4.2, 4.05, 3.9),
    # the end of the taxiway from the apron, 2 m
    ("connect", pair(("taxiway", rectangle(0, 0, 100, 20)), boxed("apron", None, 0, 90, 100)), 96.7, 97.0, 97.3),
    # of a line the end itself counts, and of the other its 4 m of width
    ("connect", pair(road((-50, 0), (50, 0)), lambda x: road((50 + x, -50), (50 + x, 50))), 3.7, 4.0, 4.3),
    ("intersect", pair(road((-50, 0), (50, 0)), lambda x: road((0, -x), (0, 50))), 4.3, 4.0, 3.7),
    # by the angle
    ("intersect", pair(road((-50, 0), (50, 0)),
                       lambda x: ("road", shapely.affinity.rotate(road((-50, 0), (50, 0))[1], x))), 17, 15.5, 13),
    ("adjacent", pair(("building", rectangle(0, 0, 10, 10)), boxed("building", None, 0, 10, 10)), 12.6, 13, 13.4),
    # drawn over each other by up to a twentieth
    ("adjacent", pair(("building", rectangle(0, 0, 10, 10)), boxed("building", None, 0, 10, 10)), 9.6, 9.52, 9.3),
    # a diagonal road over a corner of a parking of 40 by 40 m: inside for sqrt(2) * (40 - x) metres
    ("through", pair(lambda x: road((x - 50, 50), (50, x - 50)), ("parking", rectangle(0, 0, 40, 40))), 23, 25.5, 28),
    ("run along", pair(("airplane", rectangle(0, 0, 30, 20)), boxed("taxiway", 0, 0, 200, 40, None)), 13, 15, 17),
    # by the gap, 25 m
    ("run along", pair(("road", rectangle(0, 0, 100, 8)), boxed("road", 0, None, 100, 8)), 30, 33, 36),
    # by what is side by side, half of 100 m
    ("run along", pair(("road", rectangle(0, 0, 100, 8)), boxed("road", None, 15, 100, 8)), 44, 48, 52),
    ("not run along", pair(("airplane", rectangle(0, 0, 30, 20)), boxed("taxiway", 0, 0, 200, 40, None)), 17, 15, 13),
    # three quarters of the directions, and a tenth of that more
    ("around", pair(lambda x: ("wood", ring_with_gap(x)), ("house", rectangle(0, 0, 8, 8))), 50, 80, 120),
    ("pass across", pair(lambda x: ("road", shapely.affinity.rotate(road((-50, 0), (50, 0))[1], x)),
                         ("river", rectangle(0, 0, 200, 10))), 52, 47, 40),
    # two ends side by side: the middle of them is another's end too
    ("converge", three_roads, 1.5, 1.95, 2.5),
    # --- containers: the edge at x = 50, with a tenth of the car's width
    ("in the same parking with", on_carrier("car", "car_parking"), 49, 50, 61),
    ("in the different parking with", on_carrier("car", "car_parking"), 61, 60.1, 49),
    ("parking in the same apron with", on_carrier("airplane", "apron"), 49, 50, 61),
    ("parking in the different apron with", on_carrier("airplane", "apron"), 61, 60.1, 49),
    ("running along the same taxiway with", on_carrier("airplane", "taxiway"), 49, 50, 61),
    ("running along the different taxiway with", on_carrier("airplane", "taxiway"), 61.0, 60.1, 49),
    ("running along the different runway with", on_carrier("airplane", "runway"), 61, 60.1, 49),
    # not farther apart than 100 m
    ("in the different parking with", on_carrier("car", "car_parking"), 89, 95, 99),
    # 10 m from the dock; the other dock begins at 60, the ship is 6 m wide
    ("docking at the same dock with", at_docks("dock"), 8.5, 10, 12),
    ("docking at the different dock with", at_docks("dock"), 46, 44, 42),
    ("docking at the same breakwater with", at_docks("breakwater"), 8.5, 10, 12),
    ("co-storage with", pair(("tank", rectangle(0, 0, 20, 20)), boxed("tank", None, 0, 20, 20)), 33, 35, 38),
    ("not co-storage with", pair(("tank", rectangle(0, 0, 20, 20)), boxed("tank", None, 0, 20, 20)), 38, 35, 33),
    ("co-storage with", yards, 49, 50, 61),
    ("not co-storage with", yards, 61, 60.1, 49),
    # --- beside: 15 degrees, and a gap of one width of 4 m
    ("driving alongside with", beside("car", None, True), 12, 15, 20),
    ("driving alongside with", beside("car", None, False), 3.5, 4, 4.5),
    ("parked alongside with", beside("car", "parking", False), 3.5, 4, 4.5),
    ("parked alongside with", beside("airplane", "apron", False), 3.5, 4, 4.5),
    ("not parked alongside with", beside("car", "parking", False), 4.5, 4, 3.5),
    ("docked alongside with", beside("ship", "dock", False), 3.5, 4, 4.5),
    ("not docked alongside with", beside("ship", "dock", False), 4.5, 4, 3.5),
    # --- arrangement: 15 and 30 degrees, two lengths of 4 m
    ("parallelly parked on", standing("car", "parking", True), 12, 15, 20),
    ("parallelly docked at", standing("boat", "dock", True), 12, 15, 20),
    ("randomly parked on", standing("car", "parking", True), 35, 31, 25),
    ("randomly docked at", standing("boat", "dock", True), 35, 31, 25),
    ("isolatedly parked on", standing("airplane", "apron", False), 9.0, 8.5, 7),
    ("isolatedly docked at", standing("boat", "breakwater", False), 9.0, 8.5, 7),
    # 0.15 of 4 m beyond the edge at 20
    ("incorrectly parked on", pair(boxed("car", 0, None, 4, 2, 90), PARKING), 18.8, 18.62, 18.3),
    # --- distance
    ("within danger distance of", pair(("house", rectangle(0, 0, 10, 10)), boxed("gas_station", None, 0, 10, 10)),
     32, 35, 40),
    ("within safe distance of", pair(("house", rectangle(0, 0, 10, 10)), boxed("gas_station", None, 0, 10, 10)),
     40, 36, 32),
    ("within safe distance of", pair(("house", rectangle(0, 0, 10, 10)), boxed("gas_station", None, 0, 10, 10)),
     99, 105, 120),
    # --- headings: 20 degrees
    ("approach", heading_to("ship", "dock"), 17, 20, 23),
    ("approach", heading_to("ship", "dock"), -17, -20, -23),
    ("away from", heading_to("ship", "dock", lambda x: 180 + x), 17, 20, 23),
    ("drive toward", heading_to("car", "toll_gate"), 17, 20, 23),
    ("drive off", heading_to("car", "toll_gate", lambda x: 180 - x), 17, 20, 23),
    ("driving in the same direction with", two_cars(0), -13, -15, -17),
    ("driving in the opposite direction with", two_cars(180), 13, 15, 17),
    # half a lane of 3.5 m is the same, a whole one another
    ("driving in the same lane with", two_cars(0, None), 1.5, 1.8, 3.5),
    ("driving in the different lane with", two_cars(0, None), 3.3, 2.5, 1.5),
    ("driving in the different lane with", two_cars(180, None), 3.3, 2.5, 1.5),
    ("driving in the same lane with", by_given_lanes, 1.4, 1.75, 2.1),
    ("driving in the different lane with", by_given_lanes, 2.1, 1.75, 1.4),
    # --- networks: 2 m between a tower of 2 m and the line
    ("directly connected to", powered("lattice_tower", False), 2.7, 3.0, 3.3),
    ("indirectly connected to", powered("lattice_tower", True), 2.7, 3.0, 3.3),
    ("directly connected to", powered("lattice_tower", True), 3.3, 3.0, 2.7),
    ("directly transmit electricity to", powered("substation", False), 2.7, 3.0, 3.3),
    ("indirectly transmit electricity to", powered("substation", True), 2.7, 3.0, 3.3),
    ("within same line of", powered("lattice_tower", False), 2.7, 3.0, 3.3),
    ("within different line of", other_line, 2.7, 3.0, 3.3),
]  # fmt: skip


@pytest.mark.parametrize(("predicate", "scene", "inside", "between", "outside"), CASES)
def test_a_predicate_holds_inside_its_threshold_only_and_nothing_is_said_within_the_margin(
    predicate, scene, inside, between, outside
):
    relation = RELATIONS[predicate]
    assert predicate in scene(inside).between("a", "b")
    assert predicate in scene(inside).between("b", "a") or not relation.symmetric
    assert not {predicate, relation.antonym} & scene(between).between("a", "b")
    assert predicate not in scene(outside).between("a", "b")


def test_every_predicate_that_can_be_derived_is_in_the_table():
    assert {case[0] for case in CASES} == {name for name, relation in RELATIONS.items() if relation.reason is None}


ANTONYMS = [
    # the scene that is outside of the one is inside of the other
    ("in the same parking with", on_carrier("car", "car_parking"), 61),
    ("co-storage with", pair(("tank", rectangle(0, 0, 20, 20)), boxed("tank", None, 0, 20, 20)), 38),
    ("parked alongside with", beside("car", "parking", True), 20),
    ("docked alongside with", beside("ship", "dock", False), 4.5),
    ("within danger distance of",
     pair(("house", rectangle(0, 0, 10, 10)), boxed("gas_station", None, 0, 10, 10)), 40),
    ("indirectly connected to", powered("lattice_tower", True), 3.3),
]  # fmt: skip


@pytest.mark.parametrize(("predicate", "scene", "x"), ANTONYMS)
def test_where_a_test_clearly_fails_the_antonym_is_said(predicate, scene, x):
    assert RELATIONS[predicate].antonym in scene(x).between("a", "b")


def test_ends_of_two_roads_connect_and_of_three_converge():
    two = {"a": road((0, 0), (50, 0)), "b": road((0, 0), (-40, 20))}
    assert Table(two).between("a", "b") == {"connect"} == Table(two).between("b", "a")
    three = {**two, "c": road((0, 0), (0, 50))}
    assert Table(three).between("a", "b") == {"converge"}


def test_a_centre_in_two_parkings_counts_to_the_smaller_one():
    cars = {"a": ("car", rectangle(0, 0, 4, 2)), "b": ("car", rectangle(40, 0, 4, 2))}
    large, small = ("parking", rectangle(0, 0, 200, 60)), ("parking", rectangle(0, 0, 20, 20))
    assert "in the different parking with" in Table({**cars, "p": large, "q": small}).between("a", "b")
    assert "in the different parking with" in Table({"q": small, "p": large, **cars}).between("a", "b")


def test_a_ship_between_two_docks_is_at_neither():
    ships = {"a": ("ship", rectangle(0, 0, 40, 8)), "b": ("ship", rectangle(60, 0, 40, 8))}
    docks = {"p": ("dock", rectangle(0, 10, 200, 8)), "q": ("dock", rectangle(0, -10, 200, 8))}
    assert not Table({**ships, **docks}).between("a", "b")
    assert "docking at the same dock with" in Table({**ships, "p": docks["p"]}).between("a", "b")


def test_a_square_has_no_axis_and_is_not_said_to_be_parallel():
    planes = {"a": ("airplane", rectangle(0, 0, 30, 30)), "b": ("airplane", rectangle(0, 40, 30, 30))}
    found = Table({**planes, "p": ("apron", rectangle(0, 0, 300, 300))})
    assert found.between("a", "b") == {"parking in the same apron with"}
    found.headings.update(a=0.0, b=180.0)
    assert "parked alongside with" in found.between("a", "b")


def test_vehicles_drive_only_on_roads_where_a_scene_has_any():
    cars = {"a": ("car", rectangle(0, 0, 4, 2)), "b": ("car", rectangle(0, 3, 4, 2))}
    assert Table(cars).between("a", "b") == {"driving alongside with"}
    assert not Table({**cars, "r": ("road", rectangle(0, 100, 200, 10))}).between("a", "b")
    assert not Table({**cars, "p": ("parking", rectangle(0, 0, 40, 40))}).between("a", "b") & {"driving alongside with"}


def test_evidence_is_what_a_ruler_says():
    cars = {"a": ("car", rectangle(0, 0, 4, 2)), "b": ("car", rectangle(1, 3, 4, 2, 10))}
    found = {r.predicate: r.evidence for r in Table({**cars, "p": PARKING}).relations() if r.subject == "a"}
    assert found["in the same parking with"] == {"distance_m": 3.162, "margin": 0.1}
    assert found["parked alongside with"]["angle_deg"] == 10
    assert found["parallelly parked on"] == {"angle_deg": 10, "neighbours": 1, "margin": 0.1}
    houses = {"a": ("house", rectangle(0, 0, 10, 10)), "b": ("house", rectangle(12.5, 0, 10, 10))}
    assert [r.evidence for r in Table(houses).relations()] == [{"gap_m": 2.5, "overlap": 0.0, "margin": 0.1}] * 2


def test_a_house_behind_another_is_not_adjacent():
    houses = {"a": ("house", rectangle(0, 0, 10, 10)), "b": ("house", rectangle(12, 0, 10, 10))}
    assert Table(houses).between("a", "b") == {"adjacent"}
    between = {"c": ("house", rectangle(6, 0, 1, 30))}
    assert not Table({**houses, **between}).between("a", "b")
    # what is of another class hides nothing
    assert Table({**houses, "c": ("tree", rectangle(6, 0, 1, 30))}).between("a", "b") == {"adjacent"}


def test_a_road_with_a_corner_runs_along_nothing():
    straight, bent = road((0, 0), (100, 0)), road((0, 10), (100, 10), (100, 60))
    assert "run along" not in Table({"a": bent, "b": straight}).between("a", "b")
    assert "run along" in Table({"a": road((0, 10), (50, 12), (100, 10)), "b": straight}).between("a", "b")
