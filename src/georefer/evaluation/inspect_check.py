"""Whether a learned answer says the truth: as text, as shapes within what the dialect promises, and as a score."""

from __future__ import annotations

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.evaluation.inspect_seen import Learned
from georefer.geometry import Frame, Kind, Objects, shape_iou
from georefer.scenes import Question, Scene
from georefer.tasks import TASKS, truth
from georefer.tasks.graph import SceneGraph

THIN_STEPS = 2.1
"""Shapes thinner than so many steps are widened by some dialects, by up to a step."""

LEAST_IOU = 0.5
"""For shapes of which a dialect promises no distance: outlines that it simplifies, masks where a cell says little."""


def differences(
    learned: Learned, reading: Reading, answer: str, question: Question, scene: Scene, dialect: Dialect, frame: Frame
) -> list[str]:
    """What is wrong with a learned answer, in words; nothing where it says what the dataset holds.

    `reading` is the learned text read back in the frame in which the model sees the scene, `answer` what the task
    wrote. KeyError or ValueError where the question refers to what the scene has not.
    """
    found = []
    if learned.answer != answer:
        found.append("the learned tokens do not spell the answer")
    if not learned.is_ended:
        found.append("the end of the answer is not learned once")
    task = TASKS[question.task]
    form = task.form
    if question.answer_text is None and form is not None:
        found += _shape_differences(reading, form.of(truth(question, scene), dialect), scene, dialect, frame)
    if form is None or isinstance(task, SceneGraph):
        row = task.score(reading, question, scene)
        (top,), (bottom,) = next(iter(task.measures.values())).terms([row])
        if top < bottom * (1 - 1e-9):
            found.append(f"read back, the answer scores {top / bottom:.2f}")
    return found


def _shape_differences(reading: Reading, gold: Objects, scene: Scene, dialect: Dialect, frame: Frame) -> list[str]:
    said = reading.objects if set(gold.kinds_N) & {"point", "line"} else reading.areas
    if not len(gold):
        return [] if reading.says_none and not len(said) else ["something is said where there is nothing"]
    if len(gold) > len(said) == 1 and set(gold.kinds_N) == {"mask"}:
        # some dialects say all masks of an answer as one
        gold = gold[:1].replaced([shapely.union_all(gold.geometries_N)])
    fits_SG = _fits(said, gold, scene, dialect, frame)
    missed, false = int((~fits_SG.any(axis=0)).sum()), int((~fits_SG.any(axis=1)).sum())
    found = []
    if missed:
        worst = _farthest(said, gold[~fits_SG.any(axis=0)])
        how_far = "" if worst is None else f" (by {worst:.1f} px)"
        found.append(f"{missed} of {len(gold)} true shapes are not said where the dialect could say them{how_far}")
    if false > missed:
        found.append(f"{false} of {len(said)} shapes said are none of the true ones")
    return found


def _farthest(said: Objects, gold: Objects) -> float | None:
    if not len(said):
        return None
    apart_SG = np.abs(said.hbb_N4[:, None] - gold.hbb_N4[None]).max(axis=2)
    return float(apart_SG.min(axis=0).max())


def _fits(said: Objects, gold: Objects, scene: Scene, dialect: Dialect, frame: Frame) -> np.ndarray:
    """Which shapes said (S, G) may stand for which true ones."""
    said, seen = (o.replaced(_within(o.geometries_N, scene)) for o in (said, gold))
    fits_SG = np.zeros((len(said), len(gold)), dtype=bool)
    for kind in dict.fromkeys(gold.kinds_N.tolist()):
        of_kind = gold.kinds_N == kind
        fits_SG[:, of_kind] = _fits_kind(said, seen[of_kind], kind, dialect, frame)
    return fits_SG


def _fits_kind(said: Objects, gold: Objects, kind: Kind, dialect: Dialect, frame: Frame) -> np.ndarray:
    steps = dialect.turned_steps if kind == "obb" and dialect.turned_steps else dialect.steps
    error_2, step_2 = np.array(steps.error_px(frame)), np.array(steps.step_px(frame))
    # a shape thinner than a step or two is widened
    sides_G2 = gold.hbb_N4[:, 2:] - gold.hbb_N4[:, :2]
    allowed_G2 = error_2 * (1 + 1e-6) + 1e-6 + np.where(sides_G2 < THIN_STEPS * step_2, step_2, 0.0)
    apart_SG4 = np.abs(said.hbb_N4[:, None] - gold.hbb_N4[None])
    if kind == "hbb":
        return (apart_SG4 <= np.tile(allowed_G2, 2)[None]).all(axis=2)
    allowed_G = np.hypot(*allowed_G2.T)
    if kind == "obb":
        # sides are rounded as well as the middle, and headings to whole degrees
        allowed_G = 2 * allowed_G + np.hypot(*sides_G2.T) / 2 * np.sin(np.deg2rad(1.0))
    elif kind == "mask" and dialect.cells:
        allowed_G = allowed_G + np.hypot(frame.extent_width, frame.extent_height) / dialect.cells
    near_SG = (apart_SG4 <= allowed_G[None, :, None] + 1e-9).all(axis=2)
    fits_SG = np.zeros(near_SG.shape, dtype=bool)
    s, g = np.nonzero(near_SG)
    apart_P = shapely.hausdorff_distance(said.geometries_N[s], gold.geometries_N[g])
    fits_SG[s, g] = apart_P <= allowed_G[g]
    if kind in ("polygon", "mask"):
        inexact_G = np.array([kind == "mask" or not _is_plain(shape, dialect) for shape in gold.geometries_N])
        fits_SG[:, inexact_G] |= shape_iou(said.geometries_N, gold.geometries_N[inexact_G], as_boxes=False) >= LEAST_IOU
    return fits_SG


def _is_plain(shape: shapely.Geometry, dialect: Dialect) -> bool:
    """Whether every point of an outline is said, so that the dialect's steps bound how far it can move."""
    points = getattr(dialect, "points", 4)
    if shape.geom_type != "Polygon" or shape.interiors or len(shape.exterior.coords) - 1 > points:
        return False
    # points that fall together or lines that cross after rounding are repaired
    return shape.area > 0.3 * shapely.box(*shape.bounds).area


def _within(shapes_N: np.ndarray, scene: Scene) -> np.ndarray:
    """Shapes where the scene ends: what lies outside is not seen, and not said by every dialect."""
    whole = shapely.box(0, 0, *scene.size)
    inside_N = shapely.covered_by(shapes_N, whole)
    if inside_N.all():
        return shapes_N
    return np.where(inside_N, shapes_N, shapely.intersection(shapely.make_valid(shapes_N), whole))
