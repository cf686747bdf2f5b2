"""Datasets with thoughts and without, and thoughts that a model drew and that led it to the truth."""

import numpy as np
import pytest
from tests.data.small import small_questions, small_scene
from tests.data.taught import teach

from georefer.dialects import DIALECTS
from georefer.errors import DatasetError, InputError
from georefer.models.base import Ask
from georefer.models.tiny import TinySettings, create_tiny, with_words
from georefer.scenes import DatasetWriter, open_dataset
from georefer.tasks import TASKS
from georefer.training.grpo_settings import DrawSettings
from georefer.training.thoughts import (
    FilterSettings,
    asking_for_thoughts,
    filtered_thoughts,
    rewritten,
    without_thoughts,
)

SMALL = TinySettings(
    image_size=64, numbers=64, width=192, heads=4, text_layers=2, text_mlp=192, stem_widths=(8, 8, 16, 16)
)
THINKING = DIALECTS["georefer-think"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    with DatasetWriter(tmp_path_factory.mktemp("thoughts") / "data") as writer:
        for split, numbers in (("train", (0, 1)), ("test", (2,))):
            scenes = [small_scene(n, split=split) for n in numbers]
            writer.write(split, scenes, [q for scene in scenes for q in small_questions(scene, ("rec",))])
        return writer.finish("small")


def model_of(dataset, dialect="georefer-think"):
    questions = [form(q) for q in dataset.questions("train") for form in (without_thoughts, asking_for_thoughts)]
    frame = THINKING.frame_for((64, 64))
    texts = [TASKS["rec"].prompt(q, THINKING, frame) for q in questions]
    plain = create_tiny(SMALL, ["where is the tank"])
    return with_words(plain, [*texts, "<think>by the pool</think><answer>[1, 2, 3, 4]</answer>"], dialect)


def test_only_the_questions_change(dataset, tmp_path):
    asked = rewritten(dataset, tmp_path / "asked", asking_for_thoughts)
    bare = rewritten(asked, tmp_path / "bare", without_thoughts)
    before, after = ([*d.questions("test")] for d in (dataset, bare))
    assert [(q.id, dict(q.params)) for q in before] == [(q.id, dict(q.params)) for q in after]
    assert all(q.params["thought"] for q in asked.questions("test"))
    images = [[s.image for s in d.scenes("test")] for d in (dataset, bare)]
    assert images[0] == images[1]


def test_scenes_without_a_question_go_and_nothing_left_is_said(dataset, tmp_path):
    first = next(iter(dataset.questions("train")))
    one = rewritten(dataset, tmp_path / "one", lambda q: q if q.scene_id in (first.scene_id, "scene-2") else None)
    assert {s.id for s in one.scenes("train")} == {first.scene_id}
    with pytest.raises(DatasetError, match="no question of the split"):
        rewritten(dataset, tmp_path / "none", lambda q: None)
    assert not (tmp_path / "none").exists()


def test_a_thought_is_kept_where_it_led_to_the_truth(dataset, tmp_path):
    model = model_of(dataset)
    scene = next(iter(dataset.scenes("train")))
    right, wrong, *_ = (asking_for_thoughts(q) for q in dataset.questions("train") if q.scene_id == scene.id)
    frame, task = model.frame_for(scene.size), TASKS["rec"]
    truth = task.answer(without_thoughts(right), scene, THINKING, frame)
    said = f"<think>by the pool</think>{truth}"
    # it has learned one answer, and gives it whatever is asked
    teach(model, [(Ask(np.asarray(scene.pixels()), task.prompt(right, THINKING, frame)), said)])
    wanted = (right.id, wrong.id)
    two = rewritten(dataset, tmp_path / "two", lambda q: q if q.id in wanted or q.scene_id == "scene-2" else None)
    settings = FilterSettings(reward="iou", least=0.5, draw=DrawSettings(answers=4, max_new_tokens=40))
    kept, *others = filtered_thoughts(model, two, tmp_path / "kept", settings).questions("train")
    assert not others and kept.id == right.id and kept.params["thought"] == "by the pool"
    # what is learned then is the thought with the true answer
    assert task.answer(kept, scene, THINKING, frame) == said
    assert [q.id for q in open_dataset(tmp_path / "kept").questions("train")] == [right.id]


def test_no_room_and_no_thought_are_said(dataset, tmp_path):
    with pytest.raises(InputError, match="no room for a thought"):
        filtered_thoughts(model_of(dataset, "georefer"), dataset, tmp_path / "out")
    settings = FilterSettings(reward="iou", draw=DrawSettings(answers=2, max_new_tokens=16))
    with pytest.raises(DatasetError, match="no question"):
        filtered_thoughts(model_of(dataset), dataset, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
