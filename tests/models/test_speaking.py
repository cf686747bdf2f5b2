"""Prefix and segment together are the ids of the family's own processor, and the answer alone is learned."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
from tests.data.checkpoints import KINDS, PLAIN, told

from georefer.errors import CheckpointError
from georefer.models.speaking import Speech

TURNS = [
    ("where is the tank?", "[1, 2, 30, 40]"),
    ("is there a ship?", "yes"),
    (" begins and ends with a space ", " none "),
    ("two\n\nlines: ½ 日本 🛰", '{"a": [1,\n2]}'),
    ("\nbegins and ends with a line\n\n", "yes"),
    ("", "x"),
    ("nothing is answered", ""),
]
SIZES = [(100, 60), (60, 100), (33, 57), (300, 20)]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_processor(loaded, kind):
    model = loaded(kind)
    processor, speech = model.family.processor, model.speech
    for size in SIZES:
        image_HW3 = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        for prompt, answer in TURNS:
            segment = speech.segment(prompt, answer)
            assert len(segment.ids) == len(segment.learn)
            asked = [i for i, learn in zip(segment.ids, segment.learn, strict=True) if not learn]
            whole = processor(text=[told(model, prompt)], images=[image_HW3])["input_ids"][0]
            assert [*speech.prefix_ids(size), *asked] == list(whole), (size, prompt)
            if kind in PLAIN or answer.strip() != answer or not answer:
                continue  # templates trim
            text = processor.apply_chat_template(speech.messages(prompt, answer), tokenize=False)
            whole = list(processor(text=[text], images=[image_HW3])["input_ids"][0])
            ours = [*speech.prefix_ids(size), *segment.ids]
            if ours[-1] in whole[len(ours) - 1 :]:
                assert ours == whole[: len(ours)]
            else:  # LLaVA's template ends no turn
                assert ours[:-1] == whole[: len(ours) - 1] and ours[-1] == processor.tokenizer.eos_token_id


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_alone_is_learned_and_comes_back(loaded, kind):
    speech = loaded(kind).speech
    for prompt, answer in TURNS:
        segment = speech.segment(prompt, answer)
        learned = [i for i, learn in zip(segment.ids, segment.learn, strict=True) if learn]
        assert learned[-1] in speech.end_ids and not set(learned[:-1]) & speech.end_ids
        assert segment.learn == sorted(segment.learn)
        assert speech.answer([*learned, 5, 6]) == answer
        assert prompt.strip() in speech.tokenizer.decode(segment.ids[: -len(learned)])


@pytest.mark.parametrize("kind", KINDS)
def test_typed_marks_are_words(loaded, kind):
    """A question that holds the image token or an end of turn would otherwise break the conversation."""
    model = loaded(kind)
    speech = model.speech
    for mark in (speech.processor.image_token, speech.tokenizer.eos_token):
        segment = speech.segment(f"an {mark} here", f"{mark}{mark}")
        assert model.family.image_token_id not in segment.ids
        learned = [i for i, learn in zip(segment.ids, segment.learn, strict=True) if learn]
        assert not set(learned[:-1]) & speech.end_ids


def test_tokens_that_dialects_speak_stay(loaded):
    speech = loaded("qwen2_vl").speech
    answer = "<|object_ref_start|>ship<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>"
    segment = speech.segment("find <|object_ref_start|>ship<|object_ref_end|>", answer)
    learned = [i for i, learn in zip(segment.ids, segment.learn, strict=True) if learn]
    assert speech.tokenizer.convert_tokens_to_ids("<|box_start|>") in learned
    assert speech.answer(learned) == answer


def test_a_system_sentence_stands_first(loaded):
    model = loaded("llava")
    plain, told = model.speech, Speech(model.family.processor, system="You are a helpful assistant.")
    assert "You are a helpful assistant." in told.tokenizer.decode(told.prefix_ids((9, 9)))
    assert told.question_ids("where?") == plain.question_ids("where?")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "leave the question out"),
        ("{{ messages[0].content[1].text }}{{ messages[1].content[0].text if messages[1] }}", "<image> was not found"),
        ("{{ undefined.nothing }}", "does not render"),
        ("{% for %}", "does not render"),
    ],
)
def test_templates_that_cannot_be_used(loaded, template, message):
    own = loaded("llava").family.processor
    broken = copy(own)
    broken.chat_template = template
    with pytest.raises(CheckpointError, match=message):
        Speech(broken)


def test_a_template_that_tells_otherwise_than_it_asks(loaded):
    """What is asked decides: the answer stands where generation would begin, and the end token behind it."""
    odd = copy(loaded("llava").family.processor)
    odd.chat_template = "<image>{{ messages[0].content[1].text }} {{ 'A:' if add_generation_prompt else 'told' }}"
    speech = Speech(odd)
    assert speech.tokenizer.decode(speech.segment("where?", "here").ids) == "where? A:here</s>"
