"""From confidences to probabilities of being right, learned on answers whose truth is known."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.optimize import isotonic_regression, minimize

from georefer.errors import InputError
from georefer.runlog import write_json
from georefer.scoring import brier_score, calibration_error

CALIBRATION_FILE = "calibration.json"
"""Beside the answers whose scores it made."""

Method = Literal["platt", "isotonic"]

LEAST, MAX_KNOTS = 1e-6, 1000


@dataclass(frozen=True)
class Calibration:
    """A rising map from confidence to probability: at the confidences `knots_K`, the probabilities `values_K`.

    "platt" has no knots but a slope (one over the temperature) and an offset, on the logit of the confidence. `before`
    and `after` hold the calibration error and the Brier score on the `count` objects it was fitted to; only those of
    other objects say how good it is.
    """

    model: str
    method: Method
    slope: float
    offset: float
    knots_K: tuple[float, ...]
    values_K: tuple[float, ...]
    count: int
    before: dict[str, float]
    after: dict[str, float]

    def __call__(self, confidence_N: np.ndarray) -> np.ndarray:
        """Probabilities of being right (N,); NaN stays NaN."""
        return _applied(self.method, np.asarray(confidence_N), self.slope, self.offset, self.knots_K, self.values_K)

    def save(self, folder: Path) -> Path:
        """Writes it as JSON beside the answers in a folder."""
        write_json(folder / CALIBRATION_FILE, asdict(self))
        return folder / CALIBRATION_FILE


def fit_calibration(confidence_N: np.ndarray, right_N: np.ndarray, model: str, method: Method = "platt") -> Calibration:
    """The calibration of a model's confidences by whether each object was right (1) or wrong (0).

    "platt" (Platt 1999, with his smoothed targets) has two numbers to learn and does with a hundred objects;
    "isotonic" takes any rising form and wants a thousand. Objects without a confidence (NaN) are left out. InputError
    where no object is right, or all are.
    """
    confidence_N, right_N = np.asarray(confidence_N, dtype=np.float64), np.asarray(right_N, dtype=np.float64)
    if confidence_N.shape != right_N.shape:
        raise ValueError(f"confidences {confidence_N.shape} came with outcomes {right_N.shape}; give one for each")
    known_N = ~np.isnan(confidence_N)
    confidence_N, right_N = confidence_N[known_N], right_N[known_N]
    before = _measured(confidence_N, right_N)
    if not 0 < right_N.sum() < len(right_N):
        raise InputError(
            f"{int(right_N.sum())} of {len(right_N)} objects are right, and some of either kind are needed to "
            "calibrate; use more answers"
        )
    slope, offset = 1.0, 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    if method == "platt":
        slope, offset = _platt(confidence_N, right_N)
    else:
        knots, values = _isotonic(confidence_N, right_N)
    after = _measured(_applied(method, confidence_N, slope, offset, knots, values), right_N)
    return Calibration(model, method, slope, offset, knots, values, len(right_N), before, after)


def load_calibration(path: Path, model: str) -> Calibration:
    """The calibration in a folder or file; InputError where it is damaged, or another model's."""
    file = path / CALIBRATION_FILE if path.is_dir() else path
    try:
        row: dict[str, Any] = json.loads(file.read_text())
        found = Calibration(
            str(row["model"]), row["method"], float(row["slope"]), float(row["offset"]),
            tuple(map(float, row["knots_K"])), tuple(map(float, row["values_K"])), int(row["count"]),
            {k: float(v) for k, v in row["before"].items()}, {k: float(v) for k, v in row["after"].items()},
        )  # fmt: skip
        _check(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no calibration ({error}); make it anew") from error
    if found.model != model:
        raise InputError(f"{file} is the calibration of '{found.model}', and '{model}' was expected; make one of it")
    return found


def _check(found: Calibration) -> None:
    values_K, knots_K = np.array(found.values_K), np.array(found.knots_K)
    if found.method not in ("platt", "isotonic") or not np.isfinite([found.slope, found.offset]).all():
        raise ValueError(f"its method is '{found.method}' with slope {found.slope} and offset {found.offset}")
    if found.slope < 0 or len(knots_K) != len(values_K) or (found.method == "isotonic") != (len(knots_K) > 0):
        raise ValueError(f"its slope is {found.slope}, and it has {len(knots_K)} knots with {len(values_K)} values")
    if not ((values_K >= 0) & (values_K <= 1)).all() or (np.diff(values_K) < 0).any() or (np.diff(knots_K) <= 0).any():
        raise ValueError("its values do not rise from 0 to 1")


def _measured(confidence_N: np.ndarray, right_N: np.ndarray) -> dict[str, float]:
    return {"ece": calibration_error(confidence_N, right_N), "brier": brier_score(confidence_N, right_N)}


def _applied(method: Method, confidence_N: np.ndarray, slope: float, offset: float, knots: Any, values: Any) -> Any:
    if method == "isotonic":
        return np.where(np.isnan(confidence_N), np.nan, np.interp(confidence_N, knots, values))
    return 1 / (1 + np.exp(-(slope * _logit(confidence_N) + offset)))


def _logit(confidence_N: np.ndarray) -> np.ndarray:
    inside_N = np.clip(confidence_N, LEAST, 1 - LEAST)
    return np.asarray(np.log(inside_N / (1 - inside_N)))


def _platt(confidence_N: np.ndarray, right_N: np.ndarray) -> tuple[float, float]:
    """Slope, at least 0, and offset of the largest likelihood."""
    logit_N, right = _logit(confidence_N), right_N.sum()
    target_N = np.where(right_N == 1, (right + 1) / (right + 2), 1 / (len(right_N) - right + 2))

    def loss(x_2: np.ndarray) -> tuple[float, np.ndarray]:
        z_N = x_2[0] * logit_N + x_2[1]
        error_N = 1 / (1 + np.exp(-z_N)) - target_N
        return float((np.logaddexp(0, z_N) - target_N * z_N).mean()), np.array(
            [(error_N * logit_N).mean(), error_N.mean()]
        )

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, 50), (-50, 50)])
    return float(found.x[0]), float(found.x[1])


def _isotonic(confidence_N: np.ndarray, right_N: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots and values of the rising step function nearest to the outcomes; linear between the middles of its steps."""
    distinct_U, place_N, count_U = np.unique(confidence_N, return_inverse=True, return_counts=True)
    mean_U = np.bincount(place_N, right_N) / count_U
    level_U = isotonic_regression(mean_U, weights=count_U).x
    step_U = np.concatenate([[0], np.cumsum(np.diff(level_U) > 1e-12)])
    weight_S = np.bincount(step_U, count_U)
    knots_S = np.bincount(step_U, distinct_U * count_U) / weight_S
    values_S = np.bincount(step_U, level_U * count_U) / weight_S
    kept = np.unique(np.linspace(0, len(knots_S) - 1, min(MAX_KNOTS, len(knots_S))).round().astype(int))
    return tuple(knots_S[kept].tolist()), tuple(np.clip(values_S[kept], 0, 1).tolist())
