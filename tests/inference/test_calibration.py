"""Confidences become probabilities of being right, in rising order."""

import json

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.inference.calibration import CALIBRATION_FILE, fit_calibration, load_calibration
from georefer.scoring import calibration_error


def answers(count, seed):
    """Confidences that are far too low, as the least of several probabilities is: right by sigmoid(2 logit + 2)."""
    rng = np.random.default_rng(seed)
    confidence_N = rng.uniform(0.02, 0.98, count)
    chance_N = 1 / (1 + np.exp(-(2 * np.log(confidence_N / (1 - confidence_N)) + 2)))
    return confidence_N, (rng.random(count) < chance_N).astype(float), chance_N


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_other_answers_are_calibrated_too(method):
    calibration = fit_calibration(*answers(3000, 0)[:2], "tiny", method)
    confidence_N, right_N, chance_N = answers(3000, 1)
    found_N = calibration(confidence_N)
    assert calibration_error(confidence_N, right_N) > 0.15
    assert calibration_error(found_N, right_N) < 0.04
    assert np.abs(found_N - chance_N).mean() < 0.03
    assert (np.diff(found_N[np.argsort(confidence_N)]) >= 0).all()
    assert ((found_N >= 0) & (found_N <= 1)).all()
    assert calibration.after["ece"] < calibration.before["ece"]
    assert calibration.after["brier"] < calibration.before["brier"]
    assert calibration.count == 3000


def test_what_is_learned_is_what_was_made():
    calibration = fit_calibration(*answers(20_000, 2)[:2], "tiny")
    assert (calibration.slope, calibration.offset) == pytest.approx((2, 2), abs=0.1)


def test_isotonic_regression_by_hand():
    """0.2 and 0.4 pool to one step of a third right; knots are the mean confidence of each step."""
    calibration = fit_calibration([0.1, 0.2, 0.2, 0.4, 0.9], [0, 1, 0, 0, 1], "tiny", "isotonic")
    assert calibration.knots_K == pytest.approx((0.1, 0.8 / 3, 0.9))
    assert calibration.values_K == pytest.approx((0, 1 / 3, 1))
    assert calibration(np.array([0.0, 0.8 / 3, 1.0])) == pytest.approx([0, 1 / 3, 1])


def test_the_ends_and_no_confidence():
    for method in ("platt", "isotonic"):
        calibration = fit_calibration([0.0, 1.0, 0.5, 0.5, np.nan], [0, 1, 0, 1, 1], "tiny", method)
        found = calibration(np.array([0.0, 1.0, np.nan]))
        assert np.isnan(found[2])
        assert 0 <= found[0] < found[1] <= 1
        assert calibration.count == 4


def test_confidences_that_mislead_tell_nothing():
    """The more sure, the more wrong: no rising map does better than the share that is right."""
    confidence_N = np.linspace(0.1, 0.9, 200)
    for method in ("platt", "isotonic"):
        found_N = fit_calibration(confidence_N, confidence_N < 0.5, "tiny", method)(confidence_N)
        assert np.allclose(found_N, 0.5, atol=0.01)


@pytest.mark.parametrize("right", [[1, 1, 1], [0, 0, 0], []])
def test_one_kind_of_outcome_is_not_enough(right):
    with pytest.raises(InputError, match="use more answers"):
        fit_calibration(np.full(len(right), 0.5), right, "tiny")


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_it_is_kept_beside_the_answers(tmp_path, method):
    calibration = fit_calibration(*answers(300, 3)[:2], "tiny-1", method)
    assert calibration.save(tmp_path) == tmp_path / CALIBRATION_FILE
    assert load_calibration(tmp_path, "tiny-1") == calibration
    assert load_calibration(tmp_path / CALIBRATION_FILE, "tiny-1") == calibration
    with pytest.raises(InputError, match="'tiny-2' was expected"):
        load_calibration(tmp_path, "tiny-2")


@pytest.mark.parametrize(
    "damage",
    [
        {"method": "guess"},
        {"slope": -1},
        {"slope": None},
        {"knots_K": [0.1, 0.5], "values_K": [0.9, 0.1], "method": "isotonic"},  # falls
        {"knots_K": [0.5, 0.1], "values_K": [0.1, 0.9], "method": "isotonic"},  # out of order
        {"knots_K": [0.5], "values_K": [2.0], "method": "isotonic"},
        {"knots_K": [0.5], "values_K": [], "method": "isotonic"},
        {"method": "isotonic"},  # without knots
        {"before": 3},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    file = fit_calibration(*answers(300, 3)[:2], "tiny").save(tmp_path)
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    with pytest.raises(InputError, match="no calibration"):
        load_calibration(tmp_path, "tiny")
    file.write_text("[1, 2")
    with pytest.raises(InputError, match="no calibration"):
        load_calibration(tmp_path, "tiny")
    with pytest.raises(InputError, match="no calibration"):
        load_calibration(tmp_path / "nowhere", "tiny")
