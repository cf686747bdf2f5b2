"""Parity: all ways of running a model agree in every family, and each way of going wrong is seen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS, build

from georefer.errors import InputError
from georefer.inference.parity import Way, as_plain, as_table, parity
from georefer.models import FakeModel
from georefer.models.loading import load
from georefer.models.packed import Prefix

IMAGE = np.random.default_rng(1).integers(0, 256, (60, 100, 3), dtype=np.uint8)
PROMPT, ANSWER = "where is the tank?", "[1, 2, 30, 40]"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = cache(lambda kind: build(kind, tmp_path_factory.mktemp("checkpoints") / kind))
    return lambda kind: load(folder(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_ways_agree(fresh, kind, tmp_path):
    model = fresh(kind)
    model.save(tmp_path)
    found = parity(model, IMAGE, PROMPT, ANSWER, merged=tmp_path, max_new_tokens=8)
    print(as_table(found))
    assert found.agrees and [w.name for w in found.ways] == ["transformers", "training", "our decoding", "merged"]
    own, training, ours, merged = found.ways
    assert own.answer == ours.answer == merged.answer and own.ids == training.ids == ours.ids and len(own.ids) > 4
    assert training.answer == found.scored == ANSWER
    if not model.prefix((100, 60)).takes_question:
        assert 0 < training.scores_apart < 1e-5 or training.scores_apart == 0.0
        assert merged.scores_apart is not None


def test_without_an_answer_that_of_the_model_is_scored(fresh):
    found = parity(fresh("llava"), IMAGE, PROMPT, max_new_tokens=4)
    assert found.agrees and found.scored == found.ways[0].answer


def other_weights(model):
    with torch.no_grad():
        model.family.bare.lm_head.weight.mul_(1.01)


def longer_prefix(model):
    plain = model.family.prefix

    def prefix(ids, size):
        made = plain(ids, size)
        more = torch.cat([made.positions_AP[:, :1], made.positions_AP + 1], dim=1)
        return Prefix(
            (made.ids[0], *made.ids), more, made.next_position + 1, torch.cat([made.block_P[:1], made.block_P])
        )

    model.family.prefix = prefix


def dark_pictures(model):
    plain = model.family.pixels
    model.family.pixels = lambda images: plain([image // 2 for image in images])


@pytest.mark.parametrize(
    ("spoil", "differs"),
    [
        (longer_prefix, {"ids", "scores"}),  # as a doubled beginning token
        (dark_pictures, {"scores"}),  # as another normalisation
    ],
)
def test_training_otherwise_than_answering_is_seen(fresh, spoil, differs):
    model = fresh("llava")
    spoil(model)
    found = parity(model, IMAGE, PROMPT, ANSWER, max_new_tokens=4)
    assert not found.agrees and set(found.ways[1].differs) == differs
    assert not found.ways[0].differs
    if "ids" in differs:
        assert found.ways[1].first_other_id(found.ways[0]) == 1
        assert "ids, scores" in as_table(found)


def test_another_picture_size_is_seen(fresh):
    """As of a processor whose settings were changed after training."""
    model, plain = fresh("llava"), fresh("llava")
    pictures = plain.family.processor.image_processor
    model.family.pixels = lambda images: {
        n: torch.nn.functional.pad(v, (0, 14)) if v.ndim == 4 else v for n, v in plain.family.pixels(images).items()
    }
    assert pictures.crop_size["width"] == 56
    from georefer.inference.parity import _compared, _seen

    ways = [Way(n, *_seen(m, m.pixels([IMAGE]))) for n, m in (("transformers", plain), ("training", model))]
    assert _compared(ways[1], ways[0], 1e-4).differs == ("image size",)


def test_a_merged_model_with_other_weights_is_seen(fresh, tmp_path):
    model, other = fresh("llava"), fresh("llava")
    other_weights(other)
    other.save(tmp_path)
    found = parity(model, IMAGE, PROMPT, ANSWER, merged=tmp_path, max_new_tokens=4)
    assert "scores" in found.ways[3].differs and found.ways[3].scores_apart == pytest.approx(0.01, rel=0.3)
    assert not found.ways[1].differs and not found.ways[2].differs


def test_an_answer_that_is_not_taught_as_it_is_told(fresh):
    """An end token inside an answer ends what is learned."""
    found = parity(fresh("llava"), IMAGE, PROMPT, "[1, 2]</s>[3, 4]", max_new_tokens=2)
    assert found.ways[1].differs == ("taught",)


def test_only_models_that_run_here(fresh):
    with pytest.raises(InputError, match="not run here by transformers"):
        parity(FakeModel({}), IMAGE, PROMPT)


def test_shown_and_written(fresh):
    found = parity(fresh("qwen2_5_vl"), IMAGE, PROMPT, ANSWER, max_new_tokens=4)
    table = as_table(found)
    assert table.splitlines()[0].split() == ["image", "seen", "ids", "first", "other", "scores", "apart", "differs"]
    assert len({line.index("x") for line in table.splitlines()[1:4]}) == 1  # columns stand below each other
    plain = as_plain(found)
    assert plain["agrees"] and [way["name"] for way in plain["ways"]] == ["transformers", "training", "our decoding"]
    other = replace(found, ways=(found.ways[0], replace(found.ways[1], differs=("ids",))))
    assert not as_plain(other)["agrees"] and "ids" in as_table(other)
