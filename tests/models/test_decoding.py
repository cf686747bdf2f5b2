"""Answers are those of one token at a time, whatever shares the image, is drafted or is forced."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS
from tests.data.taught import teach

from georefer.models import Ask
from georefer.models.decoding import Question, greedy_answers
from georefer.models.shared_rows import Chunk, SharedRows

SHARING = [kind for kind in KINDS if kind not in ("paligemma", "florence2")]
"""Those whose questions come behind the image."""
PROMPTS = ["where is the tank?", "is there a ship?", "find every plane in the image, as a list", "x", ""]
TEXT = "[12, 40, 60, 88], [10, 32]"


@pytest.fixture(scope="module")
def asks():
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in [(100, 60), (60, 130)]]
    return [Ask(image, prompt) for prompt in PROMPTS for image in images]


@pytest.fixture
def taught(loaded, asks):
    """A model that says TEXT to the first ask, the rest being random."""

    def make(kind, text=TEXT):
        model = loaded(kind)
        family = type(model.family)(deepcopy(model.family.model), model.family.processor)
        model = replace(model, family=family)
        teach(model, [(asks[0], text)])
        return model

    return make


def said(model, asks, count=16, guesses=(), rows=16):
    """Ids and log-probabilities by the core alone, without any text."""
    images = list({id(ask.image_HW3): ask.image_HW3 for ask in asks}.values())
    row_of = {id(image): n for n, image in enumerate(images)}
    guess = [*guesses, *[None] * len(asks)]
    return greedy_answers(
        model.family, images, [model.prefix(image.shape[1::-1]) for image in images],
        [Question(model.speech.question_ids(a.prompt), row_of[id(a.image_HW3)], None, g)
         for a, g in zip(asks, guess, strict=False)],
        end_ids=model.end_ids, max_new_tokens=count, rows_at_once=rows,
    )  # fmt: skip


def one_by_one(model, ask, count):
    """Ids and log-probabilities without a cache: everything anew for every token."""
    family, prefix = model.family, model.prefix(ask.image_HW3.shape[1::-1])
    ids, made, logs = model.speech.question_ids(ask.prompt), [], []
    features = family.image_features(model.pixels([ask.image_HW3]))
    while len(made) < count:
        rows = SharedRows(family, features, [prefix])
        with torch.inference_mode():
            scores_V = family.logits(rows.feed([Chunk(0, 1, 0, ids + made)])[0][-1]).log_softmax(-1)
        if int(scores_V.argmax()) in model.end_ids:
            break
        made.append(int(scores_V.argmax()))
        logs.append(float(scores_V.max()))
    return made, logs


@pytest.mark.parametrize("kind", SHARING)
def test_ids_and_probabilities_are_those_of_one_token_at_a_time(taught, asks, kind):
    model = taught(kind)
    for answer, ask in zip(said(model, asks[:3], 8), asks, strict=False):
        ids, logprobs = one_by_one(model, ask, 8)
        assert list(answer.ids) == ids
        assert answer.logprobs == pytest.approx(logprobs, abs=1e-3)
        assert all(p <= 0 for p in answer.logprobs)
        assert answer.stopped == ("length" if len(ids) == 8 else "end")


GUESSES = {
    "all right": lambda right: lambda ids: right[len(ids) :],
    "all wrong": lambda right: lambda ids: [5] * 7,
    "right, then wrong": lambda right: lambda ids: [*right[len(ids) : len(ids) + 2], 5, 6, 7],
    "now and then": lambda right: lambda ids: right[len(ids) :] if len(ids) % 3 == 1 else [],
    "beyond the end": lambda right: lambda ids: [*right[len(ids) :], *range(40)],
}


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("kind", ["llava", "qwen3_vl", "gemma3", "paligemma"])
def test_no_guess_changes_an_answer(taught, asks, kind, guess):
    model = taught(kind)
    plain = said(model, asks, 32)
    assert model.speech.answer(plain[0].ids).strip() == TEXT and plain[0].stopped == "end"
    guesses = [GUESSES[guess](list(answer.ids)) for answer in plain]
    for rows in (16, 3):
        drafted = said(model, asks, 32, guesses, rows)
        assert [answer.ids for answer in drafted] == [answer.ids for answer in plain]
        assert [answer.stopped for answer in drafted] == [answer.stopped for answer in plain]
        for one, other in zip(drafted, plain, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_right_guesses_save_passes(taught, asks):
    model, passes = taught("llava"), []
    plain = said(model, asks[:1], 32)
    family = model.family
    score = family.logits
    family.logits = lambda hidden: passes.append(len(hidden)) or score(hidden)
    drafted = said(model, asks[:1], 32, [GUESSES["all right"](list(plain[0].ids))])
    assert drafted[0].ids == plain[0].ids and passes == [len(plain[0].ids) + 1]


def test_tokens_run_out(taught, asks):
    model = taught("llava")
    whole = said(model, asks[:1], 32)[0]
    for count in (0, 1, 5, len(whole.ids)):
        cut = said(model, asks[:1], count, [lambda ids: whole.ids[len(ids) :]])[0]
        assert cut.ids == whole.ids[:count] and cut.stopped == "length"
    assert said(model, [], 4) == []


@pytest.mark.parametrize("kind", ["llava_next", "qwen2_5_vl", "gemma3"])
def test_hidden_tokens_are_moved_out_of_the_way(loaded, asks, kind):
    """Many wrong guesses: the row stays short, and what is seen is the same."""
    model = loaded(kind)
    images = [asks[0].image_HW3, asks[1].image_HW3]
    features = model.family.image_features(model.pixels(images))
    rows = SharedRows(model.family, features, [model.prefix(image.shape[1::-1]) for image in images])
    ids, begun = [7, 8, 9, 10], rows.layout.place_BT.shape[1]
    with torch.inference_mode():
        clean = [rows.feed([Chunk(r, 1, 0, ids)])[0] for r in (0, 1)]
        rows.forget()
        for n, token in enumerate(ids):
            for _ in range(40):
                rows.feed([Chunk(r, 1, n, [token, 11, 12, 13]) for r in (0, 1)])
                for r in (0, 1):
                    rows.hide(r, 1, n)
            last = rows.feed([Chunk(r, 1, n, [token]) for r in (0, 1)])
    assert rows.layout.place_BT.shape[1] - begun < 4 * 40 * 4
    assert rows.cache.layers[0].get_seq_length() == rows.layout.place_BT.shape[1]
    for one, other in zip(clean, last, strict=True):
        assert torch.allclose(one[-1:], other, atol=1e-4)


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_keys_of_an_image_are_held_once(loaded, asks, kind):
    model, image = loaded(kind), asks[0].image_HW3
    prefix = model.prefix(image.shape[1::-1])
    rows = SharedRows(model.family, model.family.image_features(model.pixels([image])), [prefix])
    rows.feed([Chunk(0, n, 0, [7, 8, 9]) for n in range(1, 41)])
    assert all(layer.keys.shape[0] == 1 for layer in rows.cache.layers)
    assert rows.cache.layers[0].get_seq_length() == len(prefix) + 40 * 3


def test_spans_join_to_the_text(taught, asks):
    model = taught("llava", "[1é, ☃0]")  # letters of several bytes, a token each
    answer = model.answers(asks[:2], 32)[0]
    assert answer.text == "[1é, ☃0]" and len(answer.spans) == len(answer.ids) == len(answer.logprobs)
    assert answer.spans[0][0] == 0 and answer.spans[-1][1] == len(answer.text)
    assert all(a[1] == b[0] for a, b in zip(answer.spans, answer.spans[1:], strict=False))
    places = {answer.text[start:end] for start, end in answer.spans}
    assert {"[", "1", "é", "☃", "0", "]"} <= places


@pytest.mark.parametrize("kind", KINDS)
def test_spans_of_anything(loaded, asks, kind):
    model = loaded(kind)
    for answer in model.answers(asks, 12):
        assert "".join(answer.text[start:end] for start, end in answer.spans) == answer.text
        assert answer.text == model.speech.answer(answer.ids)
