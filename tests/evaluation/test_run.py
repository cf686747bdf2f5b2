"""Asking: every question once, kept as it came, continued where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from georefer.config import load_settings
from georefer.dialects import DIALECTS, Dialect
from georefer.errors import ConfigError, DatasetError, InputError
from georefer.evaluation import EvaluateSettings, ask, read_run, truth_from
from georefer.geometry import Frame
from georefer.models.base import Ask
from georefer.runlog import JsonLines

SETTINGS = EvaluateSettings(batch=4)


@dataclass
class Recorder:
    """A model that keeps what it was asked and, if told to, dies before one of its batches."""

    dies_before: int = -1
    name: str = "recorder"
    dialect: Dialect = field(default_factory=lambda: DIALECTS["georefer"])
    batches: list[list[Ask]] = field(default_factory=list)

    def frame_for(self, size):
        return Frame.resize(size, (np.int64(64), np.int64(64)), 64)  # as a model that reckons in numpy does

    def generate(self, asks, max_new_tokens=256):
        if len(self.batches) == self.dies_before:
            raise RuntimeError("out of memory")
        self.batches.append(list(asks))
        return [f"none \ud83d\n{ask.hint}" for ask in asks]


def rows_of(folder):
    return JsonLines(folder / "answers.jsonl").read()


def test_every_question_is_asked_once_and_kept_as_it_came(dataset, tmp_path):
    model = Recorder()
    assert ask(model, dataset, SETTINGS, tmp_path) == tmp_path
    rows = rows_of(tmp_path)
    questions = {question.id: question for question in dataset.questions("test")}
    assert len(rows) == len(questions) > 20
    assert {row["id"] for row in rows} == set(questions)
    for row in rows:
        assert row["scene_id"] == questions[row["id"]].scene_id
        assert row["text"] == f"none \\ud83d\n{row['id']}"  # half a surrogate pair cannot be stored as it is
        assert row["seconds"] >= 0 and 1 <= row["batch"] <= 4
    assert [len(batch) for batch in model.batches[:-1]] == [4] * (len(model.batches) - 1)


def test_an_image_is_decoded_once_for_all_its_questions(dataset, tmp_path):
    model = Recorder()
    ask(model, dataset, EvaluateSettings(batch=1000), tmp_path)
    (batch,) = model.batches
    assert len({id(item.image_HW3) for item in batch}) == len(list(dataset.scenes("test")))
    assert [row["task"] for row in rows_of(tmp_path)] == sorted(row["task"] for row in rows_of(tmp_path))


def test_a_blind_run_shows_grey_of_the_same_size_and_no_hint(dataset, tmp_path):
    model = Recorder()
    assert ask(model, dataset, SETTINGS, tmp_path, blind=True) == tmp_path / "blind"
    images = [item.image_HW3 for batch in model.batches for item in batch]
    assert all((image == 128).all() for image in images)
    assert {image.shape for image in images} == {(96, 96, 3), (120, 160, 3)}
    assert len({id(image) for image in images}) == 2
    assert {item.hint for batch in model.batches for item in batch} == {""}
    assert not (tmp_path / "answers.jsonl").exists()


def test_run_json_says_what_was_asked_of_whom(dataset, tmp_path):
    ask(Recorder(), dataset, SETTINGS, tmp_path)
    run = read_run(tmp_path)
    assert (run["model"], run["dialect"], run["split"], run["blind"]) == ("recorder", "georefer", "test", False)
    assert run["fingerprint"] == dataset.fingerprint
    assert run["questions"] == len(dataset.questions("test"))
    assert {key: Frame(**frame) for key, frame in run["frames"].items()} == {
        "96x96": Frame.resize((96, 96), (64, 64), 64),
        "160x120": Frame.resize((160, 120), (64, 64), 64),
    }
    assert run["settings"]["batch"] == 4
    assert "numpy" in run["versions"]


def test_run_json_is_there_before_the_first_answer(dataset, tmp_path):
    with pytest.raises(RuntimeError):
        ask(Recorder(dies_before=0), dataset, SETTINGS, tmp_path)
    assert read_run(tmp_path)["model"] == "recorder"
    assert rows_of(tmp_path) == []


def test_a_run_that_died_goes_on_with_what_is_missing(dataset, tmp_path):
    with pytest.raises(RuntimeError, match="out of memory"):
        ask(Recorder(dies_before=3), dataset, SETTINGS, tmp_path)
    before = rows_of(tmp_path)
    assert len(before) == 12
    # the process died while it wrote: half a line at the end
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"id": "scene-0/rec')
    second = Recorder()
    ask(second, dataset, replace(SETTINGS, batch=7), tmp_path)
    after = rows_of(tmp_path)
    assert after[:12] == before
    assert sorted(row["id"] for row in after) == sorted(question.id for question in dataset.questions("test"))
    assert sum(map(len, second.batches)) == len(after) - 12
    third = Recorder()
    ask(third, dataset, SETTINGS, tmp_path)
    assert third.batches == [] and rows_of(tmp_path) == after


@pytest.mark.parametrize(
    ("model", "settings", "named"),
    [
        (Recorder(name="other"), SETTINGS, 'model "recorder" and "other"'),
        (Recorder(dialect=DIALECTS["groundset"]), SETTINGS, "dialect"),
        (Recorder(), replace(SETTINGS, tasks=("rec",)), "tasks"),
        (Recorder(), replace(SETTINGS, limit=2), "limit"),
        (Recorder(), replace(SETTINGS, max_new_tokens=8), "max_new_tokens 256 and 8"),
    ],
)
def test_another_run_does_not_go_on_in_the_same_folder(dataset, tmp_path, model, settings, named):
    ask(Recorder(), dataset, SETTINGS, tmp_path)
    before = (tmp_path / "answers.jsonl").read_bytes()
    with pytest.raises(InputError, match=named):
        ask(model, dataset, settings, tmp_path)
    assert (tmp_path / "answers.jsonl").read_bytes() == before


def test_another_dataset_is_refused(dataset, tmp_path):
    ask(Recorder(), dataset, SETTINGS, tmp_path)
    changed = replace(dataset, manifest={**dataset.manifest, "seed": 2})
    with pytest.raises(InputError, match="fingerprint"):
        ask(Recorder(), changed, SETTINGS, tmp_path)


def test_answers_of_unknown_origin_are_refused(dataset, tmp_path):
    (tmp_path / "answers.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"no run\.json"):
        ask(Recorder(), dataset, SETTINGS, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', "not json"])
def test_a_damaged_run_json_is_named(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        read_run(tmp_path)


def test_tasks_and_limit_choose_whole_scenes(dataset, tmp_path):
    settings = replace(SETTINGS, tasks=("rec", "presence"), limit=2, seed=3)
    ask(Recorder(), dataset, settings, tmp_path / "one")
    ask(Recorder(), dataset, settings, tmp_path / "two")
    rows = rows_of(tmp_path / "one")
    chosen = {row["scene_id"] for row in rows}
    assert len(chosen) == 2
    expected = [q.id for q in dataset.questions("test") if q.scene_id in chosen and q.task != "detection"]
    assert sorted(row["id"] for row in rows) == sorted(expected)
    assert [row["id"] for row in rows_of(tmp_path / "two")] == [row["id"] for row in rows]


def test_an_unknown_task_is_named_with_those_there_are(dataset, tmp_path):
    with pytest.raises(InputError, match=r"captioning.*rec, rec-obb, res, detection,"):
        ask(Recorder(), dataset, replace(SETTINGS, tasks=("captioning",)), tmp_path)


def test_questions_about_a_scene_that_is_not_there_are_refused(dataset, tmp_path):
    class Lossy(type(dataset)):
        def scenes(self, split):
            return (scene for scene in super().scenes(split) if scene.id != "scene-1")

    with pytest.raises(DatasetError, match="scene-1"):
        ask(Recorder(), Lossy(dataset.folder, dataset.manifest), SETTINGS, tmp_path)


def test_settings_come_from_a_recipe_and_are_checked(tmp_path):
    (tmp_path / "evaluate.toml").write_text('dataset = "set"\ntasks = ["rec"]\nlimit = 3\n')
    settings = load_settings(EvaluateSettings, tmp_path / "evaluate.toml", ["blind=false"])
    assert settings == EvaluateSettings(tmp_path / "set", tasks=("rec",), limit=3, blind=False)
    with pytest.raises(ConfigError, match="batch is 0"):
        load_settings(EvaluateSettings, None, ["batch=0"])


def test_the_truth_is_looked_up_by_the_hint(dataset):
    look_up = truth_from(dataset, "test")
    image_HW3 = np.zeros((4, 4, 3), np.uint8)
    for question in dataset.questions("test"):
        known = look_up(Ask(image_HW3, "", question.id))
        said = known if isinstance(known, str) else tuple(known.ids_N)
        assert said == (question.answer_ids if question.answer_text is None else question.answer_text)
    assert look_up(Ask(image_HW3, "")) is None


def test_answers_are_plain_json_lines(dataset, tmp_path):
    ask(Recorder(), dataset, SETTINGS, tmp_path)
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert set(json.loads(lines[0])) == {"id", "scene_id", "task", "prompt", "text", "seconds", "batch"}
