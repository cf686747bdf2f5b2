"""STAR: objects by group id, triplets by name, both written again."""

import json

import pytest
from tests.data.published_2 import STAR_SHAPES, STAR_TABLE, picture, star

from georefer.errors import InputError
from georefer.scenes.readers.star import CLASSES, PREDICATES, SOURCE, class_name, predicate_name


def test_the_published_vocabulary():
    assert len(set(CLASSES)) == 48 and len(set(PREDICATES)) == 58
    assert [CLASSES.index(n) for n in ("airplane", "goods_yard", "stadium")] == [0, 11, 47]
    assert [PREDICATES.index(n) for n in ("over", "parked alongside with", "not docked alongside with")] == [0, 44, 57]


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("baseball_dianmond", "baseball_diamond"),
        ("Cement concrere pavement", "cement_concrete_pavement"),
        ("boarding-bridge", "boarding_bridge"),
        ("house", "house"),
    ],
)
def test_class_names_are_mended(said, name):
    assert class_name(said) == name


def test_predicates_are_keyed_by_name():
    assert predicate_name("Co_Storage  with") == "co-storage with"
    assert predicate_name("beside") is None
    assert all(predicate_name(name) == name for name in PREDICATES)


def test_objects_and_relations(tmp_path):
    star(tmp_path)
    picture(tmp_path / "train" / "img" / "0505.png", (320, 240))
    read = SOURCE.read(tmp_path)
    image = read.images["0505.png"]
    assert (image.width, image.height) == (320, 240) and image.attributes["split"] == "train"
    assert image.objects.ids_N.tolist() == ["0", "1", "2", "3"] and len(read) == 0
    assert image.objects.labels_N.tolist() == ["airplane", "cement_concrete_pavement", "car", "car"]
    assert image.attributes["relations"] == [["0", "parallelly parked on", "1"], ["2", "away from", "0"]]
    assert read.account.kept == 4 and not read.account.dropped.total


def test_splits(tmp_path):
    star(tmp_path)
    star(tmp_path, "val", "0600")
    assert {n: i.attributes["split"] for n, i in SOURCE.read(tmp_path).images.items()} == {
        "0505.png": "train", "0600.png": "val"
    }  # fmt: skip
    assert list(SOURCE.read(tmp_path, split="val").images) == ["0600.png"]
    assert SOURCE.read(tmp_path / "val").images["0600.png"].attributes["split"] == "val"
    with pytest.raises(InputError, match="no split 'test'"):
        SOURCE.read(tmp_path, split="test")


def test_what_was_written_reads_the_same(tmp_path):
    read = SOURCE.read(star(tmp_path))
    SOURCE.write(read, tmp_path / "again")
    again = SOURCE.read(tmp_path / "again").images["0505.png"]
    first = read.images["0505.png"]
    assert again.attributes["relations"] == first.attributes["relations"]
    assert (again.objects.hbb_N4 == first.objects.hbb_N4).all() and (again.objects.ids_N == first.objects.ids_N).all()
    head, *rows = (tmp_path / "again" / "relationship" / "0505.csv").read_text().splitlines()
    assert head == "subject,subject_ID,relationship,object,object_ID"
    assert rows[0] == "airplane,0,parallelly parked on,cement_concrete_pavement,1"


def change(folder, shapes=None, table=None):
    if shapes is not None:
        (folder / "object-json" / "0505.json").write_text(json.dumps({"shapes": shapes}))
    if table is not None:
        (folder / "relationship" / "0505.csv").write_text(table)
    return SOURCE.read(folder)


HEAD = STAR_TABLE.splitlines()[0] + "\n"


@pytest.mark.parametrize(
    ("table", "dropped"),
    [
        (HEAD + "airplane,0,beside,car,2\n", "relation: predicate is none of STAR's 58"),
        (HEAD + "airplane,9,over,car,2\n", "relation: no subject of this id and class"),
        # the id is another class's
        (HEAD + "airplane,0,over,truck,2\n", "relation: no object of this id and class"),
        (HEAD + "airplane\n", "relation: predicate is none of STAR's 58"),
        ("a,b\n1,2\n", "relation file without the columns subject, subject_ID, relationship, object, object_ID"),
        ("", "relation file without the columns subject, subject_ID, relationship, object, object_ID"),
    ],
)
def test_bad_relations_are_counted(tmp_path, table, dropped):
    read = change(star(tmp_path), table=table)
    assert read.account.dropped.counts == {dropped: 1} and read.images["0505.png"].attributes["relations"] == []


def test_a_field_without_end_ends_the_relations(tmp_path):
    read = change(star(tmp_path), table=STAR_TABLE + '"' + "x" * 200_000)
    assert len(read.images["0505.png"].attributes["relations"]) == 2
    assert [r for r in read.account.dropped.counts if "no CSV from here on" in r]


def test_shared_group_ids(tmp_path):
    shapes = [STAR_SHAPES[0], {**STAR_SHAPES[2], "group_id": 0}, {**STAR_SHAPES[3], "group_id": 0}]
    read = change(star(tmp_path), shapes, HEAD + "car,0,away from,airplane,0\n")
    ids = read.images["0505.png"].objects.ids_N.tolist()
    # the class tells the plane from the cars, nothing tells one car from the other
    assert read.images["0505.png"].attributes["relations"] == [
        [ids[1], "away from", ids[0]], [ids[2], "away from", ids[0]]
    ]  # fmt: skip
    assert read.account.changed.counts["relation names an id of several objects, taken for each"] == 1


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"label": "car", "points": [[0, 0], [1, 1]]}, "not four corners"),
        ({"label": "car", "points": [[0, 0], [1, 1], [2, 2], [3, 3]]}, "no area"),
        ({"label": "car", "points": [[0, 0], [1, "x"], [2, 2], [3, 3]]}, "not four corners"),
        ({"label": 3, "points": []}, "no class name"),
        ("car", "no class name"),
    ],
)
def test_bad_shapes_are_counted(tmp_path, shape, reason):
    assert change(star(tmp_path), [shape], HEAD).account.dropped.counts == {reason: 1}


def test_other_json_is_refused(tmp_path):
    folder = star(tmp_path)
    (folder / "object-json" / "0505.json").write_text("[]")
    with pytest.raises(InputError, match="no labelme file"):
        SOURCE.read(folder)
