"""Kosmos-2's dialect: two cells of a 32 x 32 grid, the one with the upper left corner and the one with the lower right.

    <grounding><phrase> ship</phrase><object><patch_index_0044><patch_index_0863></object>
    ...<patch_index_0044><patch_index_0863></delimiter_of_multi_objects/><patch_index_0896><patch_index_0945></object>

Cells count along the rows: index = 32 * row + column. A box runs from the middle of one cell to the middle of the
other; but where both cells lie in one row or one column, it covers both cells whole, in both directions. Objects
below a 32nd of the image cannot be said. The phrase has a leading space, as the tokenizer puts it, and may stand in
running text. No word for "nothing" is documented.
"""

from __future__ import annotations

import re

import numpy as np

from georefer.dialects.base import Dialect
from georefer.dialects.reader import Reader
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import MAX_LABEL, checked_labels, label_runs
from georefer.geometry import Frame, Objects

CELLS = 32
_DELIMITER = "</delimiter_of_multi_objects/>"
_PAIR = r"<patch_index_\d{4}><patch_index_\d{4}>"
_MARK = re.compile(
    rf"<phrase>(?P<label>[^<]{{0,{MAX_LABEL}}})</phrase>|(?P<closing></object>)"
    r"|<patch_index_(?P<first>[0-9]{1,4})>(?:\s?<patch_index_(?P<last>[0-9]{1,4})>)?"
)


class Kosmos2Dialect(Dialect):
    name = "kosmos-2"
    source = "github.com/microsoft/unilm, kosmos-2/demo/decode_string.py; transformers' Kosmos2Processor"
    nothing = "None"
    # not cells: the reader is given edges, in cells, as which part of a cell is meant depends on the other one
    steps = Steps(CELLS, "floor", loose=True)
    frame_note = "Frame.resize to 224 x 224"
    strict = re.compile(
        rf"None|(?:[^<]{{0,2000}}(?:<grounding>|(?:<phrase>[^<]{{1,{MAX_LABEL}}}</phrase>)?"
        rf"<object>{_PAIR}(?:{_DELIMITER}{_PAIR})*</object>))+[^<]{{0,2000}}"
    )

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (224, 224))

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        edges_N22 = frame.to_numbers(objects.hbb_N4.reshape(-1, 2), (CELLS, CELLS)).reshape(-1, 2, 2)
        first_N2 = np.clip(np.floor(edges_N22[:, 0] + 1e-9), 0, CELLS - 1)
        # an edge between two cells belongs to the box's side of it
        last_N2 = np.clip(np.ceil(edges_N22[:, 1] - 1 - 1e-9), first_N2, CELLS - 1)
        pairs_N2 = np.stack([first_N2, last_N2], axis=1).astype(np.int64) @ [1, CELLS]
        said = ["".join(f"<patch_index_{index:04d}>" for index in pair) for pair in pairs_N2.tolist()]
        labels = checked_labels(objects, "<>") if labelled else [""] * len(objects)
        return "<grounding>" + "".join(
            (f"<phrase> {label}</phrase>" if labelled else "") + f"<object>{_DELIMITER.join(run)}</object>"
            for label, run in label_runs(labels, said)
        )

    def _read(self, reader: Reader) -> None:
        """A phrase is the label of the object that follows it, and of no other."""
        label = ""
        for match in _MARK.finditer(reader.text):
            if match["label"] is not None:
                label = match["label"].strip()
            elif match["closing"]:
                label = ""
            elif match["last"] is None:
                cut = match.end() == len(reader.text)
                reader.note(
                    "truncated" if cut else "wrong-count",
                    match.start(),
                    match.end(),
                    f"{match[0]} is not followed by a second cell",
                )
            elif self._box(reader, match, label) < 0:
                break
        reader.open_tail("<object>", "</object>")
        reader.if_nothing()

    def _box(self, reader: Reader, match: re.Match[str], label: str) -> int:
        (y1, x1), (y2, x2) = (divmod(int(match[name]), CELLS) for name in ("first", "last"))
        if x1 > x2 or y1 > y2:
            # before the cells become edges, or the whole cells of a row would become the gap between them
            reader.note("swapped", match.start(), match.end(), f"{match[0]} has its corners in another order")
            (x1, x2), (y1, y2) = sorted((x1, x2)), sorted((y1, y2))
        low, high = (0.0, 1.0) if x1 == x2 or y1 == y2 else (0.5, 0.5)
        return reader.box((x1 + low, y1 + low, x2 + high, y2 + high), match.start(), match.end(), label)

    def grammar(self) -> str:
        return (
            'start: "None" | "<grounding>" group+\n'
            f'group: ("<phrase> " LABEL "</phrase>")? "<object>" pair ("{_DELIMITER}" pair)* "</object>"\n'
            "pair: CELL CELL\n"
            "CELL: /<patch_index_(0[0-9]{3}|10[01][0-9]|102[0-3])>/\n"
            "LABEL: /[^<>\\s]([^<>\\n]*[^<>\\s])?/\n"
        )
