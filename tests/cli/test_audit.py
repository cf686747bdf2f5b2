"""`georefer audit`: what is printed and written, the exit codes, and what is said of wrong input."""

import json

import pytest
from PIL import Image
from tests.data.published_2 import noise

from georefer.cli import audit, main


@pytest.fixture
def folders(tmp_path):
    for name, seeds in (("one", (1, 2)), ("two", (2, 3)), ("three", (4,))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            Image.fromarray(noise(seed)).save(tmp_path / name / f"{name}-{seed}.png")
    return tmp_path


def test_leaks_are_printed_and_written(folders, capsys):
    arguments = ["audit", str(folders / "one"), f"TWO={folders / 'two'}", "--json", str(folders / "leaks.json")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "2 images  one" in said and "content: one and TWO" in said and "one/one-2.png = TWO/two-2.png" in said
    leaks = json.loads((folders / "leaks.json").read_text())["leaks"]
    assert leaks == [{"left": ["one", "one-2.png"], "right": ["TWO", "two-2.png"],
                      "reasons": {"content": 1.0, "looks": 1.0}}]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (("one", "two"), ["--fail-on-leak"], 1),
        (("one", "three"), ["--fail-on-leak"], 0),
        (("one", "two"), ["--fail-on-leak", "--by", "name"], 0),
        (("one", "two"), ["--fail-on-leak", "--by", "looks", "--as-is"], 1),
    ],
)
def test_exit_codes(folders, names, options, code, capsys):
    assert main(["audit", *(str(folders / name) for name in names), *options]) == code
    assert ("no image was found twice" in capsys.readouterr().out) == (code == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "one set of images was given"),
        (["one", "nowhere"], "there is no folder"),
        (["one", "two", "--split", "test"], "holds no image of the splits test"),
        (["one", "A=one"], "one is given twice"),
        (["=one", "two"], "gives no name of its own"),
        (["one", "a=two", "a=three"], "gives no name of its own"),
    ],
)
def test_bad_input_is_one_sentence(folders, monkeypatch, arguments, message, capsys):
    monkeypatch.chdir(folders)
    assert main(["audit", *arguments]) == 2
    assert [line for line in capsys.readouterr().err.splitlines() if message in line]


def test_folders_of_one_name_are_told_apart(tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "images").mkdir(parents=True)
    named = audit._named([str(tmp_path / "a" / "images"), str(tmp_path / "b" / "images")])
    assert [name for name, _ in named] == ["images", "b/images"]
