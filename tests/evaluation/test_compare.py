"""Comparing runs: paired over the same questions, refused over others, and said in words that are true."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, ask, score_answers
from georefer.evaluation.compare import HEADER, compare_runs, comparison_table
from georefer.evaluation.score import read_rows, read_scores
from georefer.runlog import JsonLines, write_json

SETTINGS = EvaluateSettings(batch=16)


@pytest.fixture(scope="module")
def runs(dataset, oracle, tmp_path_factory):
    """A run that errs often, and one that is right."""
    folder = tmp_path_factory.mktemp("runs")
    models = {"bad": replace(oracle, miss=0.6, seed=3, name="bad"), "good": replace(oracle, name="good")}
    for name, model in models.items():
        score_answers(ask(model, dataset, SETTINGS, folder / name), dataset)
    return folder


@pytest.fixture
def copied(runs, tmp_path):
    """The runs where they may be spoiled."""
    for name in ("bad", "good"):
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


def rewrite(folder, change):
    rows = JsonLines(folder / "rows.jsonl")
    members = change(rows.read())
    rows.path.unlink()
    rows.append(members)


def test_every_measure_of_both_runs_stands_beside_its_difference(runs):
    found = compare_runs(runs / "bad", runs / "good")
    scores = [read_scores(runs / name) for name in ("bad", "good")]
    assert set(found.tasks) == set(scores[0].tasks)
    for name, task in found.tasks.items():
        assert (task.answers, task.images) == (scores[0].tasks[name].answers, scores[0].tasks[name].images)
        for measure, pair in task.measures.items():
            values = [score.tasks[name].measures[measure].value for score in scores]
            assert [pair.first, pair.second] == pytest.approx(values, nan_ok=True)
            assert pair.difference.value == pytest.approx(values[1] - values[0], nan_ok=True)
            assert pair.wins + pair.losses + pair.ties == task.answers
    rec = found.tasks["rec"].measures["acc@0.5"]
    wrong = sum(row.scores["acc@0.5"] == 0 for row in read_rows(runs / "bad") if row.task == "rec")
    assert (rec.wins, rec.losses) == (wrong, 0) and wrong > 3


def test_the_other_way_round_is_the_same_with_the_other_sign(runs):
    one, other = compare_runs(runs / "bad", runs / "good"), compare_runs(runs / "good", runs / "bad")
    for name, task in one.tasks.items():
        for measure, pair in task.measures.items():
            mirrored = other.tasks[name].measures[measure]
            assert pair.difference.value == pytest.approx(-mirrored.difference.value, nan_ok=True)
            assert (pair.wins, pair.losses, pair.p) == (
                mirrored.losses, mirrored.wins, pytest.approx(mirrored.p, nan_ok=True)
            )  # fmt: skip


def test_a_run_beside_itself_shows_no_difference(runs):
    found = compare_runs(runs / "bad", runs / "bad")
    assert all(pair.p == 1 for task in found.tasks.values() for pair in task.measures.values())
    text = comparison_table(found)
    assert text.count("no difference shown") == len(found.tasks) and "is better in" not in text


def test_headlines_are_corrected_for_their_number_and_other_measures_are_not(runs):
    found = compare_runs(runs / "bad", runs / "good")
    headlines = {name: next(iter(task.measures.values())).p for name, task in found.tasks.items()}
    smallest = min(headlines, key=headlines.get)
    assert found.tasks[smallest].corrected_p == pytest.approx(min(1, headlines[smallest] * len(headlines)))
    assert all(found.tasks[name].corrected_p >= p for name, p in headlines.items())


def test_the_table_says_who_where_and_how_much(runs):
    found = compare_runs(runs / "bad", runs / "good")
    text = comparison_table(found)
    lines = text.splitlines()
    assert lines[0] == f"A: bad ({runs / 'bad'})" and lines[1] == f"B: good ({runs / 'good'})"
    assert all(word in lines[3] for word in HEADER)
    line = next(line for line in lines if "acc@0.5" in line)
    pair = found.tasks["rec"].measures["acc@0.5"]
    assert f"{100 * pair.first:.1f}" in line and f"{100 * pair.difference.value:+.1f} [" in line
    assert "hallucination (lower is better)" in text
    # five images cannot show much: of their exchanges the most extreme has p = 2 / 2 ** 5
    assert "rec: no difference shown in acc@0.5" in text


def test_where_a_difference_is_certain_the_better_run_is_named(copied):
    for name, value in (("bad", 0.0), ("good", 1.0)):
        rewrite(
            copied / name,
            lambda rows, value=value: [
                {**rows[0], "id": f"{n}/{m}", "scene_id": f"s{n}", "task": "presence", "scores": {}, "counts":
                 {"right": value, "asked": 1, "false_yes": 1 - value, "asked_no": 1, "readable": 1}}
                for n in range(20) for m in range(2)
            ],
        )  # fmt: skip
    text = comparison_table(compare_runs(copied / "bad", copied / "good"))
    assert "presence: B is better in accuracy (40 answers about 20 images, 20 of which differ)." in text
    assert "A is better in accuracy" in comparison_table(compare_runs(copied / "good", copied / "bad"))
    hallucination = next(line for line in text.splitlines() if "hallucination" in line).split()
    # fewer false alarms: the difference is negative, and B has won all of them
    assert hallucination[-3:] == ["40", "0", "0"] and "-100.0" in hallucination


def test_other_questions_are_refused_unless_the_common_ones_will_do(copied):
    rewrite(copied / "good", lambda rows: rows[3:])
    with pytest.raises(InputError, match=r"3 questions were answered by .*bad alone and 0 by .*--common"):
        compare_runs(copied / "bad", copied / "good")
    found = compare_runs(copied / "bad", copied / "good", common=True)
    assert (found.only_A, found.only_B) == (3, 0)
    assert sum(task.answers for task in found.tasks.values()) == len(read_rows(copied / "good"))
    assert "Left out: 3 answers of A and 0 of B" in comparison_table(found)


def test_another_dataset_is_refused_unless_the_common_ones_will_do(copied):
    run = json.loads((copied / "good" / "run.json").read_text())
    write_json(copied / "good" / "run.json", {**run, "fingerprint": "elsewhere"})
    with pytest.raises(InputError, match="where one is expected"):
        compare_runs(copied / "bad", copied / "good")
    assert "two datasets" in comparison_table(compare_runs(copied / "bad", copied / "good", common=True))


def test_nothing_in_common_is_refused_even_then(copied):
    rewrite(copied / "good", lambda rows: [{**row, "id": "x" + row["id"]} for row in rows])
    with pytest.raises(InputError, match="no question in common"):
        compare_runs(copied / "bad", copied / "good", common=True)


def test_what_else_differs_is_said(copied):
    run = json.loads((copied / "good" / "run.json").read_text())
    write_json(copied / "good" / "run.json", {**run, "prompts": "0123", "blind": True, "max_new_tokens": 9})
    text = comparison_table(compare_runs(copied / "bad", copied / "good"))
    assert "worded differently" in text and "blind: False and True." in text and "max_new_tokens: 256 and 9." in text


def test_with_a_dataset_answers_are_scored_anew(copied, dataset):
    for name in ("bad", "good"):
        (copied / name / "rows.jsonl").unlink()
    with pytest.raises(InputError, match=r"has no rows\.jsonl"):
        compare_runs(copied / "bad", copied / "good")
    found = compare_runs(copied / "bad", copied / "good", dataset=dataset)
    assert found.tasks["rec"].measures["acc@0.5"].second == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows, rows[0]], "1 questions more than once"),
        (lambda rows: [{**row, "task": "poetry"} for row in rows], "the tasks poetry, which this georefer"),
        (lambda rows: [{**row, "counts": {}} for row in rows], "hold other counts than"),
        (lambda rows: [{**row, "counts": dict.fromkeys(row["counts"], "x")} for row in rows], "hold other counts than"),
        (lambda rows: [{"id": row["id"]} for row in rows], "is damaged"),
        (lambda rows: [[1]], "is damaged"),
    ],
)
def test_damaged_rows_are_named(copied, change, said):
    rewrite(copied / "good", change)
    with pytest.raises(InputError, match=said):
        compare_runs(copied / "bad", copied / "good")


def test_lines_that_are_no_json_are_named(copied):
    (copied / "good" / "rows.jsonl").write_text("not json\n")
    with pytest.raises(InputError, match=r"rows\.jsonl is damaged"):
        compare_runs(copied / "bad", copied / "good")


def test_everything_can_be_kept_as_json(runs, tmp_path):
    found = compare_runs(runs / "bad", runs / "good")
    write_json(tmp_path / "c.json", found.as_dict())
    kept = json.loads((tmp_path / "c.json").read_text())
    pair = kept["tasks"]["rec"]["measures"]["acc@0.5"]
    assert set(pair) == {"first", "second", "difference", "p", "wins", "losses", "ties", "images", "exact"}
    assert pair["difference"]["value"] == pytest.approx(found.tasks["rec"].measures["acc@0.5"].difference.value)
    assert [run["model"] for run in kept["runs"]] == ["bad", "good"] and kept["tasks"]["rec"]["corrected_p"] <= 1
