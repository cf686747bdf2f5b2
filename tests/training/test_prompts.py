"""What reinforcement asks, and what an answer to it earns."""

import pytest
from tests.data.small import small_questions, small_scene

from georefer.errors import DatasetError
from georefer.models.tiny import TinySettings, create_tiny
from georefer.scenes import DatasetWriter
from georefer.training.prompts import Earnings, PromptMaker
from georefer.training.rewards import load_reward
from georefer.training.rewards.base import answers_of

SMALL = TinySettings(
    image_size=64, numbers=64, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16, 16)
)


@pytest.mark.parametrize("labelled", [False, True])
def test_the_true_answer_earns_all_whether_labels_count_or_not(tmp_path, labelled):
    tasks = ("rec", "detection", "phrase")
    with DatasetWriter(tmp_path / "data") as writer:
        scenes = [small_scene(n, split="train") for n in range(3)]
        writer.write("train", scenes, [q for scene in scenes for q in small_questions(scene, tasks)])
        dataset = writer.finish("small")
    model = create_tiny(SMALL, ["where is the tank"])
    prompts, lost = PromptMaker(model, {}, 400, labelled=labelled).read([dataset])
    assert not lost and {asked.task for scene in prompts for asked in scene.asked} == set(tasks)
    earnings = Earnings({"f1": 1.0}, {}, prompts)
    for scene in prompts:
        for asked, turn in zip(scene.asked, scene.example.turns, strict=True):
            (earned,) = earnings.of(asked, [turn.answer])[0]
            assert earned > 0.8, (asked.task, turn.answer)  # boxes are rounded to 64 steps
            assert asked.truth.labelled == (labelled and asked.task == "phrase" and len(asked.truth.objects) > 0)
    if labelled:
        # the right shapes under wrong names earn nothing
        asked, answer = next(
            (asked, turn.answer)
            for scene in prompts
            for asked, turn in zip(scene.asked, scene.example.turns, strict=True)
            if asked.task == "phrase" and "tank" in turn.answer
        )
        truths = [asked.truth]
        wrong = answer.replace("building", "?").replace("tank", "building").replace("pool", "tank").replace("?", "pool")
        assert load_reward("f1").of(answers_of([wrong], truths), truths)[0] < 0.1


def test_a_task_that_is_asked_for_must_be_there(tmp_path):
    with DatasetWriter(tmp_path / "data") as writer:
        scene = small_scene(0, split="train")
        writer.write("train", [scene], small_questions(scene, ("rec", "detection")))
        dataset = writer.finish("small")
    model = create_tiny(SMALL, ["where is the tank"])
    assert PromptMaker(model, {"rec": 1.0, "phrase": 0.0}, 400).read([dataset])
    with pytest.raises(DatasetError, match=r"no question of the task phrase .*; there are detection, rec"):
        PromptMaker(model, {"phrase": 1.0}, 400).read([dataset])
