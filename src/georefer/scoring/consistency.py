"""BCS: whether a model's box, oriented box and mask of one thing agree, beside what its way of writing lets agree.

GeoGround's bounding-box consistency score (arXiv 2411.11904) is the mean IoU of the boxes around the three answers,
pair by pair. What an unparsable answer counts is not published: here it counts 0 in each pair it belongs to, and is
reported. Nor is 1 within reach: perfect answers in GeoGround's text agree to 0.5 on mid-size objects, as oriented
boxes are cut to hundredths of the image and masks to 16 or 32 cells a side. So a BCS stands beside its ceiling, which
is that of the true shapes written and read in the same dialect. Agreement is no accuracy: who always answers with the
whole image agrees with himself entirely. "grounded" therefore counts a pair only as far as both also agree with the
truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame, Kind, Objects, hbb_iou
from georefer.scoring.ratio import Ratio, Row

SIGNALS: tuple[Kind, ...] = ("hbb", "obb", "mask")
PAIRS: tuple[tuple[Kind, Kind], ...] = tuple(combinations(SIGNALS, 2))

Said = Mapping[Kind, shapely.Geometry | None]
"""What was answered to each of two or three signals asked; None for what could not be read or said there is nothing."""


def pair_name(one: Kind, other: Kind) -> str:
    """Such as "hbb-mask"."""
    return f"{one}-{other}"


def consistency_row(said: Said, ceiling: Said | None = None, truth: shapely.Geometry | None = None) -> Row:
    """One thing's agreement as a row; `ceiling` are the answers of a perfect model, see `perfect_answers`.

    Only pairs of signals that were asked count. The boxes around the shapes are compared, as published. With a
    `truth` a pair also counts as "grounded": the smallest IoU among both answers and the truth.
    """
    asked = [signal for signal in SIGNALS if signal in said]
    if len(asked) < 2 or (ceiling is not None and not set(asked) <= set(ceiling)):
        raise ValueError(
            f"answers to {', '.join(asked) or 'nothing'} came with a ceiling of {', '.join(ceiling or ()) or 'none'}; "
            "two signals or more can agree, and a ceiling must hold the same"
        )
    pairs = [pair for pair in PAIRS if set(pair) <= set(asked)]
    row = {"bcs_pairs": float(len(pairs)), "bcs_sum": 0.0, "bcs_read_pairs": 0.0, "bcs_ceiling": 0.0}
    row["bcs_grounded"] = 0.0
    for pair in PAIRS:
        name, counts = pair_name(*pair), pair in pairs
        iou = _box_iou(said[pair[0]], said[pair[1]]) if counts else 0.0
        top = _box_iou(ceiling[pair[0]], ceiling[pair[1]]) if counts and ceiling is not None else 0.0
        row |= {f"bcs_pairs:{name}": float(counts), f"bcs_sum:{name}": iou, f"bcs_ceiling:{name}": top}
        row["bcs_sum"] += iou
        row["bcs_ceiling"] += top
        row["bcs_grounded"] += min(iou, *(_box_iou(said[signal], truth) for signal in pair)) if counts else 0.0
        row["bcs_read_pairs"] += float(counts and all(_is_there(said[signal]) for signal in pair))
    for signal in SIGNALS:
        row[f"bcs_asked:{signal}"] = float(signal in asked)
        row[f"bcs_unread:{signal}"] = float(signal in asked and not _is_there(said[signal]))
    return row


def consistency_ratios() -> dict[str, Ratio]:
    """Over rows of `consistency_row`: "bcs" and "bcs:hbb-obb", ... with their "ceiling" and "of_ceiling".

    "bcs:read" is over pairs of answers that could be read; "unread:mask" and the like are the shares that could not.
    Where all questions ask the same signals, "bcs" is the mean of its pairs. "ceiling" and "of_ceiling" mean
    something only where every row came with a ceiling, "grounded" only where each came with a truth.
    """
    ratios = {"bcs": Ratio({"bcs_sum": 1}, {"bcs_pairs": 1})}
    ratios["grounded"] = Ratio({"bcs_grounded": 1}, {"bcs_pairs": 1})
    ratios["ceiling"] = Ratio({"bcs_ceiling": 1}, {"bcs_pairs": 1})
    ratios["of_ceiling"] = Ratio({"bcs_sum": 1}, {"bcs_ceiling": 1})
    ratios["bcs:read"] = Ratio({"bcs_sum": 1}, {"bcs_read_pairs": 1})
    for name in (pair_name(*pair) for pair in PAIRS):
        ratios[f"bcs:{name}"] = Ratio({f"bcs_sum:{name}": 1}, {f"bcs_pairs:{name}": 1})
        ratios[f"ceiling:{name}"] = Ratio({f"bcs_ceiling:{name}": 1}, {f"bcs_pairs:{name}": 1})
        ratios[f"of_ceiling:{name}"] = Ratio({f"bcs_sum:{name}": 1}, {f"bcs_ceiling:{name}": 1})
    unread = {f"unread:{s}": Ratio({f"bcs_unread:{s}": 1}, {f"bcs_asked:{s}": 1}) for s in SIGNALS}
    return ratios | unread


def perfect_answers(
    dialect: Dialect, shape: shapely.Geometry, frame: Frame, signals: Sequence[Kind] | None = None
) -> Said:
    """What a model without error would be read as: the true area's box, oriented box and mask, written and read.

    `signals` default to those of the three that the dialect can say. None stands for what its steps make vanish.
    """
    asked = [s for s in SIGNALS if s in dialect.kinds] if signals is None else list(signals)
    truth = Objects.of([shape], ["thing"])
    as_kind = {"hbb": truth.to_hbb, "obb": truth.to_obb, "mask": lambda: truth.replaced(truth.geometries_N, "mask")}
    said: dict[Kind, shapely.Geometry | None] = {}
    for signal in asked:
        said[signal] = one_shape(dialect.read(dialect.write(as_kind[signal](), frame, labelled=False), frame))
    return said


def one_shape(reading: Reading) -> shapely.Geometry | None:
    """The shape that an answer about one thing says; None where it says none, or several to choose from."""
    found = reading.areas
    return found.geometries_N[0] if len(found) == 1 else None


def _box_iou(one: shapely.Geometry | None, other: shapely.Geometry | None) -> float:
    if one is None or other is None:
        return 0.0
    boxes_24 = shapely.bounds(np.array([one, other], dtype=object))
    return float(hbb_iou(boxes_24[:1], boxes_24[1:])[0, 0])


def _is_there(shape: shapely.Geometry | None) -> bool:
    return shape is not None and not shape.is_empty
