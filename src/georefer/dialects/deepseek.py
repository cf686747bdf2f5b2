"""DeepSeek-VL2's dialect: the nested bracket lists of InternVL in other tags, 0-999.

    <|ref|>ship<|/ref|><|det|>[[10, 20, 300, 400], [500, 20, 600, 90]]<|/det|>

The numbers are divided by 999, so that 999 is the far edge; read as per mille a perfect box at the right edge is
a thousandth short. Its own demo cuts the result to whole pixels; this reader does not. The rounding of the
training data is not published. A leading `<|grounding|>` is a mark of the prompt that models repeat.
"""

from __future__ import annotations

import re

from georefer.dialects.internvl import InternVLDialect, tagged_pattern, tagged_strict
from georefer.dialects.steps import Steps
from georefer.geometry import Frame


class DeepSeekVL2Dialect(InternVLDialect):
    name = "deepseek-vl2"
    source = "github.com/deepseek-ai/DeepSeek-VL2, README and demo; supervision's from_deepseek_vl_2"
    steps = Steps(999)
    frame_note = "tiles of 384; numbers along the whole image"
    marks = ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>")
    strict = re.compile(rf"(?:<\|grounding\|>)?(?:{tagged_strict(marks).pattern})")
    _pattern = tagged_pattern(marks)

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (384, 384))
