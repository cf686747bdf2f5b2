"""Drafts of masks: right often enough to save passes, and never anything but a guess."""

from __future__ import annotations

import numpy as np
import pytest

from georefer.dialects import DIALECTS
from georefer.dialects.runs import CompactRuns, GeoGroundRuns, Text4SegRuns
from georefer.models.drafting import TokenDraft, mask_rows

ROWS, COLUMNS = np.mgrid[:32, :32]
DISC = (((COLUMNS - 14) ** 2 / 90 + (ROWS - 17) ** 2 / 50) < 1).astype(np.uint8)
RING = ((ROWS - 16) ** 2 + (COLUMNS - 16) ** 2 < 150) & ((ROWS - 16) ** 2 + (COLUMNS - 16) ** 2 > 40)
LEAN = (abs(COLUMNS - ROWS) < 6).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 2, (32, 32))


def words(grid_RC, name):
    """The mask's answer in a dialect, and its draft."""
    if name == "geoground-32":
        text = f"<seg>{GeoGroundRuns().write(grid_RC)}</seg>"
    elif name == "text4seg":
        text = f"<seg>{Text4SegRuns(['others', 'storage tank']).write(grid_RC)}</seg>"
    else:
        text = f"ship [1, 2, 30, 40]{{32: {CompactRuns().write(grid_RC)}}}"
    return text, mask_rows(DIALECTS[name])


def passes(text, draft):
    """Steps to say a text letter by letter when every right guess is taken."""
    said = count = 0
    while said < len(text):
        guess = draft(text[:said])
        pairs = zip(guess, text[said:], strict=False)
        said += next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(guess), len(text) - said)) + 1
        count += 1
    return count


@pytest.mark.parametrize(
    ("name", "shape", "saved"),
    [
        ("geoground-32", DISC, 8),
        ("geoground-32", RING, 5),
        ("geoground-32", LEAN, 5),
        ("geoground-32", np.zeros((32, 32), int), 10),
        ("geoground-32", NOISE, 1.2),  # nothing repeats; the rest of a row still follows from its width
        ("text4seg", DISC, 10),
        ("georefer", DISC, 1.2),  # equal rows are said in one letter already
    ],
)
def test_most_of_a_mask_is_guessed(name, shape, saved):
    text, draft = words(shape, name)
    assert passes(text, draft) < len(text) / saved


@pytest.mark.parametrize("shape", [DISC, RING, NOISE])
def test_a_guess_keeps_the_width_of_the_rows(shape):
    """From every beginning of a mask: beginning and guess together are whole rows of 32 cells."""
    text, draft = words(shape, "geoground-32")
    guessed = 0
    for end in range(len(text)):
        if guess := draft(text[:end]):
            guessed += 1
            rows = (text[:end] + guess).removeprefix("<seg>").removesuffix("</seg>").split(";")
            assert {sum(int(run.split("*")[1]) for run in row.split(",")) for row in rows if "*" in row} == {32}
            assert len(rows) <= 33
    assert guessed > len(text) / 2


@pytest.mark.parametrize(
    "text",
    ["", "none", "<seg>", "<seg>0 *4", "[1, 2, 3, 4]", "<seg>;;;;", "<seg>0 *4; 0 *", "<seg>0 *99999999; 1 *", "{16: /",
     "{16: 3 4/", "<seg>0 *2; 0 *2;</seg>", "<seg>0 *2; 0 *2;</seg> <seg>1", "<seg>* *; * *",
     "<seg>" + "0 *1, " * 5000],
)  # fmt: skip
@pytest.mark.parametrize("name", ["geoground", "text4seg", "georefer"])
def test_odd_beginnings_get_at_most_a_short_guess(name, text):
    assert len(mask_rows(DIALECTS[name])(text)) < 600


def test_other_dialects_get_no_guess():
    assert [name for name in DIALECTS if mask_rows(DIALECTS[name])] == [
        "georefer", "geoground", "geoground-24", "geoground-32", "text4seg",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl", "gemma3"])
def test_guesses_are_tokens_as_the_model_writes_them(loaded, kind):
    speech = loaded(kind).speech
    text, draft = words(DISC, "geoground-32")
    segment = speech.segment("", text)
    ids = [token for token, learned in zip(segment.ids, segment.learn, strict=True) if learned]
    ids = ids[: next(n for n, token in enumerate(ids) if token in speech.end_ids)]
    guess, said, count = TokenDraft(speech, draft, {}), 0, 0
    while said < len(ids):
        next_ids = list(guess(ids[:said]))
        pairs = zip(next_ids, ids[said:], strict=False)
        said += next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(next_ids), len(ids) - said)) + 1
        count += 1
    assert count < len(ids) / 4
    # what was taken back is forgotten
    assert list(guess(ids[:60])) == list(TokenDraft(speech, draft, {})(ids[:60]))
