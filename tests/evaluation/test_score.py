"""Scoring kept answers again: without a model, and only of the answers that were asked for."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, ask, evaluate, read_scores, score_answers, summary_table
from georefer.evaluation.score import POORER, _score_one, read_rows
from georefer.geometry import Frame
from georefer.runlog import JsonLines
from georefer.scenes import Question

SETTINGS = EvaluateSettings(batch=16)


@pytest.fixture
def answered(dataset, oracle, tmp_path):
    return ask(oracle, dataset, SETTINGS, tmp_path)


def rewrite(folder, change):
    """Replaces the answers by what `change` makes of their list."""
    answers = JsonLines(folder / "answers.jsonl")
    rows = change(answers.read())
    answers.path.unlink()
    answers.append(rows)


def headlines(scores):
    return {name: next(iter(task.measures.values())).value for name, task in scores.tasks.items()}


def test_the_truth_scores_1_in_every_task(answered, dataset):
    scores = score_answers(answered, dataset)
    assert headlines(scores) == {"rec": 1.0, "detection": 1.0, "presence": 1.0}
    assert all(task.unreadable == 0 and task.problems == {} for task in scores.tasks.values())
    assert sum(task.answers for task in scores.tasks.values()) == len(dataset.questions("test"))
    assert all(task.images == 5 for task in scores.tasks.values())
    assert scores.completeness.is_whole


def test_scores_are_the_same_however_often_and_in_whatever_order(answered, dataset):
    first = score_answers(answered, dataset)
    rewrite(answered, lambda rows: rows[::-1])
    second = score_answers(answered, dataset)
    assert second.tasks == first.tasks and second.groups == first.groups


def test_one_wrong_answer_costs_what_it_should(answered, dataset):
    before = score_answers(answered, dataset)
    is_rec = [row["task"] == "rec" for row in JsonLines(answered / "answers.jsonl").read()]
    wrong = is_rec.index(True)
    rewrite(
        answered, lambda rows: [{**row, "text": "[0, 0, 3, 3]"} if i == wrong else row for i, row in enumerate(rows)]
    )
    after = score_answers(answered, dataset)
    assert after.tasks["rec"].measures["acc@0.5"].value == pytest.approx(1 - 1 / sum(is_rec))
    assert after.tasks["detection"] == before.tasks["detection"]


def test_unreadable_answers_are_counted_and_wrong(answered, dataset):
    rewrite(answered, lambda rows: [{**row, "text": "[12, 30, I am not sure"} for row in rows])
    scores = score_answers(answered, dataset)
    assert headlines(scores) == {"rec": 0.0, "detection": 0.0, "presence": 0.0}
    for name, task in scores.tasks.items():
        assert task.unreadable == task.answers
        # a word is no shape, so presence has no problem with brackets
        assert task.problems == ({} if name == "presence" else {"truncated": task.answers})


def test_boxes_for_outlines_are_a_problem(dataset):
    scene = next(iter(dataset.scenes("test")))
    (some, *_) = scene.objects.ids_N
    frame = Frame.resize(scene.size, scene.size)
    said = DIALECTS["georefer"].read("[1, 1, 9, 9] [2, 2, 9, 9] [3, 3, 9, 9 @ 20]", frame)
    problems = {
        name: _score_one(said, Question("q", scene.id, name, {}, (some,)), scene, None).problems
        for name in ("rec", "rec-obb", "res")
    }
    assert problems == {"rec": {}, "rec-obb": {POORER: 2}, "res": {POORER: 3}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[2:], "2 missing, 0 to questions never asked, 0 repeated"),
        (lambda rows: [*rows, {**rows[0], "id": "elsewhere/rec/0"}], "0 missing, 1 to questions never asked"),
        (lambda rows: [*rows, rows[3], rows[3]], "2 repeated"),
        (lambda rows: [], "holds answers to 0 of"),
    ],
)
def test_answers_that_are_not_those_of_the_questions_are_refused(answered, dataset, change, said):
    rewrite(answered, change)
    with pytest.raises(InputError, match=said):
        score_answers(answered, dataset)
    assert not (answered / "scores.json").exists()


def test_partial_scores_what_is_there_and_says_so(answered, dataset):
    def spoil(rows):
        return [*rows[4:], {**rows[5], "text": "nonsense"}, {**rows[5], "id": "elsewhere"}]

    rewrite(answered, spoil)
    scores = score_answers(answered, dataset, partial=True)
    whole = scores.completeness
    assert (whole.missing, whole.unknown, whole.repeated) == (4, 1, 1)
    assert sum(task.answers for task in scores.tasks.values()) == whole.asked - 4
    # of an answer given twice the first counts
    assert set(headlines(scores).values()) == {1.0}
    assert "4 of" in summary_table(scores) and "missing" in summary_table(scores)


@pytest.mark.parametrize(
    "line", ["not json\n", '{"id": "a"}\n', "[1]\n", '{"id": "a", "text": "", "seconds": 1, "batch": 0}\n']
)
def test_damaged_answers_are_named(answered, dataset, line):
    with (answered / "answers.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(InputError, match=r"answers\.jsonl is damaged"):
        score_answers(answered, dataset)


def test_another_dataset_is_refused(answered, dataset):
    changed = replace(dataset, manifest={**dataset.manifest, "seed": 2})
    with pytest.raises(InputError, match="score with the dataset that was asked about"):
        score_answers(answered, changed)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("dialect", "klingon", "klingon"),
        ("frames", {}, "the run only saw"),
    ],
)
def test_a_run_that_cannot_be_read_is_named(answered, dataset, key, value, said):
    run = json.loads((answered / "run.json").read_text())
    (answered / "run.json").write_text(json.dumps({**run, key: value}))
    with pytest.raises(InputError, match=said):
        score_answers(answered, dataset)


def test_what_is_written_reads_back(answered, dataset):
    scores = score_answers(answered, dataset)
    assert read_scores(answered).tasks == scores.tasks
    assert len(read_scores(answered).groups) == len(scores.groups)
    rows = read_rows(answered)
    assert {row.id for row in rows} == {question.id for question in dataset.questions("test")}
    assert sum(row.counts["hit"] for row in rows if row.task == "rec") == scores.tasks["rec"].answers
    # a right "none" adds nothing to an F1, and says so rather than scoring 0
    absent = [row for row in rows if row.counts.get("absent_asked")]
    assert absent and all(row.scores["f1"] is None and row.scores["absent"] == 1 for row in absent)


def test_nothing_or_nonsense_to_read_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"has no scores\.json"):
        read_scores(tmp_path)
    for content in ("", "[]", "{}", '{"tasks": []}'):
        (tmp_path / "scores.json").write_text(content)
        with pytest.raises(InputError, match="is damaged"):
            read_scores(tmp_path)


def test_breakdowns_add_up(dataset, oracle, tmp_path):
    folder = ask(replace(oracle, miss=0.5, seed=4), dataset, SETTINGS, tmp_path)
    scores = score_answers(folder, dataset)
    by = {group.value: group for group in scores.groups if group.task == "rec"}
    assert set(by) == {"attribute", "position"}
    rec = scores.tasks["rec"]
    hits = sum(group.estimate.value * group.answers for group in by.values())
    assert sum(group.answers for group in by.values()) == rec.answers
    assert hits / rec.answers == pytest.approx(rec.measures["acc@0.5"].value)
    assert 0 < rec.measures["acc@0.5"].value < 1
    classes = [group for group in scores.groups if group.task == "detection"]
    assert [group.value for group in classes] == sorted(
        {q.params["label"] for q in dataset.questions("test") if q.task == "detection"}
    )
    # no scene holds a tree and none was invented: there is nothing to take an F1 of
    assert math.isnan(next(group for group in classes if group.value == "tree").estimate.value)


def test_evaluate_asks_scores_and_shows_beside_the_blind_run(dataset, oracle, tmp_path):
    scores = evaluate(oracle, dataset, SETTINGS, tmp_path)
    blind = read_scores(tmp_path / "blind")
    assert set(headlines(scores).values()) == {1.0}
    assert set(headlines(blind).values()) == {0.0}
    assert (tmp_path / "report.html").exists()
    table = summary_table(scores, blind)
    line = next(line for line in table.splitlines() if "acc@0.5" in line)
    assert "100.0 [100.0, 100.0]" in line and "0.0 [0.0, 0.0]" in line
    assert "no better than blind" not in table


def test_a_model_that_does_not_look_is_seen(dataset, tmp_path):
    class Guesser:
        name = "guesser"

        def __init__(self, oracle):
            self.dialect, self.frame_for = oracle.dialect, oracle.frame_for

        def generate(self, asks, max_new_tokens=256):
            return ["yes" if ask.prompt.startswith("Is there") else "[100, 100, 400, 400]" for ask in asks]

    from georefer.evaluation import truth_from
    from georefer.models.fake import FakeModel

    scores = evaluate(Guesser(FakeModel(truth_from(dataset, "test"))), dataset, SETTINGS, tmp_path)
    assert scores.tasks["presence"].measures["accuracy"].value == 0.5
    assert "presence: no better than blind" in summary_table(scores, read_scores(tmp_path / "blind"))


def test_without_a_blind_run_none_is_made(dataset, oracle, tmp_path):
    scores = evaluate(oracle, dataset, replace(SETTINGS, blind=False), tmp_path)
    assert not (tmp_path / "blind").exists()
    assert "100.0 [100.0, 100.0]" in summary_table(scores)


def test_the_time_of_a_batch_is_counted_once(answered, dataset):
    rewrite(answered, lambda rows: [{**row, "seconds": 2.0, "batch": 4} for row in rows])
    assert score_answers(answered, dataset).seconds == pytest.approx(len(dataset.questions("test")) / 4 * 2.0)
