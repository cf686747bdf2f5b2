"""Confidences of objects: from token probabilities, and from further answers."""

import re

import numpy as np
import pytest
import shapely

from georefer.building.synthetic import synthesize
from georefer.dialects import DIALECTS
from georefer.dialects.reference import example, kinds_of
from georefer.geometry import Frame, Objects, Window
from georefer.imagery.raster import open_imagery
from georefer.inference.confidence import NUMBER, consistency_scores, object_scores, with_scores
from georefer.models import Ask, load_model

FRAME = Frame.resize((1000, 1000), (1000, 1000))
ALL = [(name, kind) for name, dialect in DIALECTS.items() for kind in kinds_of(dialect)]


def tokens_of(text):
    """Words, single digits and marks, as most tokenizers have them."""
    return [match.span() for match in re.finditer(r"\d| ?[^\W\d]+|\s|[^\w\s]", text)]


def scores(dialect, text, unsure=(), frame=FRAME, offsets=None):
    """Scores where tokens are certain but those at the places found by (pattern, probability)."""
    offsets = tokens_of(text) if offsets is None else offsets
    logprobs = np.zeros(len(offsets))
    for pattern, probability in unsure:
        (match,) = re.finditer(pattern, text)
        (token,) = [n for n, (start, end) in enumerate(offsets) if start <= match.start() < end]
        logprobs[token] = np.log(probability)
    return object_scores(DIALECTS[dialect].read(text, frame), offsets, logprobs)


TWO = "ship [110, 120, 230, 240] [310, 320, 430, 440]; pool [510, 520, 630, 640]"
ROWS = '{"bbox_2d": [110, 120, 230, 240], "label": "ship"}, {"bbox_2d": [310, 320, 430, 440], "label": "pool"}'
JSON = f"```json\n[{ROWS}]\n```"


@pytest.mark.parametrize(
    ("dialect", "text", "unsure", "expected"),
    [
        ("georefer", TWO, [], [1, 1, 1]),
        ("georefer", TWO, [("230", 0.5)], [0.5, 1, 1]),
        ("georefer", TWO, [("230", 0.5), ("120", 0.3)], [0.3, 1, 1]),  # the least sure number, not the product
        ("georefer", TWO, [("2(?=30)", 0.5), ("(?<=2)3(?=0)", 0.5)], [0.25, 1, 1]),  # digits of one number: the product
        ("georefer", TWO, [("(?<=0)] ", 0.9)], [0.9, 1, 1]),  # marks hardly matter, but they may
        ("georefer", TWO, [(r"\[(?=310)", 0.4)], [1, 0.4, 1]),  # whether there is one more
        ("georefer", TWO, [(" pool", 0.7)], [1, 1, 0.7]),
        ("georefer", TWO, [("ship", 0.6)], [0.6, 0.6, 1]),  # said once for two
        ("georefer", TWO, [("ship", 0.6), ("430", 0.5)], [0.6, 0.3, 1]),  # what it is times where it is
        ("qwen3-vl", JSON, [], [1, 1]),
        ("qwen3-vl", JSON, [("430", 0.5), ("pool", 0.8)], [1, 0.4]),  # the label comes behind the numbers
        ("qwen3-vl", JSON, [("(?<=bbox_)2(?=d.: .110)", 0.9)], [0.9, 1]),  # the 2 of a key is no number
        ("qwen3-vl", JSON, [("{(?=.bbox_2d.: .310)", 0.3)], [1, 0.3]),
    ],
)  # fmt: skip
def test_each_token_counts_where_it_speaks(dialect, text, unsure, expected):
    assert np.allclose(scores(dialect, text, unsure), expected)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_in_every_dialect_an_object_is_as_sure_as_its_numbers(name, kind):
    dialect, frame = DIALECTS[name], DIALECTS[name].frame_for((800, 600))
    text = dialect.write(example(kind), frame)
    reading, offsets = dialect.read(text, frame), tokens_of(text)
    sure = object_scores(reading, offsets, np.zeros(len(offsets)))
    assert len(sure) == len(reading.objects) > 0
    assert np.allclose(sure, 1)
    start, end = reading.spans[0]
    numbers = [match.span() for match in NUMBER.finditer(text, start, end)]
    assert len(numbers) >= 2
    first = next(n for n, (a, b) in enumerate(offsets) if b > numbers[0][0] and re.search(r"\d", text[a:b]))
    logprobs = np.zeros(len(offsets))
    logprobs[first] = np.log(0.5)
    one = object_scores(reading, offsets, logprobs)[0]
    # the least sure number of a box, the mean of many
    expected = 0.5 ** (1 / len(numbers)) if kind in ("polygon", "mask") else 0.5
    assert one == pytest.approx(expected)


def test_how_a_text_is_cut_into_tokens_is_of_no_consequence():
    """A number in one token, in digits, or with its comma: the probability of all of it is the same."""
    text = "[110, 120, 230, 240]"
    reading = DIALECTS["georefer"].read(text, FRAME)
    whole = [m.span() for m in re.finditer(r"\d+|\D+", text)]
    comma = [m.span() for m in re.finditer(r"\d+\D*|^\D", text)]
    for offsets, quarter in ((whole, 0.25), (tokens_of(text), 0.5), (comma, 0.25)):
        logprobs = [np.log(quarter) if 11 <= start < 13 else 0.0 for start, _ in offsets]
        assert object_scores(reading, offsets, logprobs) == pytest.approx([0.25])
    # bytes of one letter: a token without characters of its own says nothing here
    empty = [(0, 1), (1, 1), *whole[1:]]
    assert object_scores(reading, empty, [0.0, -5.0] + [0.0] * (len(empty) - 2)) == pytest.approx([1.0])


def test_an_object_that_was_lost_does_not_speak_for_the_next():
    text = "ship [110, 120, 230]; pool [510, 520, 630, 640]"
    assert scores("georefer", text, [("230", 0.1)]) == pytest.approx([1.0])
    assert scores("georefer", text, [(r"\[(?=5)", 0.2)]) == pytest.approx([0.2])


def test_a_long_thought_before_an_object_is_not_counted():
    thought = " ".join(["hm"] * 40)
    assert scores("georefer", f"{thought} [110, 120, 230, 240]", [(r"^hm", 0.01)]) == pytest.approx([1.0])


def test_what_has_no_place_has_no_confidence():
    text = "ship [110, 120, 230, 240]"
    reading = DIALECTS["georefer"].read(text, FRAME)
    assert np.isnan(object_scores(reading, tokens_of(text)[:1], [0.0])).all()  # probabilities end before the object
    assert object_scores(DIALECTS["georefer"].read("none", FRAME), [(0, 4)], [0.0]).shape == (0,)
    impossible = [-np.inf if start == 7 else 0.0 for start, _ in tokens_of(text)]
    assert object_scores(reading, tokens_of(text), impossible).tolist() == [0.0]


@pytest.mark.parametrize(
    ("offsets", "logprobs"),
    [
        ([(0, 4), (4, 25)], [0.0]),  # one token without
        ([(0, 25)], [float("nan")]),
        ([(0, 10), (8, 25)], [0.0, 0.0]),  # overlapping
        ([(8, 25), (0, 8)], [0.0, 0.0]),  # out of order
    ],
)
def test_tokens_that_cannot_be_are_refused(offsets, logprobs):
    reading = DIALECTS["georefer"].read("ship [110, 120, 230, 240]", FRAME)
    with pytest.raises(ValueError, match="pass"):
        object_scores(reading, offsets, logprobs)


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_babble_is_scored_in_bounded_work(name):
    """A hundred thousand characters of as many objects as are read, and of broken ones."""
    dialect, frame = DIALECTS[name], DIALECTS[name].frame_for((800, 600))
    rng = np.random.default_rng(0)
    kind = kinds_of(dialect)[0]
    one = dialect.write(example(kind), frame)
    text = "; ".join(re.sub(r"\d", lambda _: str(rng.integers(10)), one) for _ in range(min(400, 20_000 // len(one))))
    reading = dialect.read(text, frame)
    offsets = tokens_of(text)
    found = object_scores(reading, offsets, -rng.exponential(0.1, len(offsets)))
    assert found.shape == (len(reading.objects),)
    assert ((found > 0) & (found <= 1)).all()


# --- further answers -------------------------------------------------------------------------------------


def boxes(*x, label="ship"):
    return Objects.from_hbb([[i, 0, i + 10, 10] for i in x], [label] * len(x))


@pytest.mark.parametrize(
    ("answer", "samples", "expected"),
    [
        (boxes(0, 50), [boxes(0, 50), boxes(50, 0)], [1, 1]),  # in any order
        (boxes(0, 50), [boxes(1), boxes(52), boxes(), boxes(1, 49)], [0.5, 0.5]),
        (boxes(0), [boxes(0, 1, 2)], [1]),  # more of the same is held once
        (boxes(0, 1), [boxes(0)], [1, 0]),  # and one object holds one
        (boxes(0), [boxes(4), boxes(3)], [0.5]),  # IoU 6/14 and 7/13
        (boxes(0), [boxes(0, label="pool")], [0]),
        (boxes(), [boxes(0)], []),
        (Objects.of([shapely.Point(3, 3)], ["a"], kind="point"), [boxes(0)], [np.nan]),
    ],
)
def test_what_is_said_again_is_sure(answer, samples, expected):
    found = consistency_scores(answer, samples)
    assert found.shape == (len(answer),)
    assert np.allclose(found, expected, equal_nan=True)


def test_one_further_answer_at_least_is_needed():
    with pytest.raises(ValueError, match="sample at least one"):
        consistency_scores(boxes(0), [])


def test_scores_are_put_on_objects():
    objects = boxes(0, 50)
    scored = with_scores(objects, np.array([0.5, 0.25]))
    assert scored.scores_N.tolist() == [0.5, 0.25]
    assert scored.ids_N.tolist() == objects.ids_N.tolist()
    assert np.isnan(objects.scores_N).all()
    with pytest.raises(ValueError, match="one for each"):
        with_scores(objects, np.zeros(3))


# --- a model that answers --------------------------------------------------------------------------------


def test_a_models_answer_carries_what_is_needed(tmp_path):
    """The tiny model's box on a synthetic area; a number is one of its tokens."""
    area = synthesize(tmp_path / "area", seed=7, size=128, gsd_m=0.4)
    with open_imagery([area.image]) as imagery:
        image_HW3 = imagery.read(Window(0, 0, 128, 128)).image_HW3
    model = load_model("tiny-synthetic")
    (answer,) = model.answers([Ask(image_HW3, "Find every building.")])
    reading = model.dialect.read(answer.text, model.frame_for((128, 128)))
    (found,) = object_scores(reading, answer.spans, answer.logprobs)
    said = [(answer.text[start:end], p) for (start, end), p in zip(answer.spans, answer.logprobs, strict=True)]
    numbers, others = ([p for token, p in said if token.isdigit() == wanted] for wanted in (True, False))
    assert len(numbers) == 4
    assert found == pytest.approx(np.exp(min(numbers) + min(others)))
    assert 0.05 < found < 0.99
