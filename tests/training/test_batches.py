"""What a step learns from: nothing lost, nothing twice, the same on any number of processes, and little padding."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from georefer.errors import DatasetError
from georefer.tasks import TASKS
from georefer.training.batches import Batches, BatchSettings, Costs, Piece, deal, hybrid_weights, like_lengths


def costs_of(seed, examples=30, most=20, prefix=100, weights=(1.0,)):
    """Examples of up to `most` questions, some of none."""
    rng = np.random.default_rng(seed)
    lengths = [rng.integers(5, 60, rng.integers(0, most + 1)).tolist() for _ in range(examples)]
    lengths[0] = lengths[0] or [7]
    drawn = [[float(rng.choice(weights)) for _ in some] for some in lengths]
    drawn[0][0] = 1.0
    return Costs.of(rng.integers(prefix // 2, prefix + 1, examples).tolist(), lengths, drawn)


def asked(pieces):
    return [(piece.example, question) for piece in pieces for question in piece.questions]


def micro_batches(shares):
    return [micro for share in shares for micro in share if micro is not None]


ANY = {
    "seed": st.integers(0, 10_000),
    "order": st.sampled_from(["epochs", "weights"]),
    "images": st.integers(1, 12),
    "questions": st.integers(1, 9),
    "at_once": st.integers(160, 3000),
    "step": st.integers(0, 500),
}


@given(**ANY, world=st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_a_step_is_the_same_on_any_number_of_processes(seed, order, images, questions, at_once, step, world):
    costs = costs_of(seed, weights=(0.0, 1.0, 2.0))
    chosen = BatchSettings(images, questions, at_once, order)
    batches = Batches(costs, chosen, seed)
    pieces = batches.at(step)
    # a new run that starts here draws the same
    assert Batches(costs, chosen, seed).at(step) == pieces
    shares = batches.micro_batches(step, world)
    assert len(shares) == world and len({len(share) for share in shares}) == 1
    micros = micro_batches(shares)
    assert all(micros)
    # nothing lost, nothing twice
    assert Counter(asked(p for micro in micros for p in micro)) == Counter(asked(pieces))
    for micro in micros:
        assert len(micro) * max(batches.tokens(piece) for piece in micro) <= at_once
    # no process is idle while another has two to do and could hand one over
    idle = min(sum(micro is not None for micro in share) for share in shares)
    assert idle > 0 or all(len(micro) == 1 for micro in micros)
    for piece in pieces:
        assert 1 <= len(piece.questions) <= questions
        assert len(set(piece.questions)) == len(piece.questions)
        start = costs.start_E1[piece.example]
        assert all(costs.weight_Q[start + q] > 0 for q in piece.questions)
        assert costs.start_E1[piece.example + 1] - start > max(piece.questions)
    if order == "weights":
        assert len({piece.example for piece in pieces}) == len(pieces) == batches.images


@given(**{k: v for k, v in ANY.items() if k not in ("order", "at_once", "step")}, epochs=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_every_question_of_a_pass_is_seen_once(seed, images, questions, epochs):
    costs = costs_of(seed, weights=(0.0, 1.0, 1.0, 2.0))
    batches = Batches(costs, BatchSettings(images, questions, 2000, "epochs"), seed)
    expected = Counter()
    for example in range(len(costs.prefix_E)):
        weight_S = costs.weight_Q[costs.start_E1[example] : costs.start_E1[example + 1]]
        expected.update({(example, q): epochs * int(weight) for q, weight in enumerate(weight_S)})
    # enough steps for these passes; the last one may begin the next
    pieces = [piece for step in range(int(np.ceil(epochs * batches.steps_in_epoch))) for piece in batches.at(step)]
    in_passes = pieces[: round(epochs * batches.steps_in_epoch * batches.images)]
    assert Counter(asked(in_passes)) == +expected


def test_passes_are_in_new_orders_and_evenly_cut():
    costs = Costs.of([10, 10], [[5] * 41, [5] * 3])
    batches = Batches(costs, BatchSettings(1, 8, 1000, "epochs"), 3)
    assert batches.steps_in_epoch == 7
    first, second = ([batches.at(step)[0] for step in range(7 * n, 7 * n + 7)] for n in (0, 1))
    assert sorted(len(piece.questions) for piece in first) == [3, 6, 7, 7, 7, 7, 7]
    assert first != second and {p.questions for p in first} != {p.questions for p in second}
    assert Batches(costs, batches.settings, 4).at(0) != batches.at(0)


def test_questions_come_as_often_as_they_weigh():
    # 60 examples alike: of two questions the second weighs three times as much
    costs = Costs.of([10] * 60, [[5] * 4] * 60, [[1.0, 3.0, 0.0, 1.0]] * 60)
    batches = Batches(costs, BatchSettings(6, 1, 1000), 0)
    assert batches.steps_in_epoch == 30  # 180 questions that are ever drawn, 6 at once
    seen = Counter(q for step in range(1500) for _, q in asked(batches.at(step)))
    shares = np.array([seen[q] for q in range(4)]) / sum(seen.values())
    assert shares == pytest.approx([0.2, 0.6, 0.0, 0.2], abs=0.02)


def test_examples_come_as_often_as_their_questions_weigh():
    costs = Costs.of([10] * 80, [[5]] * 40 + [[5] * 3] * 40)
    batches = Batches(costs, BatchSettings(4, 1, 1000), 0)
    seen = Counter(example >= 40 for step in range(1500) for example, _ in asked(batches.at(step)))
    # a little less than 3 to 1, as none comes twice in a step
    assert 2.7 < seen[True] / seen[False] < 3.05


def groundset(images=2000, questions=40):
    """Lengths as in GroundSet for LLaVA-1.6: 2928 tokens an image, and 20 to 300 a question, most of them short."""
    rng = np.random.default_rng(5)
    lengths = np.clip(np.exp(rng.normal(4.3, 0.7, (images, questions))), 20, 300).astype(int)
    return Costs.of([2928] * images, lengths.tolist())


def random_padding(batches, step, rows):
    """Of micro-batches in the order drawn."""
    tokens = [batches.tokens(piece) for piece in batches.at(step)]
    cut = [tokens[i : i + rows] for i in range(0, len(tokens), rows)]
    return 1 - sum(tokens) / sum(len(some) * max(some) for some in cut)


@pytest.mark.parametrize("questions", [1, 8, 40])
def test_little_of_what_is_computed_is_padding(questions):
    batches = Batches(groundset(), BatchSettings(64, questions, 40_000), 0)
    ours, random = [], []
    for step in range(20):
        shares = batches.micro_batches(step, 4)
        ours.append(batches.padding(shares))
        rows = max(map(len, micro_batches(shares)))
        random.append(random_padding(batches, step, rows))
        work = [sum(len(m) * max(map(batches.tokens, m)) for m in share if m) for share in shares]
        assert max(work) < 1.12 * np.mean(work)
    assert np.mean(ours) < 0.02 < 0.1
    assert np.mean(ours) < np.mean(random) / 2


def test_unlike_lengths_are_kept_apart():
    # answers of words beside outlines, without much of an image before them
    rng = np.random.default_rng(0)
    lengths = [[int(n)] for n in np.concatenate([rng.integers(10, 30, 500), rng.integers(900, 1000, 100)])]
    batches = Batches(Costs.of([64] * 600, lengths), BatchSettings(64, 1, 4096), 0)
    waste = np.mean([batches.padding(batches.micro_batches(step, 2)) for step in range(20)])
    assert waste < 0.1 < 0.5 < np.mean([random_padding(batches, step, 4) for step in range(20)])


def test_an_image_that_is_too_much_at_once_is_shown_again():
    batches = Batches(Costs.of([50], [[30] * 7]), BatchSettings(1, 7, 120), 0)
    micros = micro_batches(batches.micro_batches(0))
    assert [[len(piece.questions) for piece in micro] for micro in micros] == [[2], [2], [2], [1]]
    assert sorted(asked(p for micro in micros for p in micro)) == [(0, q) for q in range(7)]


def test_processes_without_a_row_are_idle():
    batches = Batches(Costs.of([50, 60], [[30], [30]]), BatchSettings(2, 1, 120), 0)
    shares = batches.micro_batches(0, 3)
    assert [[None if m is None else len(m) for m in share] for share in shares] == [[1], [1], [None]]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(500, 4000), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_sets_are_few_and_within_what_is_held(lengths, most, world):
    tokens_P = np.array(lengths)
    runs = like_lengths(tokens_P, most, world)
    assert sorted(np.concatenate(runs).tolist()) == list(range(len(lengths)))
    assert all(len(run) * tokens_P[run].max() <= most for run in runs)
    assert len(runs) % world == 0 or len(runs) == len(lengths)
    fewest = len(like_lengths(tokens_P, most))
    assert fewest <= len(runs) < fewest + world
    shares = deal(np.array([len(run) * tokens_P[run].max() for run in runs]), world)
    assert sorted(m for share in shares for m in share) == list(range(len(runs)))
    assert max(map(len, shares)) == -(-len(runs) // world)


REFUSED = {
    # costs, settings, error, what it says
    "too long": (Costs.of([90], [[20, 5]]), BatchSettings(tokens_at_once=100), DatasetError, "110 tokens"),
    "no weight": (Costs.of([9], [[2]], [[0.0]]), BatchSettings(), DatasetError, "no question"),
    "negative": (Costs.of([9], [[2, 2]], [[1.0, -1.0]]), BatchSettings(), ValueError, "negative"),
    "part of a pass": (Costs.of([9], [[2]], [[0.5]]), BatchSettings(order="epochs"), ValueError, "whole number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_drawn_is_refused(name):
    costs, chosen, error, said = REFUSED[name]
    with pytest.raises(error, match=said):
        Batches(costs, chosen, 0)


def test_settings_and_columns_are_checked():
    with pytest.raises(ValueError, match="images_per_step is 0"):
        BatchSettings(images_per_step=0)
    with pytest.raises(ValueError, match="different examples"):
        Costs.of([1, 2], [[3]])
    # a question that is too long but never drawn does no harm
    assert Batches(Costs.of([90], [[20, 5]], [[0, 1]]), BatchSettings(tokens_at_once=100), 0).at(9) == (Piece(0, (1,)),)


# --- hybrid supervision ----------------------------------------------------------------------------------------

HYBRID = {
    "hbb": {"rec", "grec", "detection", "phrase"},
    "obb": {"rec-obb", "grec-obb", "detection-obb"},
    "mask": {"res", "gres", "segment"},
    "prompt_assisted": {"hbb-to-obb", "hbb-to-outline", "obb-to-outline"},
    "geometry_guided": {"obb-to-hbb", "outline-to-hbb", "outline-to-obb"},
}


def test_every_signal_of_geoground_has_its_tasks():
    assert hybrid_weights() == dict.fromkeys(set().union(*HYBRID.values()), 1)
    for signal, names in HYBRID.items():
        assert {task for task, weight in hybrid_weights(**{signal: 0.25}).items() if weight == 0.25} == names
    assert set(hybrid_weights()) < set(TASKS)
