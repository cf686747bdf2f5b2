"""How a model sees a scene and learns an answer, taken from what training itself hands to it.

The picture comes out of the tensor that the model's own image path makes, the text out of the ids and targets of a
packed batch. Where the picture shows a scene is measured by sending ramps of grey through the same path, so that a
frame that says something else is found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np

from georefer.dialects import Dialect
from georefer.geometry import Frame
from georefer.tasks import Turn

TOP = 255 * 0.809
"""Level at a ramp's end: a golden part of the range, since steps near whole levels would round all one way."""

AGREE_PX = 0.25
"""Pixels of the model's picture by which frame and picture may differ: what ramps of 256 levels can be off."""

LEAST_PX = 16
"""Side of a scene below which a ramp has no slope to be measured."""

LONGEST = 8192
"""Tokens of a question that are packed as training does; the attention mask grows with their square."""


@dataclass(frozen=True)
class Token:
    """One token as text; several ids where only together they are whole characters, or one id many times over."""

    text: str
    ids: tuple[int, ...]
    is_learned: bool
    is_special: bool


@dataclass(frozen=True)
class Learned:
    """One turn as it is learned: what was given, and the text of the learned tokens.

    `tokens` is empty where there is no model whose tokens could be shown.
    """

    asked: str
    answer: str
    tokens: tuple[Token, ...] = ()
    is_ended: bool = True


class Sight(Protocol):
    """What is needed of a model: its frame and dialect, the picture it gets (uint8, RGB), its tokens."""

    @property
    def name(self) -> str: ...

    @property
    def dialect(self) -> Dialect: ...

    @property
    def has_tokens(self) -> bool: ...

    def frame_for(self, size: tuple[int, int]) -> Frame: ...

    def seen(self, image_HW3: np.ndarray) -> np.ndarray: ...

    def learned(self, turn: Turn, size: tuple[int, int]) -> Learned: ...

    def length(self, answer: str) -> int: ...


@dataclass(frozen=True)
class DialectSight:
    """No model: the picture as the frame of a dialect shows it, and text without tokens."""

    dialect: Dialect
    has_tokens: bool = False

    @property
    def name(self) -> str:
        return f"no model, dialect {self.dialect.name}"

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return self.dialect.frame_for(size)

    def seen(self, image_HW3: np.ndarray) -> np.ndarray:
        return through_frame(image_HW3, self.frame_for((image_HW3.shape[1], image_HW3.shape[0])))

    def learned(self, turn: Turn, size: tuple[int, int]) -> Learned:
        return Learned(turn.prompt, turn.answer)

    def length(self, answer: str) -> int:
        """In characters."""
        return len(answer)


@dataclass(frozen=True, eq=False)
class ModelSight:
    """A model that is trained here (`georefer.models.transformers_model.TransformersModel`): its picture and tokens.

    Of a model that cuts an image into tiles it is the view that shows the whole.
    """

    model: Any
    has_tokens: bool = True

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def dialect(self) -> Dialect:
        return self.model.dialect

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return self.model.frame_for(size)

    def seen(self, image_HW3: np.ndarray) -> np.ndarray:
        picture_HW3 = self.model.family.pictures(image_HW3)[0]
        return np.rint(picture_HW3 * 255.0).clip(0, 255).astype(np.uint8)

    def learned(self, turn: Turn, size: tuple[int, int]) -> Learned:
        tokenizer = self.model.speech.tokenizer
        ids, is_learned = self._batch(turn, size)
        begin = next((i for i, learn in enumerate(is_learned) if learn), len(ids))
        said = [id_ for id_, learn in zip(ids, is_learned, strict=True) if learn]
        ends = self.model.end_ids
        return Learned(
            tokenizer.decode(ids[:begin], skip_special_tokens=True),
            self.model.speech.answer(said),
            _tokens(ids, is_learned, tokenizer),
            is_ended=bool(said) and said[-1] in ends and sum(id_ in ends for id_ in said) == 1,
        )

    def length(self, answer: str) -> int:
        """In tokens, the end among them."""
        return sum(self.model.segment("", answer).learn)

    def _batch(self, turn: Turn, size: tuple[int, int]) -> tuple[list[int], list[bool]]:
        """The ids of a row of a training batch, and which of them are learned.

        A target stands at the token before the one that it is, and what is learned is the target.
        """
        from georefer.models.packed import NOT_LEARNED, pack

        group = self.model.group(size, [(turn.prompt, turn.answer)], 0)
        (segment,) = group.segments
        if len(group.prefix) + len(segment.ids) > LONGEST:
            return [*group.prefix.ids, *segment.ids], [False] * len(group.prefix) + list(segment.learn)
        batch = pack([[group]], {}, pad_id=self.model.speech.pad_id)
        given, targets = batch.ids_BT[0].tolist(), [NOT_LEARNED, *batch.targets_BT[0].tolist()[:-1]]
        is_learned = [target != NOT_LEARNED for target in targets]
        return [t if learn else g for g, t, learn in zip(given, targets, is_learned, strict=True)], is_learned


def _tokens(ids: Sequence[int], is_learned: Sequence[bool], tokenizer: Any) -> tuple[Token, ...]:
    """Tokens as text: bytes of one character together, and the image's placeholders as one with their number."""
    special = set(tokenizer.all_special_ids)
    tokens: list[Token] = []
    place = 0
    while place < len(ids):
        kind, end = (ids[place] in special, is_learned[place]), place + 1
        text = tokenizer.decode(ids[place:end])
        if kind[0]:
            while end < len(ids) and ids[end] == ids[place] and is_learned[end] == kind[1]:
                end += 1
            text += f" × {end - place}" if end - place > 1 else ""
        else:
            # a character beyond ASCII is up to four tokens of a byte each
            while (
                "\ufffd" in text and end < min(len(ids), place + 4) and (ids[end] in special, is_learned[end]) == kind
            ):
                end += 1
                text = tokenizer.decode(ids[place:end])
            if "\ufffd" in text:
                end, text = place + 1, tokenizer.decode(ids[place : place + 1])
        tokens.append(Token(text, tuple(ids[place:end]), kind[1], kind[0]))
        place = end
    return tuple(tokens)


# --- pictures and frames --------------------------------------------------------------------------------------


def through_frame(image_HW3: np.ndarray, frame: Frame) -> np.ndarray:
    """What a frame says a model sees of an image: resized, and pasted onto grey or cut off."""
    scale_x, scale_y = frame.width / frame.extent_width, frame.height / frame.extent_height
    size = max(1, round(frame.scene_width * scale_x)), max(1, round(frame.scene_height * scale_y))
    method = cv2.INTER_AREA if max(scale_x, scale_y) < 1 else cv2.INTER_LINEAR
    small_HW3 = cv2.resize(np.ascontiguousarray(image_HW3), size, interpolation=method)
    x, y = round(-frame.x * scale_x), round(-frame.y * scale_y)
    canvas_HW3 = np.full((frame.height, frame.width, 3), 127, np.uint8)
    to_x, to_y = slice(max(0, x), max(0, x + size[0])), slice(max(0, y), max(0, y + size[1]))
    part_HW3 = small_HW3[max(0, -y) :, max(0, -x) :]
    room_HW3 = canvas_HW3[to_y, to_x]
    room_HW3[:] = part_HW3[: room_HW3.shape[0], : room_HW3.shape[1]]
    return canvas_HW3


def true_frame(sight: Sight, size: tuple[int, int]) -> tuple[Frame, str]:
    """The frame in which numbers have to be read, and what is wrong with the one that the model gives, if anything.

    Where both agree it is the model's own, else the one that was measured.
    """
    said = sight.frame_for(size)
    if not sight.has_tokens or min(size) < LEAST_PX:
        return said, ""
    measured = _measured(sight, size, said)
    if measured is None:
        return said, f"a picture of {size[0]} × {size[1]} px comes out blank: the model does not see it"
    corners_42 = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    apart_42 = measured.to_model(said.from_model(corners_42 * said.size)) - corners_42 * measured.size
    farthest = float(np.abs(apart_42).max())
    if farthest <= AGREE_PX and said.size == measured.size:
        return said, ""
    return measured, (
        f"the frame ({said.rule}, {said.width} × {said.height}) is not how the picture shows the scene: up to "
        f"{farthest:.1f} of its {measured.width} × {measured.height} pixels apart"
    )


def _measured(sight: Sight, size: tuple[int, int], said: Frame) -> Frame | None:
    """Where the picture shows a scene of this size; None where it shows nothing of it."""

    def seen(probe_HW: np.ndarray) -> np.ndarray:
        return sight.seen(np.repeat(probe_HW[:, :, None], 3, axis=2))[:, :, 1].astype(float)

    width, height = size
    black, white = (seen(np.full((height, width), level, np.uint8)) for level in (0, 255))
    right, left = seen(_ramp(width, height)), seen(_ramp(width, height)[:, ::-1])
    down, up = seen(_ramp(height, width).T), seen(_ramp(height, width)[:, ::-1].T)
    shown_HW = white - black > 250
    if not shown_HW.any():
        return None
    # opposite ramps, since a filter that rounds upwards lifts both alike
    x, step_x = _line(np.where(shown_HW, right - left, np.nan), size[0])
    y, step_y = _line(np.where(shown_HW, down - up, np.nan).T, size[1])
    rows, columns = shown_HW.shape
    return replace(
        said, width=columns, height=rows, x=x, y=y, extent_width=step_x * columns, extent_height=step_y * rows,
        rule="measured",
    )  # fmt: skip


def _ramp(width: int, height: int) -> np.ndarray:
    """Levels (H, W) from 0 to TOP along x; rows round at different places, so that their mean is the level itself."""
    levels_W = (np.arange(width, dtype=np.float32) + 0.5) / width * TOP
    round_H1 = ((np.arange(height)[:, None] * 0.6180339887 + 0.5) % 1.0).astype(np.float32)
    return np.add(levels_W, round_H1, dtype=np.float32).astype(np.uint8)


def _line(levels_HW: np.ndarray, side: int) -> tuple[float, float]:
    """Scene coordinate of the picture's edge and scene pixels per picture pixel, along the second axis.

    `levels_HW` is a rising ramp less a falling one, from -TOP to TOP; NaN where the picture does not show the scene.
    """
    columns = np.flatnonzero(~np.isnan(levels_HW).all(axis=0))
    # filters bend the ramp at its ends, enlarging ones by half a pixel of the scene
    bent = len(columns) // 10 + len(columns) // side
    columns = columns[bent : len(columns) - bent]
    places_C = (np.nanmean(levels_HW[:, columns], axis=0) / TOP + 1) / 2 * side
    step, edge = np.polyfit(columns + 0.5, places_C, 1)
    return float(edge), float(max(step, 1e-9))
