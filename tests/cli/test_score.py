"""`georefer score --protocol`: the published numbers on the console, and what is said of wrong input."""

import pytest

from georefer.cli import main

ROWS = "ID\tPREDICTION\tGROUND_TRUTH\tCLASS\tNOISE\n1\t[100, 200, 300, 400]\t[0.1, 0.2, 0.3, 0.4]\tPond\tFalse\n"


@pytest.fixture
def answers(tmp_path):
    folder = tmp_path / "finetune"
    folder.mkdir()
    (folder / "detection_0.csv").write_text(ROWS)
    return folder


def test_the_published_scores_are_printed(answers, tmp_path, capsys):
    tree = tmp_path / "tree.json"
    tree.write_text('{"elements": {"Nature": {"Water body": ["Pond"]}}}')
    assert main(["score", str(answers), "--protocol", "groundset", "--task", "detection", "--tree", str(tree)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["group", "mIoU", "P@0.5", "R0.5", "F1@0.5", "acc0.5"]
    assert lines[1].split() == ["ALL", *["100.00"] * 5] and lines[2].split()[:2] == ["water", "body"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--protocol groundset needs --task: detection, phrase, rec, segment, vqa"),
        (["--task", "vqa"], "holds no vqa_<number>.csv"),
        (["--task", "detection", "--model", "gpt"], "knows no model 'gpt', which decides the scale: finetune,"),
        (["--task", "detection", "--tree", "nowhere.json"], "nowhere.json is no readable JSON"),
    ],
)
def test_bad_input_is_one_sentence(answers, arguments, message, capsys):
    assert main(["score", str(answers), "--protocol", "groundset", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
