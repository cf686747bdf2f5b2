"""Mappings: which class a feature is, how wide, and what a mapping file may not say."""

import geopandas
import numpy as np
import pytest
import shapely

from georefer.building.columns import Columns, number_of, text_of
from georefer.building.mapping import Condition, load_mapping, ready_mappings, regular_plural
from georefer.errors import ConfigError, InputError
from georefer.scenes.taxonomy import read_parents

POINT, LINE, AREA = shapely.Point(0, 0), shapely.LineString([(0, 0), (9, 0)]), shapely.box(0, 0, 9, 9)

CLASSES = """
name = "test"
[classes]
building = {synonyms = ["structure"], labels = {fr = "bâtiment"}, plurals = {fr = "bâtiments"}}
house = {parents = ["building"]}
church = {parents = ["building", "monument"], plural = "churches of all kinds"}
monument = {buffer_m = 4}
statue = {parents = ["monument"]}
road = {width_m = 6}
alley = {parents = ["road"]}
"""


def mapping(tmp_path, rules):
    (tmp_path / "m.toml").write_text(CLASSES + rules)
    return load_mapping(tmp_path / "m.toml")


def table(rows, shape=AREA):
    rows = [{"shape": shape, **row} for row in rows]
    shapes = [row.pop("shape") for row in rows]
    return geopandas.GeoDataFrame(rows, geometry=shapes, crs=32631)


def classes(tmp_path, rules, rows, shape=AREA, layer="l"):
    return mapping(tmp_path, rules).classify(table(rows, shape), layer).classes_N.tolist()


@pytest.mark.parametrize(
    "when, fits",
    [
        # a value, without regard to case and space
        ('{a = "X"}', [True, True, False, False, False, False]),
        ('{a = ["x", "y"]}', [True, True, True, False, False, False]),
        ("{a = true}", [True, True, True, True, True, False]),
        ("{a = false}", [False, False, False, False, False, True]),
        ('{a = {regex = "x|y.*"}}', [True, True, True, False, False, False]),
        ("{a = {min = 3}}", [False, False, False, True, True, False]),
        # 12 ft are 3.66 m
        ("{a = {min = 3.5, max = 4}}", [False, False, False, False, True, False]),
        ("{a = 3}", [False, False, False, True, False, False]),
        ('{a = "x", b = true}', [True, False, False, False, False, False]),
        ('{b = "1"}', [True, False, False, False, False, False]),
        ("{c = true}", [False] * 6),
        ("{c = false}", [True] * 6),
    ],
)
def test_conditions(tmp_path, when, fits):
    rows = [{"a": "x", "b": 1.0}, {"a": " X "}, {"a": "y"}, {"a": "3"}, {"a": "12 ft"}, {"a": None}]
    found = classes(tmp_path, f'[[rules]]\nto = "house"\nwhen = {when}', rows)
    assert [name == "house" for name in found] == fits


def test_the_highest_priority_wins_then_the_narrower_class_then_the_first(tmp_path):
    rules = """
    [[rules]]
    to = "building"
    when = {a = true}
    [[rules]]
    attribute = "a"
    values = {house = "house", church = "church", tie = "road"}
    [[rules]]
    to = "statue"
    when = {a = true, b = "top"}
    priority = 1
    [[rules]]
    to = "monument"
    when = {a = "low"}
    priority = -1
    """
    rows = [{"a": "house"}, {"a": "church", "b": "top"}, {"a": "low"}, {"a": "tie"}, {"a": "else"}]
    mapped = mapping(tmp_path, rules).classify(table(rows), "l")
    assert mapped.classes_N.tolist() == ["house", "statue", "building", "building", "building"]
    assert mapped.tied_N.tolist() == [False, False, False, True, False]  # road is no kind of building


def test_layers_and_shapes_choose_rules(tmp_path):
    rules = """
    [[rules]]
    to = "road"
    geometry = ["line"]
    [[rules]]
    to = "house"
    layers = ["BATI*"]
    geometry = ["area"]
    """
    rows = [{"shape": LINE}, {"shape": AREA}, {"shape": POINT}]
    assert classes(tmp_path, rules, rows, layer="batiment_2024") == ["road", "house", None]
    assert classes(tmp_path, rules, rows, layer="other") == ["road", None, None]


def test_what_is_not_known_is_listed_and_what_is_ignored_is_not(tmp_path):
    rules = """
    [ignore]
    a = ["no"]
    [[rules]]
    attribute = "a"
    values = {house = "house"}
    [[rules]]
    ignore = true
    when = {b = "under ground"}
    priority = 9
    [[rules]]
    to = "church"
    when = {c = "x"}
    """
    rows = [
        {"a": "house"},
        {"a": "castle"},
        {"a": "Castle"},
        {"a": "no"},
        {"a": "no", "c": "x"},  # the other attribute still counts
        {"a": "house", "b": "under ground"},
        {"a": None},
        {"a": "tent"},
    ]
    mapped = mapping(tmp_path, rules).classify(table(rows), "l")
    assert mapped.classes_N.tolist() == ["house", None, None, None, "church", None, None, None]
    assert mapped.ignored_N.tolist() == [False, False, False, True, False, True, False, False]
    assert {value: rows_N.tolist() for value, rows_N in mapped.unknown.items()} == {"a=castle": [1, 2], "a=tent": [7]}
    assert next(iter(mapped.unknown)) == "a=castle"


def test_a_feature_is_listed_under_one_value_rather_one_that_no_rule_names(tmp_path):
    rules = """
    [[rules]]
    to = "house"
    when = {a = "x", b = "y"}
    [[rules]]
    to = "road"
    when = {c = "z"}
    """
    rows = [{"a": "x", "c": "new"}, {"a": "x"}, {"b": "new", "c": "new"}]
    mapped = mapping(tmp_path, rules).classify(table(rows), "l")
    assert {k: v.tolist() for k, v in mapped.unknown.items()} == {"a=x": [1], "b=new": [2], "c=new": [0]}


def test_widths_come_from_attributes_rules_and_classes_in_this_order(tmp_path):
    rules = """
    [[rules]]
    attribute = "a"
    values = {alley = "alley", house = "house"}
    width_from = {width = 1, lanes = 3}
    [[rules]]
    to = "road"
    when = {a = "wide"}
    width_m = 20
    [[rules]]
    to = "statue"
    when = {a = "statue"}
    """
    rows = [
        {"a": "alley", "width": "7,5 m", "lanes": "2"},
        {"a": "alley", "lanes": "2"},
        {"a": "alley", "lanes": "many"},  # the width of the class above
        {"a": "alley", "width": "9000"},  # nobody's road
        {"a": "wide", "width": "7"},
        {"a": "house"},
        {"a": "statue"},
    ]
    mapped = mapping(tmp_path, rules).classify(table(rows, LINE), "l")
    np.testing.assert_equal(mapped.width_N, [7.5, 6, 6, 6, 20, np.nan, np.nan])
    np.testing.assert_equal(mapped.radius_N, [np.nan] * 6 + [4])  # from the class above


def test_several_values_tags_nested_columns_and_other_names(tmp_path):
    rules = """
    [[rules]]
    attribute = "building"
    values = {house = "house", church = "church"}
    [[rules]]
    to = "road"
    when = {"names.primary" = "Rue"}
    """
    head = 'separator = ";"\ntags_in = "other_tags"\naliases = {building = ["BUILD_TYPE"]}\n'
    (tmp_path / "m.toml").write_text(head + CLASSES + rules)
    loaded = load_mapping(tmp_path / "m.toml")
    for rows, expected in [
        ([{"BUILDING": "House"}], ["house"]),
        ([{"build_type": "church"}], ["church"]),
        ([{"building": "yes; church"}], ["church"]),
        ([{"other_tags": r'"name"=>"a \"b\"=>c","building"=>"house"'}, {"other_tags": None}], ["house", None]),
        ([{"names": {"primary": "rue"}}, {"names": None}], ["road", None]),
        ([{"building": ["house"]}], [None]),  # a list is no word, and no accident either
    ]:
        assert loaded.classify(table(rows), "l").classes_N.tolist() == expected


def test_classes_have_words(tmp_path):
    loaded = mapping(tmp_path, '[[rules]]\nto = "house"')
    assert loaded.words("building") == ("building", "buildings", ("structure",))
    assert loaded.words("building", "fr") == ("bâtiment", "bâtiments", ())
    assert loaded.words("house", "fr") == ("house", "houses", ())
    assert loaded.words("church").plural == "churches of all kinds"
    assert loaded.languages == ("fr",)
    plurals = [regular_plural(word) for word in ("church", "city", "Highway ramp", "bus", "railway")]
    assert plurals == ["churches", "cities", "Highway ramps", "buses", "railways"]


@pytest.mark.parametrize(
    "rules, says",
    [
        ('[[rules]]\nto = "hous"', r"classes \['hous'\], which its taxonomy does not hold"),
        ('[[rules]]\nto = "house"\nignore = true', "a rule has one of"),
        ('[[rules]]\nattribute = "a"', "a rule has one of"),
        ("[[rules]]\npriority = 1", "a rule has one of"),
        ('[[rules]]\nto = "house"\nwen = {a = 1}', "did you mean 'when'"),
        ('[[rules]]\nto = "house"\ngeometry = ["blob"]', "expected one of 'point', 'line', 'area'"),
        ('[[rules]]\nto = "house"\nwhen = {a = {regex = "(a+)+b"}}', "may take too long"),
        ('[[rules]]\nto = "house"\nwhen = {a = {regex = "(a"}}', "is no pattern"),
        ('[classes.loop]\nparents = ["loop"]', "cycle"),
    ],
)
def test_a_wrong_mapping_is_refused_in_one_sentence(tmp_path, rules, says):
    with pytest.raises(InputError, match=says) as error:
        mapping(tmp_path, rules)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "regex",
    [
        "(a*)*b", "(?:a|a)*b", "(a|aa)+b", "((a{1,9}){1,9}){1,9}", "a*a*a*a*b", "(a)\\1", "(?=a)b", "a" * 101,
        "a?a?a?a?a?a?a?a?a?", "(?P<n>a)(?P=n)",
    ],
)  # fmt: skip
def test_patterns_that_may_never_end_are_refused(regex):
    with pytest.raises(ValueError, match="may take too long"):
        Condition(regex=regex)


@pytest.mark.parametrize(
    "regex, text, fits",
    [
        (r"\d+ m", "12 m", True),
        (r"[^\]*+(]+", "abc", True),  # signs inside brackets repeat nothing
        (r"(?:north|south) road", "south road", True),
        (r"a.*b.*", "A" + "b" * 10_000, True),
        (r"a.*b.*c", "a" + "b" * 1_000_000, False),
        (r"\(\*\)", "(*)", True),
    ],
)
def test_bounded_patterns_are_kept(regex, text, fits):
    assert Condition(regex=regex).holds(text, "") is fits


def test_other_mappings_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ready one \(bdtopo, osm, overture\)"):
        load_mapping("ossm")
    with pytest.raises(ConfigError, match="there is no recipe"):
        load_mapping(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_text("#" * 1_000_001)
    with pytest.raises(ConfigError, match="larger than"):
        load_mapping(tmp_path / "large.toml")


def test_text_and_numbers_of_values():
    assert [text_of(v) for v in (True, 2.0, 2.5, " Ab ", "", None, np.nan, [], np.int64(3))] == [
        "true", "2", "2.5", "ab", None, None, None, None, "3",
    ]  # fmt: skip
    said = ["7", "7,5", "-1", "7.5 m", "10ft", "12'", "1e5", "7;8", "", None, "9" * 400]
    assert [number_of(v) for v in said] == [7, 7.5, -1, 7.5, pytest.approx(3.048), pytest.approx(3.6576)] + [None] * 5
    frame = table([{"a": True}, {"a": 1}, {"a": "1"}])
    codes_N, texts = Columns(frame).coded("a")
    assert [texts[code] for code in codes_N] == ["true", "1", "1"]


# --- the mappings that come with this package --------------------------------------------------------------


def test_ready_mappings_are_whole():
    assert ready_mappings() == ["bdtopo", "osm", "overture"]
    for name in ready_mappings():
        loaded = load_mapping(name)
        assert loaded.languages and loaded.name
        for label in loaded.parents:
            assert loaded.words(label).plural
    assert set(load_mapping("bdtopo").parents) == set(read_parents("groundset"))  # no class but GroundSet's


@pytest.mark.parametrize(
    "name, layer, shape, attributes, expected",
    [
        ("osm", "l", AREA, {"building": "yes"}, "building"),
        ("osm", "l", AREA, {"building": "yes", "amenity": "school"}, "school building"),
        ("osm", "l", AREA, {"amenity": "school"}, "school grounds"),
        ("osm", "l", POINT, {"amenity": "school"}, None),
        ("osm", "l", AREA, {"building": "yes", "amenity": "place_of_worship", "religion": "hindu"}, "temple"),
        ("osm", "l", AREA, {"building": "no", "leisure": "pitch", "sport": "soccer"}, "football pitch"),
        ("osm", "l", AREA, {"leisure": "pitch", "sport": "curling"}, "sports pitch"),
        ("osm", "l", LINE, {"highway": "residential", "tunnel": "yes"}, None),
        ("osm", "l", LINE, {"highway": "tertiary", "junction": "roundabout"}, "roundabout"),
        ("osm", "l", LINE, {"railway": "tram"}, "tramway"),
        ("osm", "l", AREA, {"natural": "water", "water": "pond"}, "pond"),
        ("osm", "l", POINT, {"power": "generator", "generator:source": "wind"}, "wind turbine"),
        ("osm", "l", AREA, {"landuse": "industrial", "building": "warehouse"}, "warehouse"),
        ("overture", "building", AREA, {"subtype": "education"}, "school building"),
        ("overture", "building", AREA, {"subtype": "residential", "class": "house"}, "house"),
        ("overture", "building", AREA, {"is_underground": True}, None),
        ("overture", "segment", LINE, {"subtype": "road", "class": "residential"}, "residential street"),
        ("overture", "segment", LINE, {"subtype": "rail", "class": "subway"}, None),
        ("overture", "land_use", AREA, {"subtype": "residential", "class": "residential"}, "residential area"),
        ("overture", "water", AREA, {"subtype": "human_made", "class": "swimming_pool"}, "swimming pool"),
        ("overture", "land", AREA, {"subtype": "forest", "class": "wood"}, "forest"),
        ("overture", "infrastructure", AREA, {"subtype": "airport", "class": "runway"}, "runway"),
        ("overture", "infrastructure", LINE, {"subtype": "barrier", "class": "fence"}, None),
        ("bdtopo", "batiment", AREA, {"nature": "Eglise"}, "Church"),
        ("bdtopo", "BATIMENT", AREA, {"NATURE": "Indifférenciée"}, "Building"),
        ("bdtopo", "batiment", AREA, {"nature": "Indifférenciée", "etat_de_l_objet": "En projet"}, None),
        ("bdtopo", "troncon_de_route", LINE, {"nature": "Bretelle"}, "Highway ramp"),
        ("bdtopo", "TRONCON_DE_ROUTE", LINE, {"NATURE": "Chemin", "POS_SOL": "-1"}, None),
        ("bdtopo", "terrain_de_sport", AREA, {"nature": "Terrain de tennis"}, "Tennis court"),
        ("bdtopo", "zone_d_activite_ou_d_interet", AREA, {"nature": "Carrière"}, "Quarry"),
        (
            "bdtopo",
            "equipement_de_transport",
            POINT,
            {"nature": "Carrefour", "nature_detaillee": "Rond-point"},
            "Roundabout",
        ),
        ("bdtopo", "zone_de_vegetation", AREA, {"nature": "Haie"}, None),
        ("bdtopo", "piste_d_aerodrome", AREA, {"nature": "Piste en herbe"}, "Grass runway"),
    ],
)
def test_ready_mappings_know_common_features(name, layer, shape, attributes, expected):
    mapped = load_mapping(name).classify(table([attributes], shape), layer)
    assert mapped.classes_N.tolist() == [expected]
    assert not mapped.tied_N.any() and (expected is not None or mapped.ignored_N.all())


@pytest.mark.shared
def test_real_openstreetmap_buildings_all_have_a_class(shared_data):
    frame = geopandas.read_file(shared_data / "banepa-buildings" / "osm_buildings.geojson")
    mapped = load_mapping("osm").classify(frame, "osm_buildings")
    assert not mapped.unknown and not mapped.tied_N.any() and not mapped.ignored_N.any()
    names, counts = np.unique(mapped.classes_N.astype(str), return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    worship = frame["amenity"].eq("place_of_worship").sum()  # hindu or buddhist, all of them
    assert found["temple"] == worship == 10 and found["building"] == 946 and found["school building"] == 5
