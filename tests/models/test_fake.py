"""The fake model: right when told to be, wrong by the dials, and always the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.data.dialects import BOXED

from georefer.dialects import DIALECTS
from georefer.geometry import Objects, shape_iou
from georefer.models.base import Ask
from georefer.models.fake import FakeModel

IMAGE = np.zeros((200, 400, 3), dtype=np.uint8)
BOXES = Objects.from_hbb(np.array([[10, 20, 60, 70], [100, 50, 180, 90], [300, 100, 390, 190]]), ["house"] * 3)
MODEL = FakeModel(lambda ask: {"boxes": BOXES, "word": "yes"}.get(ask.hint.split("/")[0]))


def read(model, text):
    return model.dialect.read(text, model.frame_for((400, 200)))


@pytest.mark.parametrize("dialect", BOXED)
def test_without_dials_it_says_the_truth_in_any_dialect(dialect):
    model = replace(MODEL, dialect=DIALECTS[dialect])
    boxes, word, unknown = model.generate([Ask(IMAGE, "?", "boxes"), Ask(IMAGE, "?", "word"), Ask(IMAGE, "?")])
    iou_PT = shape_iou(read(model, boxes).areas.geometries_N, BOXES.geometries_N, as_boxes=True)
    assert np.diag(iou_PT).min() > 0.94  # families that floor are up to a number, 0.4 px, off
    assert word == "yes"
    assert read(model, unknown).says_none


def test_the_same_ask_gets_the_same_answer_in_any_company():
    model = replace(MODEL, noise_px=5.0, miss=0.3, malformed=0.3)
    asks = [Ask(IMAGE, f"question {n}", f"boxes/{n}") for n in range(20)]
    together = model.generate(asks)
    assert together == [model.generate([ask])[0] for ask in asks]
    assert together == model.generate(asks[::-1])[::-1]
    assert len(set(together)) > 10
    assert replace(model, seed=1).generate(asks) != together


@pytest.mark.parametrize("noise_px", [1.0, 3.0])
def test_noise_moves_every_edge_by_about_that_many_pixels(noise_px):
    model = replace(MODEL, noise_px=noise_px, numbers=100_000)
    texts = model.generate([Ask(IMAGE, str(n), f"boxes/{n}") for n in range(200)])
    errors = np.concatenate([(read(model, text).objects.hbb_N4 - BOXES.hbb_N4).ravel() for text in texts])
    assert errors.std() == pytest.approx(noise_px, rel=0.1)
    assert abs(errors.mean()) < noise_px / 5


def test_miss_drops_objects_and_malformed_cuts_answers_as_often_as_told():
    asks = [Ask(IMAGE, str(n), f"boxes/{n}") for n in range(400)]
    missing = replace(MODEL, miss=0.25)
    found = [len(read(missing, text).objects) for text in missing.generate(asks)]
    assert np.mean(found) == pytest.approx(3 * 0.75, rel=0.06)
    cut = replace(MODEL, malformed=0.4)
    problems = [bool(read(cut, text).problems) for text in cut.generate(asks)]
    assert np.mean(problems) == pytest.approx(0.4, abs=0.08)


def test_an_answer_is_bounded_by_its_tokens():
    (text,) = MODEL.generate([Ask(IMAGE, "?", "boxes")], max_new_tokens=3)
    assert len(text) == 12
