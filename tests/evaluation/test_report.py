"""The report: one page that needs nothing else, and that no model can write into."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, ask, evaluate, score_answers, write_report
from georefer.evaluation.gallery import choose, choose_troubled
from georefer.evaluation.score import ScoredAnswer
from georefer.imagery.encode import decode_image
from georefer.runlog import JsonLines

SETTINGS = EvaluateSettings(batch=16)
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><!-- [1, 2"


class Page(HTMLParser):
    """Every element with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@dataclass(frozen=True)
class Speaker:
    """The oracle, but it says the same to every question."""

    oracle: object
    text: str
    name: str = "speaker"

    @property
    def dialect(self):
        return self.oracle.dialect

    def frame_for(self, size):
        return self.oracle.frame_for(size)

    def generate(self, asks, max_new_tokens=256):
        return [self.text] * len(asks)


@pytest.fixture(scope="module")
def reported(dataset, tmp_path_factory):
    from georefer.evaluation import truth_from
    from georefer.models.fake import FakeModel

    folder = tmp_path_factory.mktemp("reported")
    model = FakeModel(truth_from(dataset, "test"), noise_px=4, miss=0.2, malformed=0.1, name="a <b>fake</b>")
    evaluate(model, dataset, SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def page(reported):
    return Page((reported / "report.html").read_text())


def test_the_page_needs_nothing_from_outside(page, reported):
    links = [value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")]
    assert len(links) > 10
    assert all(link.startswith("data:image/jpeg;base64,") or link == "#what" for link in links)
    assert not page.of("link") and not page.of("iframe")
    assert "url(" not in (reported / "report.html").read_text()
    assert (reported / "report.html").stat().st_size < 3_000_000


def test_the_page_says_what_was_run_and_what_came_of_it(page, reported):
    scores = json.loads((reported / "scores.json").read_text())
    run = scores["run"]
    for said in (run["model"], run["fingerprint"], run["prompts"], run["dialect"], run["dataset"], "0–1000"):
        assert said in page.text
    assert f"hash {run['prompts']}" in page.text and "by no published protocol" in page.text
    assert all(f"{name} {version}" in page.text for name, version in run["versions"].items())
    assert "96 × 96 px shown at 96 × 96" in page.text
    for task in scores["tasks"].values():
        for measure, estimate in task["measures"].items():
            assert measure in page.text
            assert f"{100 * estimate['value']:.1f} [{100 * estimate['low']:.1f}" in page.text


def test_pictures_show_truth_and_prediction_and_have_words_for_those_who_do_not_see_them(page):
    images = page.of("img")
    assert len(images) > 10
    assert all(image["alt"].startswith("Scene scene-") for image in images)
    cyan, orange = 0, 0
    for image in images:
        picture = decode_image(base64.b64decode(image["src"].split(",")[1])).astype(int)
        assert min(picture.shape[:2]) >= 240  # enlarged, or nobody sees a thing
        cyan += bool((np.abs(picture - (64, 224, 255)).max(axis=2) < 40).any())
        orange += bool((np.abs(picture - (255, 150, 30)).max(axis=2) < 40).any())
    # a question whose right answer is no has nothing to draw
    assert cyan == sum(": 0 true" not in image["alt"] for image in images) > 10
    assert orange == sum("0 predicted" not in image["alt"] for image in images) > 5


def test_what_a_model_says_is_shown_but_never_run(dataset, oracle, tmp_path):
    evaluate(Speaker(oracle, ATTACK, name=ATTACK), dataset, SETTINGS, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)</script>" in page.text  # escaped, so a reader sees it as it was said
    assert len(page.of("script")) == 1
    assert all("onerror" not in attributes for _, attributes in page.elements)


def test_the_browser_is_told_to_run_this_script_and_no_other(reported):
    text = (reported / "report.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy
    assert f"'sha256-{digest}'" in policy


def test_all_tables_can_be_sorted_and_every_cell_says_by_what(reported):
    text = (reported / "report.html").read_text()
    tables = re.findall(r"<table[^>]*>.*?</table>", text, re.DOTALL)
    assert len(tables) >= 5 and all(table.startswith('<table class="sortable">') for table in tables)
    for table in tables:
        head, body = table.split("</thead>")
        numeric = ["number" in classes for classes in re.findall(r'<th scope="col"([^>]*)><button', head)]
        for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL):
            values = re.findall(r'<td[^>]*data-value="([^"]*)"', row)
            assert len(values) == len(numeric) == row.count("<td")
            assert all(float(value) >= -1 for value, is_number in zip(values, numeric, strict=True) if is_number)


def test_answers_can_be_filtered_by_task_and_problem(page, reported):
    rows = [json.loads(line) for line in (reported / "rows.jsonl").read_text().splitlines()]
    cases = [attributes for attributes in page.of("li") if "data-task" in attributes]
    assert len(cases) == len(page.of("img"))
    shown = {kind for case in cases for kind in json.loads(case["data-problems"])}
    # one of every kind of problem that any answer had is there to be looked at
    assert shown == {kind for row in rows for kind in row["problems"]} | {"unreadable"}
    offered = {option.get("value") for option in page.of("option")}
    assert {f"={kind}" for kind in shown} | {"", "any"} <= offered
    # without the script nothing hides, and no filter is seen that would do nothing
    (form,) = page.of("form")
    assert "hidden" in form and not any("hidden" in case for case in cases)


def test_a_model_that_does_not_look_is_called_out(dataset, oracle, tmp_path):
    evaluate(Speaker(oracle, "yes"), dataset, SETTINGS, tmp_path)
    assert "presence: no better than blind." in Page((tmp_path / "report.html").read_text()).text


def test_a_perfect_run_has_no_worst_answers(dataset, oracle, tmp_path):
    score_answers(ask(oracle, dataset, SETTINGS, tmp_path), dataset)
    page = Page(write_report(tmp_path, dataset).read_text())
    assert page.text.count("Every answer that counts here is fully right.") == 3
    assert "not run" in page.text  # in the column of the blind scores
    assert "no better than blind" not in page.text


def test_the_blind_run_of_another_model_is_refused(dataset, oracle, tmp_path):
    score_answers(ask(oracle, dataset, SETTINGS, tmp_path), dataset)
    score_answers(ask(Speaker(oracle, "yes"), dataset, SETTINGS, tmp_path, blind=True), dataset)
    with pytest.raises(InputError, match="blind run of something else"):
        write_report(tmp_path, dataset)


def test_a_run_that_was_not_scored_is_named(dataset, oracle, tmp_path):
    with pytest.raises(InputError, match=r"scores\.json"):
        write_report(ask(oracle, dataset, SETTINGS, tmp_path), dataset)


def answer(number, scene, score, second=0.0, problems=(), readable=True):
    scores = {"hit": score, "iou": second}
    return ScoredAnswer(f"{scene}/{number}", scene, "rec", {}, scores, readable, dict.fromkeys(problems, 1))


def test_cases_come_from_as_many_scenes_as_there_are():
    rows = [answer(n, "a", 0.0) for n in range(5)] + [answer(0, "b", 0.2), answer(0, "c", 0.9), answer(0, "d", 1.0)]
    worst = choose(rows, 4, worst=True)
    assert sorted(row.scene_id for row in worst) == ["a", "a", "b", "c"]
    scores = [row.scores["hit"] for row in worst]
    assert scores == sorted(scores)


def test_ties_are_broken_by_the_finer_measure_and_right_or_uncounted_answers_are_no_worst():
    rows = [answer(0, "a", 0.0, 0.4), answer(0, "b", 0.0, 0.1), answer(0, "c", None), answer(0, "d", 1.0, 0.8)]
    assert [row.scene_id for row in choose(rows, 8, worst=True)] == ["b", "a"]
    assert [row.scene_id for row in choose(rows, 8, worst=False)] == ["d"]


def test_every_kind_of_problem_comes_before_any_comes_twice():
    rows = [answer(n, "a", 1.0, problems=["swapped"]) for n in range(9)]
    rows += [answer(0, "b", 1.0, problems=["duplicate", "swapped"]), answer(0, "c", 0.0, readable=False)]
    rows += [answer(0, "d", 1.0)]
    first_three = choose_troubled(rows, 3)
    assert {row.scene_id for row in first_three} == {"a", "b", "c"}
    assert len(choose_troubled(rows, 20)) == 11 and len(choose_troubled(rows, 5)) == 5
    assert choose_troubled(rows[-1:], 5) == []


def test_problems_and_prompts_cannot_break_out_of_the_page(reported, dataset, tmp_path):
    shutil.copytree(reported, tmp_path / "run")
    folder = tmp_path / "run"
    for name, key, value in (("rows.jsonl", "problems", {ATTACK: 1}), ("answers.jsonl", "prompt", ATTACK * 500)):
        rows = JsonLines(folder / name)
        members = [{**row, key: value} for row in rows.read()]
        rows.path.unlink()
        rows.append(members)
    text = write_report(folder, dataset).read_text()
    page = Page(text)
    assert "<script>alert" not in text and len(page.of("script")) == 1
    assert all("onerror" not in attributes for _, attributes in page.elements)
    cases = [attributes for attributes in page.of("li") if "data-task" in attributes]
    assert cases and all(ATTACK in json.loads(case["data-problems"]) for case in cases)
    assert len(text) < 3_000_000
