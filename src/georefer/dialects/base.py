"""What a dialect is: one family of models' way to say geometry in text."""

from __future__ import annotations

import re
from typing import ClassVar

from georefer.dialects.reader import Reader
from georefer.dialects.reading import Reading
from georefer.dialects.steps import Steps
from georefer.geometry import Frame, Kind, Objects


class Dialect:
    """One family of models' way to say geometry in text; a subclass each, one line in the table.

    A subclass gives the values below and two methods: `_write`, which turns at least one object of the right
    kinds into text, and `_read`, which hands what it finds in the text to a Reader. Writing raises ValueError
    for what the dialect cannot say (our mistake, found when a dataset is built); reading never raises, whatever
    the text, never guesses another convention and does a bounded amount of work.
    """

    name: str
    """The key in the table, in answer files and on the command line."""
    source: ClassVar[str]
    """Where the format is laid down, in a line."""
    kinds: ClassVar[frozenset[Kind]] = frozenset({"hbb"})
    """The kinds of shapes that can be said."""
    labelled: ClassVar[bool] = True
    """Whether an object's label has a place in the text."""
    nothing: ClassVar[str]
    """The answer where there is nothing."""
    strict: ClassVar[re.Pattern[str]]
    """Exactly what `write` writes; an answer that departs from it was repaired, and a problem says so."""
    steps: Steps = Steps()
    turned_steps: Steps | None = None
    """The steps of oriented boxes, where they are not those of all else."""
    cells: int = 0
    """Cells along a side of the grids in which masks are written; 0 for those that say no masks."""
    frame_note: ClassVar[str] = "any"
    """How the models of this family see an image, for people."""

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        """How this family's models usually see a scene of (width, height); a loaded model knows its own better."""
        return Frame.resize(scene_size, scene_size)

    def write(self, objects: Objects, frame: Frame, *, labelled: bool = True) -> str:
        """Objects in scene pixels as text, in the order given; without labels where `labelled` is false.

        ValueError names a kind, a label or a shape that this dialect has no words for.
        """
        if not len(objects):
            return self.nothing
        if unsayable := set(objects.kinds_N) - self.kinds:
            raise ValueError(
                f"the dialect {self.name} says {', '.join(sorted(self.kinds))}, not {', '.join(sorted(unsayable))}; "
                "convert the objects first (Objects.to_hbb, Objects.to_obb)"
            )
        return self._write(objects, frame, labelled and self.labelled)

    def read(self, text: str, frame: Frame) -> Reading:
        """What a text says, in scene pixels and within the scene; never raises."""
        reader = Reader(self, text, frame)
        self._read(reader)
        return reader.reading()

    def grammar(self) -> str:
        """Lark grammar of exactly what `write` writes, for constrained decoding."""
        raise NotImplementedError

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        raise NotImplementedError

    def _read(self, reader: Reader) -> None:
        raise NotImplementedError
