"""Answers measured in tokens before a model learns them: made shorter, asked in parts or left out, never cut off.

An answer that is longer than a segment may be is, in this order,

- simplified, where outlines are said corner by corner: every shape with an IoU of at least `least_iou` to what is
  true (a grid of cells is as long as its rows, whatever the outline, so that masks get no shorter);
- split, where all of several objects are asked for: halves of the image, then quarters, then sixteenths, each a
  question of its own ("Only those whose middle lies in the left half of the image."), which is true because the middle
  of a bounding box lies in exactly one of them;
- dropped, and counted with the reason.

Which tasks are split is `SPLIT`. The others are not, since no part of their answer truly answers a smaller question:
one object (REC, RES, GeoGround's given shapes) has no parts; relations of a graph reach from part to part, and would be
in none; words (captions, choices, counts, classes) speak of the whole image; a thought tells what the whole holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import shapely

from georefer.dialects import Dialect
from georefer.errors import DatasetError, RasterError
from georefer.geometry import Frame
from georefer.geometry.overlap import polygon_iou_pairs
from georefer.models.packed import Segment
from georefer.scenes import Question, Scene
from georefer.tasks import OUTLINE, Task, Turn
from georefer.tasks.description import middles
from georefer.tasks.detection import Detection
from georefer.tasks.given import restored, stored
from georefer.tasks.phrase import Phrase
from georefer.tasks.relation import ObjectReasoning

LEAST_IOU = 0.95

SPLIT = (Detection, Phrase, ObjectReasoning)
"""Tasks that ask for all of several objects, generalised referring among them as a kind of detection."""

_PARTITIONS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("left half", "right half"),),
    (("top half",), ("bottom half",)),
    (("top left quarter", "top right quarter"), ("bottom left quarter", "bottom right quarter")),
    tuple(
        tuple(f"part in column {x} of 4 from the left and row {y} of 4 from the top" for x in range(1, 5))
        for y in range(1, 5)
    ),
)
"""Rows of equal parts of the image, as they are said."""

UNSAYABLE = "the dialect has no words for it"
LONG_PROMPT = "the prompt alone is too long"
ONE_OBJECT = "one object is too long"
LONG_LIST = "too long, and no part of it is a question"
LONG_WORDS = "words are too long"
_TOLERANCES, _FINER, _BISECTIONS = 16, 1.5, 10

How = Literal["whole", "simplified", "split", "dropped"]
Count = Callable[[str, str], int]
"""Tokens of the segment that a prompt and its answer make."""


@dataclass(frozen=True)
class Fitted:
    """What became of one question: the turns to learn, each within the limit.

    `reason` says why something was dropped: the question, or `lost` parts of one that was split. `iou` is the least
    measured one between the shapes said and the true ones.
    """

    turns: tuple[Turn, ...]
    how: How
    reason: str = ""
    lost: int = 0
    iou: float = 1.0


def fit(
    question: Question, scene: Scene, task: Task, dialect: Dialect, frame: Frame, count: Count, limit: int, *,
    least_iou: float = LEAST_IOU,
) -> Fitted:  # fmt: skip
    """The question as turns of at most `limit` tokens each; unchanged where it is short enough."""
    desk = _Desk(scene, task, dialect, frame, count, limit, least_iou)
    try:
        turn = desk.turn(question, scene)
        if desk.fits(turn):
            return Fitted((turn,), "whole")
        return desk.simplified(question) or desk.split(question) or Fitted((), "dropped", desk.reason(question, turn))
    except ValueError:
        # what writing raises, by the dialects' contract, for a kind, a label or a shape that they cannot say
        return Fitted((), "dropped", UNSAYABLE)


@dataclass(frozen=True, eq=False)
class _Desk:
    """One scene's questions of one task, being written."""

    scene: Scene
    task: Task
    dialect: Dialect
    frame: Frame
    count: Count
    limit: int
    least_iou: float

    def turn(self, question: Question, scene: Scene, only: str = "") -> Turn:
        prompt = self.task.prompt(question, self.dialect, self.frame)
        return Turn(prompt + only, self.task.answer(question, scene, self.dialect, self.frame))

    def fits(self, turn: Turn) -> bool:
        return self.count(turn.prompt, turn.answer) <= self.limit

    def reason(self, question: Question, turn: Turn) -> str:
        if self.count(turn.prompt, "") > self.limit:
            return LONG_PROMPT
        if question.answer_text is not None or self.task.form is None:
            return LONG_WORDS
        return ONE_OBJECT if len(question.answer_ids) == 1 else LONG_LIST

    # --- shorter ----------------------------------------------------------------------------------------------

    def simplified(self, question: Question, only: str = "") -> Fitted | None:
        """With outlines as exact as fits, found by bisection over the tolerance; None where none is short enough."""
        given = getattr(self.task, "given", None)
        if OUTLINE not in (self.task.form, given) or "polygon" not in self.dialect.kinds:
            return None
        asked = np.isin(self.scene.objects.ids_N, question.answer_ids)
        shapes_A = self.scene.objects.geometries_N[asked]
        area_A = shapely.area(shapes_A)
        if not (area_A > 0).any() or (given == OUTLINE and not _gives_own(question, shapes_A)):
            return None

        def at(tolerance: float) -> Fitted | None:
            simple_A, iou = simplify(shapes_A, tolerance, self.least_iou)
            geometries_N = self.scene.objects.geometries_N.copy()
            geometries_N[asked] = simple_A
            scene = replace(self.scene, objects=self.scene.objects.replaced(geometries_N))
            turn = self.turn(_with_given(question, scene) if given == OUTLINE else question, scene, only)
            return Fitted((turn,), "simplified", iou=iou) if self.fits(turn) else None

        # corners on a straight edge cost nothing
        low, high = 0.0, float(np.sqrt(area_A.max()))
        if (best := at(low)) or (best := at(high)) is None:
            return best
        for _ in range(_BISECTIONS):
            middle = np.sqrt(low * high) if low else high / 64
            found = at(middle)
            low, high = (low, middle) if found else (middle, high)
            best = found or best
        return best

    # --- in parts ---------------------------------------------------------------------------------------------

    def split(self, question: Question) -> Fitted | None:
        """The parts of the coarsest partition of which all fit; of the finest, those that do. None where none does.

        Parts without an object are not asked for.
        """
        if not isinstance(self.task, SPLIT) or len(question.answer_ids) < 2 or question.params.get("thought"):
            return None
        middle_N2 = middles(self.scene.objects.with_ids(question.answer_ids), self.scene.size)
        ids_N = np.array(question.answer_ids, dtype=object)
        found = None
        for rows in _PARTITIONS:
            at_N2 = middle_N2 * (len(rows[0]), len(rows))
            # a middle right on a line between parts lies in neither, so that they cannot be asked about
            if ((at_N2 == np.round(at_N2)) & (middle_N2 > 0) & (middle_N2 < 1)).any():
                continue
            column_N, row_N = np.clip(at_N2.astype(int), 0, (len(rows[0]) - 1, len(rows) - 1)).T
            inside = [
                (words, (row_N == y) & (column_N == x)) for y, row in enumerate(rows) for x, words in enumerate(row)
            ]
            filled = [(words, tuple(ids_N[within_N])) for words, within_N in inside if within_N.any()]
            parts = [self._part(replace(question, answer_ids=ids), words) for words, ids in filled]
            kept = [part for part in parts if part]
            lost = len(parts) - len(kept)
            if kept:
                turns = tuple(turn for part in kept for turn in part.turns)
                iou = min(part.iou for part in kept)
                found = Fitted(turns, "split", LONG_LIST if lost else "", lost, iou)
            if not lost:
                break
        return found

    def _part(self, question: Question, words: str) -> Fitted | None:
        only = f" Only those whose middle lies in the {words} of the image."
        turn = self.turn(question, self.scene, only)
        return Fitted((turn,), "whole") if self.fits(turn) else self.simplified(question, only)


def _gives_own(question: Question, shapes_A: np.ndarray) -> bool:
    """Whether what is given is the outline of the one object asked about, and not somebody's guess at it."""
    given_1 = restored([question.params["given_px"]]).geometries_N
    return len(shapes_A) == 1 and float(polygon_iou_pairs(given_1, shapes_A)[0]) > 1 - 1e-6


def _with_given(question: Question, scene: Scene) -> Question:
    """The question with the object's own outline as the one that is given, so that the answer follows from it."""
    given = restored([question.params["given_px"]]).replaced(scene.objects.with_ids(question.answer_ids).geometries_N)
    return replace(question, params={**question.params, "given_px": stored(given)[0]})


def simplify(shapes_N: np.ndarray, tolerance: float, least_iou: float = LEAST_IOU) -> tuple[np.ndarray, float]:
    """Areas with as few corners as a tolerance in pixels leaves, and the least IoU to what they were.

    Each is simplified by Douglas and Peucker's rule, without ever crossing itself; where its own IoU would be less
    than `least_iou`, by the largest of ever smaller tolerances that keeps it, or not at all.
    """
    simple_N, iou_N = np.array(shapes_N, dtype=object), np.ones(len(shapes_N))
    area_N = shapely.area(simple_N)
    open_I = np.flatnonzero(area_N > 0)
    # beyond its own size no tolerance keeps a shape
    tolerance_N = np.minimum(tolerance, np.sqrt(area_N))
    for step in range(_TOLERANCES):
        if not len(open_I):
            break
        tried_I = shapely.simplify(simple_N[open_I], tolerance_N[open_I] / _FINER**step, preserve_topology=True)
        measured_I = np.where(shapely.is_valid(tried_I), polygon_iou_pairs(tried_I, simple_N[open_I]), 0.0)
        good_I = measured_I >= least_iou
        simple_N[open_I[good_I]], iou_N[open_I[good_I]] = tried_I[good_I], measured_I[good_I]
        open_I = open_I[~good_I]
    return simple_N, float(iou_N.min(initial=1.0))


# --- accounts --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """What became of all questions, by task: "whole", "simplified", "split", "dropped: ..." add up to the questions.

    Beside them stand the "parts" learned of those split and the "parts dropped". Accounts of parts of the data add
    up with +.
    """

    tasks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    iou: float = 1.0
    """The least between a simplified shape and the true one."""

    @classmethod
    def of(cls, fitted: Iterable[tuple[str, Fitted]]) -> Account:
        """Of pairs (task's name, what became of the question)."""
        tasks: dict[str, Counter[str]] = {}
        least = 1.0
        for task, each in fitted:
            counts = tasks.setdefault(task, Counter())
            counts[f"dropped: {each.reason}" if each.how == "dropped" else each.how] += 1
            if each.how == "split":
                counts.update({"parts": len(each.turns), "parts dropped": each.lost})
            least = min(least, each.iou)
        return cls({task: dict(counts) for task, counts in tasks.items()}, least)

    def __add__(self, other: Account) -> Account:
        names = [*self.tasks, *(name for name in other.tasks if name not in self.tasks)]
        added = {name: dict(Counter(self.tasks.get(name, {})) + Counter(other.tasks.get(name, {}))) for name in names}
        return Account(added, min(self.iou, other.iou))

    @property
    def counts(self) -> dict[str, int]:
        """Of all tasks together."""
        return dict(sum(map(Counter, self.tasks.values()), Counter()))

    @property
    def questions(self) -> int:
        return sum(n for name, n in self.counts.items() if not name.startswith("parts"))

    @property
    def turns(self) -> int:
        """How many are learned from."""
        return sum(self.counts.get(name, 0) for name in ("whole", "simplified", "parts"))

    @property
    def dropped(self) -> int:
        return sum(n for name, n in self.counts.items() if name.startswith("dropped: "))

    def line(self) -> str:
        """All of it in one line, for people."""
        counts = self.counts
        said = [f"{self.questions:,} questions: {counts.get('whole', 0):,} whole"]
        if simplified := counts.get("simplified"):
            said.append(f"{simplified:,} simplified (IoU at least {self.iou:.3f})")
        if split := counts.get("split"):
            lost = f" and {counts['parts dropped']:,} dropped" if counts.get("parts dropped") else ""
            said.append(f"{split:,} split into {counts['parts']:,}{lost}")
        if self.dropped:
            said.append(f"{self.dropped:,} dropped ({', '.join(self._reasons())})")
        return ", ".join(said)

    def _reasons(self) -> list[str]:
        """As in "segment 3: one object is too long", the most first."""
        drops = [
            (n, task, name.removeprefix("dropped: "))
            for task, counts in self.tasks.items()
            for name, n in counts.items()
            if name.startswith("dropped: ")
        ]
        return [f"{task} {n:,}: {reason}" for n, task, reason in sorted(drops, key=lambda drop: (-drop[0], *drop[1:]))]

    def plain(self) -> dict[str, Any]:
        """Plain JSON values, for training.json."""
        tasks = {task: dict(counts) for task, counts in self.tasks.items()}
        return {"questions": self.questions, "turns": self.turns, "least_iou": self.iou, "tasks": tasks}


# --- what nothing can be learned from ----------------------------------------------------------------------------


def checked(segment: Segment, question: Question) -> Segment:
    """The segment; DatasetError names the question where there is nothing in it to learn."""
    if not any(segment.learn):
        raise DatasetError(
            f"question {question.id} was found to have no token to learn, where at least one is expected; "
            "check its answer, or leave its task out (task_weights)"
        )
    return segment


def pixels_of(scene: Scene, where: str = "") -> np.ndarray:
    """The scene's image; DatasetError names the scene, and the dataset `where` it is, if it cannot be decoded."""
    place = f"{where}: " if where else ""
    if not scene.image:
        raise DatasetError(f"{place}scene {scene.id} has no image where one is expected; build the dataset again")
    try:
        image_HW3 = scene.pixels()
    except RasterError as error:
        raise DatasetError(f"{place}scene {scene.id}: {error}") from error
    if image_HW3.shape[1::-1] != scene.size:
        raise DatasetError(
            f"{place}scene {scene.id} has an image of {image_HW3.shape[1]} x {image_HW3.shape[0]} pixels where "
            f"{scene.size[0]} x {scene.size[1]} are expected; build the dataset again"
        )
    return image_HW3
