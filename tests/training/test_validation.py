"""Validation: each task's own score, on the same questions every time, as the evaluation would give it."""

import math
from dataclasses import dataclass, field, replace

import pytest
from tests.data.small import small_dataset, small_questions, small_scene

from georefer.dialects import DIALECTS, Dialect
from georefer.errors import DatasetError
from georefer.evaluation import EvaluateSettings, ask, score_answers, truth_from
from georefer.geometry import Frame
from georefer.models.base import Ask
from georefer.models.fake import FakeModel
from georefer.scenes import DatasetWriter
from georefer.tasks import TASKS
from georefer.training.validation import TaskScore, Validation, overall, set_aside

ASKED = ("rec", "detection", "presence", "segment", "hbb-to-obb", "rec-obb")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("validation") / "dataset", scenes=12, tasks=ASKED)


@dataclass
class Recorder:
    """A model that says nothing worth reading, and keeps what it was asked."""

    dialect: Dialect = field(default_factory=lambda: DIALECTS["georefer"])
    name: str = "recorder"
    batches: list[list[Ask]] = field(default_factory=list)

    def frame_for(self, size):
        return Frame.resize(size, size)

    def generate(self, asks, max_new_tokens=256):
        self.batches.append(list(asks))
        return ["hm [" for _ in asks]


def ids(validation):
    return [question.id for _, questions in validation.asked for question in questions]


def test_whoever_is_always_right_has_one(dataset):
    validation = Validation.drawn([dataset], 20, split="test")
    scores = validation.scores(FakeModel(truth_from(dataset, "test")))
    # boxes are no shapes of another form, so that none was asked about
    assert list(scores) == [name for name in TASKS if name in {"rec", "detection", "presence", "segment", "rec-obb"}]
    assert {name: score.value for name, score in scores.items()} == dict.fromkeys(scores, 1.0)
    assert {name: score.answers for name, score in scores.items()} == dict.fromkeys(scores, 20)
    assert all(score.unreadable == 0 for score in scores.values())
    assert {score.measure for score in scores.values()} == {"acc@0.5", "f1", "accuracy"}
    assert overall(scores) == 1


def test_whoever_cannot_be_read_has_nothing(dataset):
    validation = Validation.drawn([dataset], 5, split="test")
    scores = validation.scores(Recorder())
    assert overall(scores) == 0
    assert all(score.unreadable == score.answers == 5 for score in scores.values())


def test_scores_are_those_of_the_evaluation(dataset, tmp_path):
    model = FakeModel(truth_from(dataset, "test"), noise_px=6, miss=0.2, malformed=0.1, seed=3)
    scores = Validation.drawn([dataset], 10_000, split="test").scores(model)
    asked = replace(EvaluateSettings(), blind=False)
    evaluated = score_answers(ask(model, dataset, asked, tmp_path), dataset).tasks
    assert set(scores) == set(evaluated)
    for name, score in scores.items():
        expected = evaluated[name]
        assert score.value == pytest.approx(next(iter(expected.measures.values())).value, abs=1e-12)
        assert (score.answers, score.unreadable) == (expected.answers, expected.unreadable)
    assert 0.1 < overall(scores) < 0.9


def test_the_same_questions_are_asked_every_time(dataset):
    first = Validation.drawn([dataset], 4, 7, split="test")
    assert ids(first) == ids(Validation.drawn([dataset], 4, 7, split="test"))
    assert ids(first) != ids(Validation.drawn([dataset], 4, 8, split="test"))
    assert first.questions == len(set(ids(first))) == 4 * 5
    # whole scenes first, so that few images are encoded
    assert len(first.asked) <= 4
    assert set(ids(Validation.drawn([dataset], 3, 7, split="test"))) < set(ids(first))


def test_questions_of_a_scene_share_its_image(dataset):
    model = Recorder()
    validation = Validation.drawn([dataset], 1000, split="test")
    validation.scores(model)
    assert len(model.batches) > 1
    asks = [ask for batch in model.batches for ask in batch]
    assert [ask.hint for ask in asks] == ids(validation)
    scene_of = {q.id: scene.id for scene, questions in validation.asked for q in questions}
    for batch in model.batches:
        images = {scene_of[ask.hint]: id(ask.image_HW3) for ask in batch}
        assert len({id(ask.image_HW3) for ask in batch}) == len(images)
    # no scene is cut in two
    assert sum(len({scene_of[ask.hint] for ask in batch}) for batch in model.batches) == len(validation.asked) == 12


def test_tasks_without_words_in_the_dialect_are_left_out(dataset):
    validation = Validation.drawn([dataset], 3, split="test")
    assert set(validation.scores(Recorder(DIALECTS["shikra"]))) == {"rec", "detection", "presence"}
    assert set(validation.scores(Recorder(DIALECTS["text4seg"]))) == {"presence", "segment"}


def test_several_datasets_and_tasks_and_scenes(dataset, tmp_path):
    other = small_dataset(tmp_path / "other", scenes=3, tasks=("rec", "caption"))
    both = Validation.drawn([dataset, other], 1000, split="test", tasks=["rec", "caption"])
    assert {question.task for _, questions in both.asked for question in questions} == {"rec", "caption"}
    # both have a scene-0
    assert [scene.id for scene, _ in both.asked].count("scene-0") == 2
    some = Validation.drawn([dataset], 1000, split="test", scene_ids={"scene-3", "scene-5"})
    assert [scene.id for scene, _ in some.asked] == ["scene-3", "scene-5"]
    with pytest.raises(DatasetError, match="no question to validate with"):
        Validation.drawn([dataset], 5, split="test", scene_ids=())


def test_an_image_that_cannot_be_read_names_its_scene(tmp_path):
    scene = replace(small_scene(0), image=b"no picture")
    with DatasetWriter(tmp_path / "broken") as writer:
        writer.write("test", [scene], small_questions(small_scene(0), ["rec"]))
        broken = writer.finish("broken")
    with pytest.raises(DatasetError, match="scene-0"):
        Validation.drawn([broken], 5, split="test").scores(Recorder())


def test_scenes_are_set_aside_whatever_the_others_are():
    scene_ids = [f"area/{n}" for n in range(4000)]
    aside = set_aside(scene_ids, 0.05)
    assert 150 < len(aside) < 250
    assert set_aside(scene_ids[:100], 0.05) == aside & set(scene_ids[:100])
    assert set_aside(scene_ids, 0.05, seed=1) != aside
    assert not set_aside(scene_ids, 0) and set_aside(scene_ids, 1) == set(scene_ids)


def test_a_task_without_a_value_has_no_say():
    some = {"rec": TaskScore("acc@0.5", 0.5, 4, 0), "detection": TaskScore("f1", None, 1, 0)}
    assert overall(some) == 0.5
    assert math.isnan(overall({}))
