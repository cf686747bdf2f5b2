"""Answers with confidences and under grammars, from models that give them and from those that do not."""

import zlib

import lark
import numpy as np
import pytest
from tests.data.small import small_questions, small_scene
from tests.data.telling import TellingModel, told

from georefer.dialects import DIALECTS
from georefer.errors import InputError
from georefer.geometry import Frame, Objects
from georefer.inference.calibration import fit_calibration
from georefer.inference.confidence import object_scores
from georefer.inference.said import grammar_for, said_to, scored
from georefer.models import Ask, FakeModel
from georefer.models.spans import Told
from georefer.scenes import Question
from georefer.tasks import TASKS

IMAGE = np.zeros((100, 200, 3), dtype=np.uint8)
TWO = Objects.from_hbb(np.array([[20, 10, 60, 50], [100, 40, 160, 90]]), ["pond", "pond"])
ASKS = [Ask(IMAGE, "Find every pond.", "a"), Ask(IMAGE, "Is there a pond?", "b"), Ask(IMAGE, "Find every lake.", "c")]


def truth(ask):
    return {"a": TWO, "b": "yes", "c": Objects.none()}[ask.hint]


def test_confidences_are_those_of_the_tokens_and_rounded():
    said = said_to(TellingModel(truth), ASKS, 256)
    assert [len(one.scores) for one in said] == [2, 0, 0]
    model, tokens = TellingModel(truth), told(said[0].text, zlib.crc32(b"a"))
    reading = model.dialect.read(said[0].text, model.frame_for((200, 100)))
    expected = object_scores(reading, tokens.spans, tokens.logprobs)
    np.testing.assert_allclose(said[0].scores, expected, atol=5e-5)
    assert 0 < min(said[0].scores) < max(said[0].scores) < 1
    assert all(round(score, 4) == score for score in said[0].scores)


def test_a_model_without_log_probabilities_gives_no_confidences_and_takes_no_grammar():
    model = FakeModel(truth)
    assert [(one.text, one.scores) for one in said_to(model, ASKS, 256, [None] * 3)] == [
        (text, None) for text in model.generate(ASKS)
    ]
    with pytest.raises(InputError, match="cannot be held to a grammar"):
        said_to(model, ASKS, 256, ['start: "none"', None, None])


class ServedModel(FakeModel):
    """Tells of its tokens as a served model does, and not of the answer to "b"."""

    def told(self, asks, max_new_tokens=256):
        told_of = [
            told(text, zlib.crc32(ask.hint.encode())) for ask, text in zip(asks, self.generate(asks), strict=True)
        ]
        return [one if ask.hint != "b" else Told(one.text) for ask, one in zip(asks, told_of, strict=True)]


def test_a_served_model_that_tells_of_its_tokens_gives_confidences():
    said, expected = said_to(ServedModel(truth), ASKS, 256), said_to(TellingModel(truth), ASKS, 256)
    assert [one.scores for one in said] == [expected[0].scores, None, ()]
    with pytest.raises(InputError, match="cannot be held to a grammar"):
        said_to(ServedModel(truth), ASKS, 256, ["first", None, None])


def test_each_ask_has_its_own_grammar():
    model = TellingModel(truth)
    said_to(model, ASKS, 256, ["first", None, "third"])
    assert model.grammars == ["first", None, "third"]
    said_to(model, ASKS, 256, [None] * 3)
    assert model.grammars[3:] == [None] * 3


def test_scores_stand_with_their_objects_and_may_be_calibrated():
    reading = FakeModel(truth).dialect.read("[10, 10, 20, 20] [30, 30, 40, 40]", Frame.resize((100, 100), (100, 100)))
    assert list(scored(reading, [0.25, None]).objects.scores_N[:1]) == [0.25]
    assert np.isnan(scored(reading, [0.25, None]).objects.scores_N[1])
    calibration = fit_calibration(np.tile([0.2, 0.3, 0.6], 50), np.tile([0, 1, 1], 50), "m")
    np.testing.assert_array_equal(
        scored(reading, [0.2, 0.6], calibration).objects.scores_N, calibration(np.array([0.2, 0.6]))
    )
    # kept before there were confidences, or read as another number of objects since
    for scores in (None, (), (0.5,), (0.5, 0.5, 0.5)):
        assert scored(reading, scores) is reading


def fits(text, rules):
    try:
        lark.Lark(rules).parse(text)
    except lark.exceptions.LarkError:
        return False
    return True


@pytest.mark.parametrize("name", DIALECTS)
def test_right_answers_to_every_task_with_a_grammar_follow_it(name):
    """Also those that think first; and every task whose answer is shapes alone has a grammar."""
    dialect, held, compiled = DIALECTS[name], set(), {}
    scene = small_scene(1)
    frame = dialect.frame_for(scene.size)
    for question in [*small_questions(scene), *small_questions(scene, ("rec", "detection"), think=True)]:
        grammar = grammar_for(question, dialect)
        try:
            answer = TASKS[question.task].answer(question, scene, dialect, frame)
        except ValueError:  # a shape or a label that the dialect cannot say
            continue
        if grammar is None or len(answer) > 400:
            continue
        if question.task in held and "thought" not in question.params:
            continue
        held.add(question.task)
        compiled.setdefault(grammar, lark.Lark(grammar)).parse(answer)
    assert ("detection" in held) == ("hbb" in dialect.kinds) and "presence" not in held


def test_words_and_what_a_dialect_cannot_say_stay_free():
    boxes, own = DIALECTS["qwen2.5-vl"], DIALECTS["georefer"]
    for task, dialect, has_one in [
        ("detection", boxes, True),
        ("segment", boxes, False),  # says no outlines
        ("segment", own, True),
        ("presence", own, False),
        ("image-graph", own, False),  # relations beside the shapes
        ("caption", own, False),
    ]:
        assert (grammar_for(Question("", "", task, {}), dialect) is not None) == has_one, task


def test_a_model_may_think_before_a_held_answer():
    grammar = grammar_for(Question("", "", "detection", {}), DIALECTS["visionreasoner"])
    assert fits("<answer>[]</answer>", grammar) and fits("<think>no pond</think>\n<answer>[]</answer>", grammar)
    assert not fits("<think>no pond</think>none", grammar) and not fits("<think>no pond<answer>[]</answer>", grammar)


def test_llguidance_takes_the_grammar_with_a_thought():
    pytest.importorskip("llguidance")
    from llguidance import LLMatcher, LLTokenizer

    grammar = grammar_for(Question("", "", "detection", {}), DIALECTS["visionreasoner"])
    tokenizer = LLTokenizer("byte")
    for text, whole in [
        ("<think>a b</think><answer>[]</answer>", True),
        ("<answer>[]</answer>", True),
        ("<think>a</think>\n\n<answer>[]</answer>", True),
        ("<think>a</think>yes", False),
    ]:
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar))
        assert not matcher.is_error(), matcher.get_error()
        tokens = tokenizer.tokenize_str(text)
        assert (matcher.try_consume_tokens(tokens) == len(tokens)) == whole, text
