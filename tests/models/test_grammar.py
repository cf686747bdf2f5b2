"""Under a grammar nothing malformed is said, and what was well formed without it stays the same."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import lark
import numpy as np
import pytest
import shapely
from tests.data.checkpoints import KINDS
from tests.data.taught import teach

from georefer.dialects import DIALECTS
from georefer.dialects.reference import example, kinds_of
from georefer.errors import InputError, MissingExtra
from georefer.geometry import Objects
from georefer.models import Ask, grammar
from georefer.models.grammar import GrammarMaker, without

pytest.importorskip("llguidance")
PROMPTS = ["where is the tank?", "is there a ship?", "find every plane", "x"]
BOXES = 'start: "[" N ("," N)~3 "]"\nN: /[1-9][0-9]?/\n'


@pytest.fixture(scope="module")
def asks():
    rng = np.random.default_rng(8)
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in [(100, 60), (60, 130)]]
    return [Ask(image, prompt) for prompt in PROMPTS for image in images]


def fits(text, rules):
    try:
        lark.Lark(rules).parse(text)
    except lark.exceptions.LarkError:
        return False
    return True


def said_ids(speech, text):
    segment = speech.segment("", text)
    learned = [token for token, learn in zip(segment.ids, segment.learn, strict=True) if learn]
    return learned[: next(n for n, token in enumerate(learned) if token in speech.end_ids)]


@pytest.mark.parametrize("name", DIALECTS)
def test_what_is_written_can_be_said(loaded, name):
    """Every dialect's own words, one and two objects, labels of several words, by two ways to cut text into tokens."""
    dialect = DIALECTS[name]
    frame = dialect.frame_for((800, 600))
    written = {dialect.write(Objects.none(), frame)}
    for kind in kinds_of(dialect):
        for label in ("ship", "storage tank"):
            one = example(kind, label)
            moved = one.replaced(shapely.transform(one.geometries_N, lambda xy: np.add(xy, (55, 40))))
            texts = [dialect.write(objects, frame) for objects in (one, Objects.concat([one, moved]))]
            written |= {text for text in texts if len(text) < 600}
    for kind in ("llava", "qwen2_vl"):
        model = loaded(kind)
        maker = model.grammars
        for text in written:
            state = maker.begin(dialect.grammar())
            for token in said_ids(model.speech, text):
                assert state.takes(token), (text, token)
            assert state.may_end, text


@pytest.mark.parametrize("kind", KINDS)
def test_random_models_say_nothing_malformed(loaded, asks, kind):
    model = loaded(kind)
    for dialect in (model.dialect, DIALECTS["georefer"], DIALECTS["groundset"]):
        free = model.answers(asks, 40)
        held = model.answers(asks, 40, grammar=dialect.grammar())
        for answer, before in zip(held, free, strict=True):
            if answer.stopped == "end":
                assert fits(answer.text, dialect.grammar()), answer.text
            if fits(before.text, dialect.grammar()) and before.stopped == "end":
                assert answer.ids == before.ids
        assert {answer.stopped for answer in held} <= {"end", "length"}


def taught_model(model, turns):
    family = type(model.family)(deepcopy(model.family.model), model.family.processor)
    model = replace(model, family=family)
    teach(model, turns)
    return model


WELL_FORMED = {
    "llava": ("llava-1.5", "[0.15, 0.24, 0.35, 0.35]"),
    "llava_next": ("groundset", "[150, 150, 350, 300]"),
    "qwen2_vl": ("qwen2-vl", "<|box_start|>(15,50),(35,30)<|box_end|>"),
    "gemma3": ("geoground", "<seg>0 *2; 1 *2;</seg>"),
    "internvl": ("georefer", "a b [15, 50, 35, 30]"),
    "smolvlm": ("georefer", "none"),
}


@pytest.mark.parametrize("kind", WELL_FORMED)
def test_well_formed_answers_stay_the_same(loaded, asks, kind):
    name, text = WELL_FORMED[kind]
    rules = DIALECTS[name].grammar()
    model = taught_model(loaded(kind), [(asks[0], text)])
    free, held = (model.answers(asks[:3], 40, grammar=given) for given in (None, rules))
    assert free[0].text == text and free[0].stopped == "end"
    assert (held[0].text, held[0].ids, held[0].stopped) == (text, free[0].ids, "end")
    assert held[0].logprobs == pytest.approx(free[0].logprobs, abs=1e-3)
    alone = model.answers(asks[:1], 40, grammar=rules)[0]
    assert alone.ids == free[0].ids


def test_forced_tokens_save_passes(loaded, asks):
    model = taught_model(loaded("llava"), [(asks[0], "<box>[[1, 2, 3, 4]]</box>")])
    family, passes = model.family, []
    score = family.logits
    family.logits = lambda hidden: passes.append(len(hidden)) or score(hidden)
    free = model.answers(asks[:1], 60)[0]
    before = len(passes)
    held = model.answers(asks[:1], 60, grammar='start: "<box>[[" N ", " N ", " N ", " N "]]</box>"\nN: /[0-9]/\n')[0]
    assert held.text == free.text == "<box>[[1, 2, 3, 4]]</box>"
    assert len(passes) - before < before / 2


def test_tokens_that_a_model_would_spell_otherwise_are_its_own(loaded, asks):
    """A forced text is not a forced token: 'system' may be said letter by letter, and then it stays so."""
    model = loaded("qwen2_vl")
    rules = 'start: "system"'
    state = model.grammars.begin(rules)
    assert state.forced() == said_ids(model.speech, "system")
    letters = [token for letter in "system" for token in said_ids(model.speech, letter)]
    assert len(letters) > len(state.forced())
    assert all(state.takes(token) for token in letters) and state.may_end and state.must_end


def test_a_grammar_for_each_question(loaded, asks):
    model = loaded("llava")
    rules = [BOXES, 'start: "yes" | "no"\n', None, 'start: "yes" | "no"\n']
    free = model.answers(asks[:4], 20)
    box, one, other, two = model.answers(asks[:4], 20, grammar=rules)
    assert fits(box.text, BOXES) and box.stopped == "end"
    assert {one.text, two.text} <= {"yes", "no"}
    assert other.ids == free[2].ids


def test_too_few_tokens_are_told(loaded, asks):
    answers = loaded("llava").answers(asks, 3, grammar=BOXES)
    assert {answer.stopped for answer in answers} == {"length"}
    assert not any(fits(answer.text, BOXES) for answer in answers)


def test_letters_that_a_vocabulary_lacks(loaded):
    """Nothing is made up where no token can follow: the answer stays a beginning."""
    state = loaded("llava").grammars.begin('start: "<image>"')  # the mark of the conversation itself is no text
    assert not state.takes(loaded("llava").speech.tokenizer.convert_tokens_to_ids("<image>"))
    assert state.takes(said_ids(loaded("llava").speech, "<")[-1])


def test_wrong_grammars_and_missing_packages(loaded, monkeypatch):
    model = loaded("llava")
    with pytest.raises(InputError, match="cannot be followed"):
        model.grammars.begin('start: "a" b')
    monkeypatch.setattr(grammar, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="grammar"):
        GrammarMaker(model.speech, model.end_ids, 500)


@pytest.mark.parametrize(
    ("name", "rules", "kept", "gone"),
    [
        ("georefer", ("obb", "polygon", "mask"), "ship [1, 2, 3, 4]; a b [1, 2, 3, 4]", "[1, 2, 3, 4 @ 5]"),
        ("georefer", ("box", "polygon", "mask"), "ship [1, 2, 3, 4 @ 5]", "[1, 2, 3, 4]"),
        ("geoground", ("box", "obb"), "<seg>0 *2; 1 *2;</seg>", "<box>[[1, 2, 3, 4]]</box>"),
        ("geoground", ("row",), "<box>[[1, 2, 3, 4]]</box> <obb>[[1, 2, 3, 4, 5]]</obb>", "<seg>0 *2; 1 *2;</seg>"),
        # a part of a rule, an optional part, a rule that falls with another
        ("visionreasoner", ("box",), '<answer>[{"point_2d": [1, 2]}]</answer>', '<answer>[{"bbox_2d": [1, 2, 3, 4], '
         '"point_2d": [1, 2]}]</answer>'),
        ("moondream", ("points",), '{"objects": []}', '{"points": [{"x": 0.5, "y": 0.5}]}'),
        ("georefer", ("shape",), "none", "[1, 2, 3, 4]"),
    ],
)  # fmt: skip
def test_rules_taken_out_of_a_grammar(loaded, name, rules, kept, gone):
    whole = DIALECTS[name].grammar()
    rest = without(whole, *rules)
    assert fits(kept, whole) and fits(gone, whole)
    assert fits(kept, rest) and not fits(gone, rest)
    model = loaded("qwen2_vl")
    state = model.grammars.begin(rest)
    assert all(state.takes(token) for token in said_ids(model.speech, kept)) and state.may_end


def test_a_grammar_without_anything():
    with pytest.raises(InputError, match="nothing can be said without box, polygon"):
        without('start: box | part+\npart: polygon\nbox: "b"\npolygon: "p"\n', "box", "polygon")
