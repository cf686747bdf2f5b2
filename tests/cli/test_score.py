"""`georefer score --protocol`: the published numbers, the strict ones beside them, and what is said of wrong input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.data.small import small_dataset

from georefer.cli import main
from georefer.evaluation import read_scores
from georefer.inference.calibration import fit_calibration

HEADER = "ID\tPREDICTION\tGROUND_TRUTH\tCLASS\tNOISE\n"
RIGHT = "1\t[100, 200, 300, 400]\t[0.1, 0.2, 0.3, 0.4]\tPond\tFalse\n"
SHORT = "2\t[100, 200, 300, 400] [1, 2, 3]\t[0.1, 0.2, 0.3, 0.4]\tChurch\tTrue\n"


@pytest.fixture
def answers(tmp_path):
    folder = tmp_path / "finetune"
    folder.mkdir()
    (folder / "detection_0.csv").write_text(HEADER + RIGHT + SHORT)
    return folder


def test_the_published_scores_are_printed_and_written(answers, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["score", str(answers), "--protocol", "groundset", "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["mIoU", "P@0.5", "R0.5", "F1@0.5", "acc0.5"]
    assert lines[2].split() == ["finetune/detection", "default", "ALL", *["100.00"] * 5]
    numbers = json.loads(out.read_text())
    assert numbers["finetune/detection"]["default"]["water body"]["F1@0.5"] == 100
    assert set(numbers["finetune/detection"]["exclude_noise"]) == {"ALL", "water body"}
    assert numbers["georefer"]["protocol"] == "groundset" and numbers["georefer"]["versions"]["georefer"]


def test_strict_beside_published_says_which_rows_differ_and_why(answers, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    arguments = ["--protocol", "groundset", "--beside", "strict", "--rows", str(rows)]
    assert main(["score", str(answers), *arguments]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 rows differ, for these reasons:" in said and "1  dropped: a list that is no box" in said
    first, second = map(json.loads, rows.read_text().splitlines())
    assert first["published"] == first["strict"] == 1 and first["reasons"] == []
    assert (second["published"], second["strict"], second["reasons"]) == (1, pytest.approx(2 / 3), ["dropped"])


def test_a_protocol_says_what_it_reads_and_where_it_is_odd(answers, capsys):
    assert main(["score", str(answers), "--protocol", "groundset", "--quirks"]) == 0
    said = capsys.readouterr().out
    assert "own-best" in said and "model" in said and "84aeed1" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "groundset", "--set", "model=gpt"], "knows no model 'gpt', which decides the scale: finetune,"),
        (["--protocol", "groundset", "--set", "tree=nowhere.json"], "nowhere.json is no readable text file"),
        (["--protocol", "groundset", "--set", "colour=red"], "takes KEY=VALUE with a key of model, task, tree"),
        (["--protocol", "groundset", "--set", "task=vqa"], "holds no table of"),
        (["--json", "x.json"], "--json was given without --protocol"),
    ],
)
def test_bad_input_is_one_sentence(answers, arguments, message, capsys):
    assert main(["score", str(answers), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_an_answer_given_twice_is_refused_unless_told_otherwise(answers, capsys):
    (answers / "detection_1.csv").write_text(HEADER + RIGHT)
    assert main(["score", str(answers), "--protocol", "groundset"]) == 2
    assert "answers 1 questions more than once" in capsys.readouterr().err
    assert main(["score", str(answers), "--protocol", "groundset", "--partial"]) == 0


def test_kept_answers_are_judged_with_a_calibration_or_without(tmp_path, capsys):
    dataset, run = small_dataset(tmp_path / "data"), tmp_path / "run"
    asked = ["--set", "blind=false", "--set", "tasks=['rec']", "--miss", "0.5", "--noise-px", "4"]
    assert main(["evaluate", "fake", str(dataset.folder), str(run), *asked]) == 0
    kept = [json.loads(line) for line in (run / "answers.jsonl").read_text().splitlines()]
    told = "".join(json.dumps({**row, "scores": [0.3]}) + "\n" for row in kept)  # unsure of everything
    (run / "answers.jsonl").write_text(told)
    right_N = np.tile([1, 1, 1, 0], 50)
    found = fit_calibration(np.full(200, 0.3), right_N, "fake")
    found.save(tmp_path)
    eces = []
    for options in ([], ["--calibration", str(tmp_path / "calibration.json")], []):
        assert main(["score", str(run), *options]) == 0
        scores = read_scores(run)
        assert (
            scores.calibrated is bool(options) and f"({'' if options else 'not '}calibrated)" in capsys.readouterr().out
        )
        eces.append(scores.tasks["rec"].confidence)
    right = eces[0].right
    assert eces[0] == eces[2] and eces[0].ece == pytest.approx(abs(right - 0.3))
    assert eces[1].ece == pytest.approx(abs(right - 0.75), abs=0.02)  # three of four were right
    replace(found, model="other").save(tmp_path)
    assert main(["score", str(run), "--calibration", str(tmp_path)]) == 2
    assert "is the calibration of 'other'" in capsys.readouterr().err


def test_a_published_scorer_takes_no_calibration(answers, capsys):
    assert main(["score", str(answers), "--protocol", "groundset", "--calibration", "x.json"]) == 2
    assert "knows no confidences" in capsys.readouterr().err
