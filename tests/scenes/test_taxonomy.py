"""Taxonomies come back from their files as they went in, and what is no taxonomy is refused."""

import json
import tomllib

import pytest

from georefer.errors import InputError
from georefer.scenes.taxonomy import load_taxonomy, parents_to_tree, read_parents, tree_to_parents, write_taxonomy

DAG = {
    "site": (),
    "building": ("site",),
    "church": ("building", "monument"),
    "chapel": ("church",),
    "monument": ("site",),
    "statue": ("monument",),
    "water": (),
    'a "b", c\'s': ("water",),
}


@pytest.mark.parametrize("ending", ["json", "toml"])
@pytest.mark.parametrize("parents", [DAG, {"alone": ()}, {"a": (), "b": ("a",)}, read_parents("groundset")])
def test_a_taxonomy_comes_back_from_its_file(tmp_path, parents, ending):
    write_taxonomy(parents, tmp_path / f"tree.{ending}")
    back = read_parents(tmp_path / f"tree.{ending}")
    assert {name: set(above) for name, above in back.items()} == {n: set(a) for n, a in parents.items()}


def test_a_class_in_two_places_has_two_parents(tmp_path):
    tree = {"elements": {"building": {"religious": ["church", "chapel"], "tower": []}, "heritage": ["tower"]}}
    (tmp_path / "tree.json").write_text(json.dumps(tree))
    taxonomy = load_taxonomy(tmp_path / "tree.json")
    assert "elements" not in taxonomy
    assert taxonomy.ancestors("tower") == {"tower", "building", "heritage"}
    assert taxonomy.ancestors("chapel") == {"chapel", "religious", "building"}


def test_groundsets_tree_is_written_as_its_authors_nest_it(tmp_path):
    parents = read_parents("groundset")
    tree = parents_to_tree(parents)
    assert list(tree) == ["Artificial features", "Nature"]
    assert tree["Nature"]["Watercourses"] == ["Watercourse"]
    assert tree["Artificial features"]["Heritage"]["Monument"] == ["Triumphal arch"]
    assert parents["Castle"] == ("Historic buildings", "Archaeological remains")
    assert len(parents) == 182  # 183 names, the root among them
    write_taxonomy(parents, tmp_path / "tree.toml")
    assert tomllib.loads((tmp_path / "tree.toml").read_text()) == tree


@pytest.mark.parametrize(
    "text, says",
    [
        ('{"a": ["b", 3]}', "'3' where the name of a class"),
        ('{"a": "b"}', "'b' where a table or a list"),
        ('["a"]', "no table of classes"),
        ("{}", "no table of classes"),
        ('{"a": {"b": {"a": []}}}', "cycle"),
        ('{"a": ["a"]}', "cycle"),
        ('{"a": ["  "]}', "name of a class"),
        ("[" * 100_000, "cannot be read"),
        ('{"x":' * 200 + "[]" + "}" * 200, "deeper than 50"),
        ("nonsense", "cannot be read"),
    ],
)
def test_what_is_no_taxonomy_is_refused(tmp_path, text, says):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=says):
        read_parents(tmp_path / "t.json")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ready one .*groundset"):
        load_taxonomy("nowhere")
    with pytest.raises(InputError, match="cannot be read"):
        load_taxonomy(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"ends in \.json"):
        write_taxonomy(DAG, tmp_path / "t.yaml")
    with pytest.raises(InputError, match="cycle"):
        parents_to_tree({"a": ("b",), "b": ("a",)})
    with pytest.raises(InputError, match="deeper"):
        parents_to_tree({str(i): (str(i - 1),) if i else () for i in range(80)})
    with pytest.raises(InputError, match="no table of classes"):
        tree_to_parents(None)
