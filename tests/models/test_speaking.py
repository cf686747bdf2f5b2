"""Prefix and segment together are the ids of the family's own processor, and the answer alone is learned."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
from tests.data.checkpoints import KINDS, PLAIN, told

from georefer.errors import CheckpointError, InputError
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


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("<OPEN_VOCABULARY_DETECTION>ship", "Locate ship in the image."),
        ("<CAPTION_TO_PHRASE_GROUNDING>a ship", "Locate the phrases in the caption: a ship"),
        ("<REFERRING_EXPRESSION_SEGMENTATION>the ship", "Locate the ship in the image with mask"),
        ("<OD>", "Locate the objects with category name in the image."),
        ("where is the ship?", "where is the ship?"),
    ],
)
def test_florence_s_tasks_stand_for_sentences(loaded, prompt, asked):
    model = loaded("florence2")
    processor, image_HW3 = model.family.processor, np.zeros((9, 9, 3), np.uint8)
    whole = processor(text=[prompt], images=[image_HW3])["input_ids"][0]
    assert [*model.speech.prefix_ids((9, 9)), *model.speech.question_ids(prompt)] == list(whole)
    assert model.speech.tokenizer.decode(model.speech.question_ids(prompt)) == f"{asked}</s>"


def test_a_task_of_florence_that_takes_nothing(loaded):
    with pytest.raises(InputError, match="should be the only content"):
        loaded("florence2").speech.question_ids("<OD>ship")


@pytest.mark.parametrize("kind", PLAIN)
def test_a_system_sentence_stands_before_a_bare_question(loaded, kind):
    speech = loaded(kind).family.speech("Be brief.")
    assert speech.tokenizer.decode(speech.question_ids("where?")).startswith("Be brief. where?")


def test_a_system_sentence_stands_first(loaded):
    model = loaded("llava")
    plain, told = model.speech, Speech(model.family.processor, system="You are a helpful assistant.")
    assert "You are a helpful assistant." in told.tokenizer.decode(told.prefix_ids((9, 9)))
    assert told.question_ids("where?") == plain.question_ids("where?")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        # LLaVA-1.6 Mistral, whose template misspells the end token
        (
            "{% for m in messages %}{% if m.role == 'user' %}[INST] <image>\n{{ m.content[-1].text }} [/INST]"
            "{% else %} {{ m.content[0].text }}<\\s> {% endif %}{% endfor %}",
            "\nwhere? [/INST] here</s>",
        ),
        # LLaVA-1.5 since 2025, which marks what is generated
        (
            "{% for m in messages %}{% if m.role == 'user' %}USER: <image>\n{{ m.content[-1].text + ' ' }}{% else %}"
            "ASSISTANT: {% generation %}{{ m.content[0].text + ' ' }}{% endgeneration %}{% endif %}{% endfor %}"
            "{{ 'ASSISTANT:' if add_generation_prompt }}",
            "\nwhere? ASSISTANT: here</s>",
        ),
        # LLaVA-1.6 34B, with marks that are no tokens here
        (
            "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{{ '<image>' if m.role == 'user' }}"
            "{{ '\n' + m.content[-1].text + '<|im_end|>' }}{% endfor %}"
            "{{ '<|im_start|>assistant\n' if add_generation_prompt }}",
            "\nwhere?<|im_end|><|im_start|>assistant\n\nhere</s>",
        ),
    ],
)
def test_templates_of_released_llavas(loaded, template, said):
    processor = copy(loaded("llava_next").family.processor)
    processor.chat_template = template
    speech = Speech(processor)
    segment = speech.segment("where?", "here")
    assert speech.tokenizer.decode(segment.ids) == said
    assert speech.answer([i for i, learn in zip(segment.ids, segment.learn, strict=True) if learn]) == "here"


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
