"""The README says what is true: its commands, its verbs, its tree, its pictures."""

import re
from pathlib import Path

from georefer.cli import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_two_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.M)


def test_every_verb_stands_in_the_table_and_no_other():
    assert set(re.findall(r"^\| `georefer (\w+)", README, re.M)) == set(VERBS)


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_tree_is_the_tree():
    block = re.search(r"```\nsrc/georefer/\n(.*?)```", README, re.S)
    assert block
    named = set(re.findall(r"^  (\w+)(?:/|\.py)", block[1], re.M))
    package = ROOT / "src" / "georefer"
    there = {p.stem for p in package.iterdir() if not p.name.startswith(("_", ".")) and p.name != "py.typed"}
    assert named == there


def test_the_python_examples_use_the_front_door():
    import georefer

    for name in re.findall(r"georefer\.(\w+)\(", README):
        assert name in georefer.__all__ and callable(getattr(georefer, name)), name
