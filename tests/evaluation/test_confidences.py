"""Confidences judged object by object: what is right, how well they rank, how well they say probabilities."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.data.small import small_questions, small_scene
from tests.data.telling import TellingModel

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, ask, evaluate, read_scores, score_answers, summary_table, truth_from
from georefer.evaluation.confidences import confidence_scores, fit, judge
from georefer.evaluation.score import calibrate, read_rows
from georefer.geometry import Frame, Objects
from georefer.inference.calibration import load_calibration
from georefer.inference.said import scored
from georefer.runlog import JsonLines
from georefer.scenes import Question
from georefer.tasks import TASKS, truth

SETTINGS = EvaluateSettings(batch=16, blind=False)
DIALECT = DIALECTS["georefer"]


def question_of(task, scene):
    """The first question with an answer; of scenes of boxes nobody asks for an outline's box, so that one is made."""
    if task == "outline-to-hbb":
        return Question("q", scene.id, task, {}, tuple(scene.objects.ids_N[:1]))
    return next(question for question in small_questions(scene, (task,)) if question.answer_ids)


def judged(task, scores, beside=(), number=1):
    """The right answer to a question and boxes `beside` it, with these confidences."""
    scene = small_scene(number)
    question = question_of(task, scene)
    frame = Frame.resize(scene.size, scene.size, 1000)
    gold = truth(question, scene)
    form = TASKS[task].form
    said = Objects.concat([gold.to_hbb(), Objects.from_hbb(np.array(beside).reshape(-1, 4), [""] * len(beside))])
    text = DIALECT.write(form.of(said, DIALECT), frame, labelled=False)
    return judge(scored(DIALECT.read(text, frame), scores), question, scene), len(gold)


@pytest.mark.parametrize("task", ["rec", "rec-obb", "res", "detection", "segment", "grec", "outline-to-hbb"])
def test_an_object_is_right_where_the_task_says_so(task):
    count = len(question_of(task, small_scene(2)).answer_ids)
    found, _ = judged(task, [0.9] * count + [0.4], beside=[[0, 0, 5, 4]], number=2)
    assert count == (2 if task == "grec" else 1)
    assert found.right_P.tolist() == [True] * count + [False]
    assert found.confidence_P.tolist() == [0.9] * count + [0.4]
    # average precision is for answers that list all of a class
    assert (found.ranked is not None) == (task in ("detection", "segment"))


@pytest.mark.parametrize("task", ["presence", "phrase", "caption", "image-graph"])
def test_other_answers_are_not_judged(task):
    scene = small_scene(1)
    reading = DIALECT.read("[1, 1, 5, 5]", Frame.resize(scene.size, scene.size, 1000))
    questions = small_questions(scene, (task,))
    assert questions == [] or judge(reading, questions[0], scene) is None


def test_the_scores_of_a_task_are_those_reckoned_by_hand():
    # a right one of 0.8 above a wrong one of 0.6, and a wrong one of 0.7 above a right one of 0.2; one truth each
    first, count_1 = judged("detection", [0.8, 0.6], beside=[[0, 0, 5, 4]], number=0)
    second, count_2 = judged("detection", [0.2, 0.7], beside=[[0, 0, 5, 4]], number=3)
    assert (count_1, count_2) == (1, 1)
    alike = replace(second, label=first.label)
    scores = confidence_scores([first, alike])["detection"]
    assert (scores.objects, scores.without, scores.right) == (4, 0, 0.5)
    assert scores.brier == pytest.approx((0.2**2 + 0.6**2 + 0.7**2 + 0.8**2) / 4)
    assert scores.ece == pytest.approx((0.2 + 0.6 + 0.7 + 0.8) / 4)
    # precision 1 up to recall 1/2; the second is found at rank 4: 2/4
    assert scores.ap.value == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    # of two classes the mean: 1 in the first; 1/2 in the second
    apart = confidence_scores([first, replace(second, label="another")])["detection"]
    assert apart.ap.value == pytest.approx((1 + 0.5) / 2)


def test_objects_without_a_confidence_are_counted_apart():
    found, _ = judged("rec", [0.9, None], beside=[[0, 0, 5, 4]])
    scores = confidence_scores([found])["rec"]
    assert (scores.objects, scores.without, scores.right, scores.ap) == (1, 1, 1.0, None)
    none, _ = judged("rec", [None])
    assert confidence_scores([none]) == {}


def test_a_calibration_is_fitted_to_objects_with_a_confidence_only():
    found = fit("m", [0.2, 0.4, None] * 40, [False, True, True] * 40)
    assert (found.model, found.count) == ("m", 80)
    with pytest.raises(InputError, match="'m' hold no confidences"):
        fit("m", [None, None], [True, False])


# --- whole runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def telling(dataset):
    return TellingModel(truth_from(dataset, "test"), noise_px=7, miss=0.1)


def test_a_run_keeps_confidences_and_scores_them(dataset, telling, tmp_path):
    scores = evaluate(telling, dataset, SETTINGS, tmp_path)
    rows = JsonLines(tmp_path / "answers.jsonl").read()
    assert all("scores" in row for row in rows) and all(
        row["scores"] == [] for row in rows if row["task"] == "presence"
    )
    sure = {name: task.confidence for name, task in scores.tasks.items()}
    assert sure["presence"] is None and sure["rec"].ap is None
    assert sure["detection"].objects == sum(len(row["scores"]) for row in rows if row["task"] == "detection") > 5
    assert 0 < sure["detection"].ap.value < 1 and 0 < sure["rec"].ece < 1
    assert repr(read_scores(tmp_path).tasks) == repr(scores.tasks)  # nan is not itself
    assert "AP@0.5" in summary_table(scores) and "not calibrated" in summary_table(scores)
    page = (tmp_path / "report.html").read_text()
    assert "Brier score" in page and f"{100 * sure['rec'].ece:.1f}" in page
    told = {row.id: row for row in read_rows(tmp_path)}
    for row in rows:
        if row["task"] != "presence":
            assert list(told[row["id"]].confidences) == row["scores"] and len(told[row["id"]].right) == len(
                row["scores"]
            )


def test_a_calibration_learned_on_a_run_mends_its_confidences(dataset, telling, tmp_path):
    before = evaluate(telling, dataset, SETTINGS, tmp_path)
    found = calibrate(tmp_path)
    assert load_calibration(tmp_path, "telling") == found
    after = score_answers(tmp_path, dataset, calibration=tmp_path / "calibration.json")
    assert after.calibrated and read_scores(tmp_path).calibrated
    for task in ("rec", "detection"):
        one, other = before.tasks[task].confidence, after.tasks[task].confidence
        assert other.brier < one.brier and other.objects == one.objects and other.ap == one.ap
        assert repr(after.tasks[task].measures) == repr(before.tasks[task].measures)
    assert found.after["ece"] < found.before["ece"]
    other = replace(telling, name="other")
    with pytest.raises(InputError, match="calibration of 'telling', and 'other' was expected"):
        evaluate(other, dataset, replace(SETTINGS, calibration=tmp_path / "calibration.json"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_runs_without_confidences_are_scored_as_before(dataset, oracle, tmp_path):
    scores = evaluate(oracle, dataset, SETTINGS, tmp_path)
    assert all(task.confidence is None for task in scores.tasks.values())
    assert not any("scores" in row for row in JsonLines(tmp_path / "answers.jsonl").read())
    assert "Brier" not in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="hold no confidences"):
        calibrate(tmp_path)
    # as they were written before there were any
    plain = json.loads((tmp_path / "scores.json").read_text())
    del plain["calibrated"], plain["run"]["grammar"]
    for task in plain["tasks"].values():
        del task["confidence"]
    (tmp_path / "scores.json").write_text(json.dumps(plain))
    assert repr(read_scores(tmp_path).tasks) == repr(scores.tasks)
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    older = [{k: v for k, v in line.items() if k not in ("confidences", "right")} for line in lines]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    assert [row.scores for row in read_rows(tmp_path)] == [line["scores"] for line in lines]


def test_held_and_free_answers_never_share_a_folder(dataset, telling, tmp_path):
    model = replace(telling, grammars=[])
    ask(model, dataset, replace(SETTINGS, grammar=True), tmp_path)
    questions = dataset.questions("test")
    assert model.grammars.count(None) == sum(question.task == "presence" for question in questions)
    assert model.grammars.count(DIALECT.grammar()) == sum(question.task != "presence" for question in questions)
    with pytest.raises(InputError, match="grammar true and false"):
        ask(model, dataset, SETTINGS, tmp_path)
    score_answers(tmp_path, dataset)
    assert "held to the dialect's grammar" in summary_table(read_scores(tmp_path))


def test_a_run_from_before_there_were_grammars_goes_on_as_a_free_one(dataset, oracle, tmp_path):
    ask(oracle, dataset, SETTINGS, tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    del run["grammar"]
    (tmp_path / "run.json").write_text(json.dumps(run))
    ask(oracle, dataset, SETTINGS, tmp_path)
    with pytest.raises(InputError, match="grammar false and true"):
        ask(oracle, dataset, replace(SETTINGS, grammar=True), tmp_path)


@pytest.mark.parametrize("scores", [["high"], 3, [2.0], {"a": 1}])
def test_damaged_confidences_are_named(dataset, oracle, tmp_path, scores):
    ask(oracle, dataset, SETTINGS, tmp_path)
    answers = JsonLines(tmp_path / "answers.jsonl")
    rows = answers.read()
    answers.path.unlink()
    answers.append([{**rows[0], "scores": scores}, *rows[1:]])
    with pytest.raises(InputError, match=r"answers\.jsonl is damaged"):
        score_answers(tmp_path, dataset)
