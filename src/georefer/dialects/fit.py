"""FIT-RS (SkySenseGPT): oriented boxes in percent, labels, and scene graphs in sentences.

    box     {<60.51><76.13><8.88><24.76>|<57>}          cx, cy, w, h in percent, whole degrees
    boxes   <rbox>({...}, {...})</rbox>
    labels  <ref>cars</ref><rbox>({...}, {...})</rbox>, <ref>ship</ref><rbox>({...})</rbox>
    class   There are 2 cars in the image: <rbox>({...}, {...})</rbox>
    graph   <ref>cars</ref><rbox>({...}, {...})</rbox> are <rel>over</rel> <ref>bridge</ref><rbox>({...})</rbox>.
            There are <ref>ship</ref><rbox>({...})</rbox>.
    region  A fully visible small car on the left part of the image. It is <rel>over</rel> 1 <ref>bridge</ref><rbox>...

The angle is OpenCV's since 4.5.1: clockwise on the screen from +x to the side w, 0 < angle <= 90, either side may be
w; it is truncated. Numbers were whole in older files, and are read so. Traps: the plural is a bare "s" ("buss"), so a
label of several boxes loses one; an object has no name but its box, so equal boxes of one label are one object; many
graphs are cut by their authors ("...", "due to the context length") or by 256 tokens. All published tiles are
square. For others we settle: cx and w are percent of the width, cy and h of the height, and the angle is one of the
scene's pixels, so that every box is a rectangle there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely

from georefer.dialects.base import Dialect
from georefer.dialects.oriented import BRACE, Said, brace_numbers, hand_in, rows_of, within
from georefer.dialects.reader import MAX_OBJECTS, Reader
from georefer.dialects.reading import Reading, Relation
from georefer.dialects.steps import Steps
from georefer.dialects.tagged import checked_labels, label_runs
from georefer.geometry import Frame, Objects
from georefer.geometry.angles import CONVENTIONS, to_convention

NOTHING = "I'm sorry, I cannot answer as the given image does not contain any given objects."

_N = r"<\d{1,3}(?:\.\d\d)?>"
_BOX = rf"\{{{_N}{_N}{_N}{_N}\|<\d{{1,2}}>\}}"
_LIST = rf"<rbox>\({_BOX}(?:, {_BOX})*\)</rbox>"
_GROUP = rf"<ref>[^<>]{{1,200}}</ref>{_LIST}"
_REL = r"(?:is|are) <rel>[^<>]{1,200}</rel>"
_SENTENCE = (
    rf"(?:{_GROUP} {_REL} {_GROUP}|There (?:is|are) {_GROUP}|It {_REL} \d{{1,4}} {_GROUP}|\d{{1,4}} {_GROUP} {_REL} it)"
)
_MARK = re.compile(
    rf"<ref>(?P<ref>[^<>]{{0,200}})</ref>|<rel>(?P<rel>[^<>]{{0,200}})</rel>|(?P<box>{BRACE})", re.IGNORECASE
)
# a point within a number ends no sentence, one before "1 <ref>" does
_END = re.compile(r"\.(?![0-9])|\.(?=[0-9]{1,4}\s?<)|\n")
_CLASS = re.compile(r"there (?:is|are) ([0-9]{1,4}) ([^<>{}:]{1,200}?) in the image", re.IGNORECASE)
_IT_BEFORE = re.compile(r"\bit\s+(?:is|are)\s*$", re.IGNORECASE)
_IT_AFTER = re.compile(r"\s*it\b", re.IGNORECASE)
_CUT = re.compile(r"\.\.\.|due to the context length")
MAX_RELATIONS = 10_000


@dataclass
class _Group:
    """A label with its boxes, or boxes without one."""

    label: str
    named: bool
    """Whether the label stood in <ref>."""
    boxes: list[tuple[list[float], re.Match[str]]] = field(default_factory=list)
    meant: int = 0
    """Boxes begun, lost ones included: they say whether the label is a plural."""


@dataclass
class _Predicate:
    words: str
    it_before: bool
    it_after: bool


class FitDialect(Dialect):
    """Reads all of these sentences, and writes the list of labels (`write`) or the graph (`write_graph`).

    What is written comes back with its centre and sides within half a hundredth of a percent of an image side, and
    its heading less than one degree smaller (towards +x from the side w).
    """

    name = "fit-rs"
    source = "github.com/Luo-Z13/SkySenseGPT at a980ffe; its FIT-Eval scorer as kept in om-ai-lab/ImageRAG at 06de8e4"
    kinds = frozenset({"obb"})
    nothing = NOTHING
    steps = Steps(10_000, decimals=2)
    frame_note = "Frame.resize 504, of square tiles of 512 px"
    strict = re.compile(
        rf"{re.escape(NOTHING)}|{_LIST}|[Tt]here (?:is 1|are \d{{1,4}}) [^<>:{{}}]{{1,200}} in the image: {_LIST}"
        rf"|(?:The categories(?: of the objects)?(?: are)?:? )?{_GROUP}(?:, {_GROUP})*"
        rf"|(?:An? [^<>{{}}.]{{1,300}}\. )?(?:{_SENTENCE}(?:\. |\.?\Z))+"
    )

    def frame_for(self, scene_size: tuple[int, int]) -> Frame:
        return Frame.resize(scene_size, (504, 504))

    # --- writing -----------------------------------------------------------------------------------------

    def _write(self, objects: Objects, frame: Frame, labelled: bool) -> str:
        boxes = self._boxes(objects, frame)
        if not labelled:
            return _list(boxes)
        return ", ".join(_named(label, said) for label, said in label_runs(checked_labels(objects, "<>{}"), boxes))

    def write_graph(self, objects: Objects, relations: Iterable[Relation], frame: Frame) -> str:
        """Scene graph (task 6): subjects of one label share a sentence, objects in no relation come last.

        The ends of `relations` are places in `objects`. Relations come back with `read`, though objects in another
        order: as the sentences name them. Two objects of one label that round to the same box become one.
        """
        if not len(objects):
            return self.nothing
        if set(objects.kinds_N) - self.kinds:
            raise ValueError("a graph of the dialect fit-rs holds oriented boxes; convert them with Objects.to_obb")
        boxes, labels = self._boxes(objects, frame), checked_labels(objects, "<>{}")
        sentences: dict[tuple, dict[str, None]] = {}
        alone = dict.fromkeys(zip(labels, boxes, strict=True))
        for r in relations:
            if not (0 <= r.subject < len(boxes) and 0 <= r.object < len(boxes)):
                raise ValueError(f"the relation {r} names an object that is not there: {len(boxes)} objects were given")
            key = (labels[r.subject], _checked_predicate(r.predicate), labels[r.object], boxes[r.object])
            sentences.setdefault(key, {})[boxes[r.subject]] = None
            for end in (r.subject, r.object):
                alone.pop((labels[end], boxes[end]), None)
        text = "".join(
            f"{_named(s, list(many))} {'is' if len(many) == 1 else 'are'} <rel>{p}</rel> {_named(o, [box])}. "
            for (s, p, o, box), many in sentences.items()
        )
        rest: dict[str, list[str]] = {}
        for label, box in alone:
            rest.setdefault(label, []).append(box)
        return text + "".join(f"There are {_named(label, many)}. " for label, many in rest.items())

    def _boxes(self, objects: Objects, frame: Frame) -> list[str]:
        rows_N5 = to_convention(rows_of(objects), CONVENTIONS["oc"])
        centres_N2 = np.clip(frame.to_numbers(rows_N5[:, :2], (100, 100)), 0, 100) + 0.0
        sides_N2 = rows_N5[:, 2:4] / (frame.extent_width, frame.extent_height) * 100
        # the nudge lets 30 degrees survive the way through corners, so that what was read is written the same
        return [
            f"{{<{x:.2f}><{y:.2f}><{w:.2f}><{h:.2f}>|<{int(angle + 1e-9)}>}}"
            for (x, y), (w, h), angle in zip(centres_N2, sides_N2, rows_N5[:, 4], strict=True)
        ]

    # --- reading -----------------------------------------------------------------------------------------

    def read_region(self, text: str, frame: Frame, region: shapely.Polygon, label: str = "") -> Reading:
        """What an answer says about one region of the question (task 5), which is "it" there: object 0 here."""
        reader = Reader(self, text, frame)
        self._read(reader, reader.shape("obb", region, 0, 0, label))
        if len(reader) == 1 and not reader.problems:
            reader.note("unreadable", 0, len(text), "the answer says nothing about the region")
        return reader.reading()

    def _read(self, reader: Reader, it: int = -1) -> None:
        keys: dict[tuple, int] = {}
        said: list[Said] = []
        relations: list[tuple[int, str, int]] = []
        for sentence in _sentences(reader):
            plain = not any(isinstance(part, _Predicate) for part in sentence)
            parts: list[_Predicate | list[int]] = []
            for part in sentence:
                parts.append(part if isinstance(part, _Predicate) else _places(reader, part, keys, said, plain))
            relations += _relations(parts, MAX_RELATIONS - len(relations))
            if len(said) > MAX_OBJECTS:
                break
        places = [*hand_in(reader, said), it]  # -1 is "it"
        for subject, predicate, object_ in relations:
            reader.relate(places[subject], predicate, places[object_])
        if cut := _CUT.search(reader.text):
            reader.note("truncated", cut.start(), cut.end(), "the answer says that it is not complete")
        elif not any(p.kind == "truncated" for p in reader.problems):
            reader.open_tail("<rbox>", "</rbox>")
        if not said and reader.text.lstrip()[:9].lower().replace("\u2019", "'") == "i'm sorry":
            reader.says_none = True

    def grammar(self) -> str:
        return (
            f'start: "{NOTHING}" | list | group (", " group)* | sentence+\n'
            'sentence: group (" is" | " are") " <rel>" WORDS "</rel> " group ". " | "There are " group ". "\n'
            'group: "<ref>" WORDS "</ref>" list\n'
            'list: "<rbox>(" box (", " box)* ")</rbox>"\n'
            'box: "{<" N "><" N "><" N "><" N ">|<" ANGLE ">}"\n'
            "WORDS: /[^<>{}\\s]([^<>{}\\n]*[^<>{}\\s])?/\n"
            "N: /(0|[1-9][0-9]{0,2})\\.[0-9][0-9]/\n"
            "ANGLE: /90|[1-8]?[0-9]/\n"
        )


def _checked_predicate(words: str) -> str:
    """What stands between the marks of a relation; ValueError for what could not be read back."""
    if not words or words != words.strip() or len(words) > 200 or re.search(r"[<>{}\r\n]", words):
        raise ValueError(f"the predicate {words!r} is empty, padded, too long or holds one of <>{{}}; rename it")
    return words


def _list(boxes: Sequence[str]) -> str:
    return f"<rbox>({', '.join(boxes)})</rbox>"


def _named(label: str, boxes: Sequence[str]) -> str:
    return f"<ref>{label}{'s' * (len(boxes) > 1)}</ref>{_list(boxes)}"


def _sentences(reader: Reader) -> Iterable[list[_Group | _Predicate]]:
    """Groups and predicates, sentence by sentence; a group ends with its sentence or at a predicate."""
    parts: list[_Group | _Predicate] = []
    begin = last = 0
    group: _Group | None = None
    for match in _MARK.finditer(reader.text):
        if ends := _END.search(reader.text, last, match.start()):
            yield parts
            parts, group, begin = [], None, ends.end()
        if match["rel"] is not None:
            text = reader.text
            before, after = text[max(last, match.start() - 12) : match.start()], text[match.end() : match.end() + 12]
            parts.append(
                _Predicate(match["rel"].strip(), bool(_IT_BEFORE.search(before)), bool(_IT_AFTER.match(after)))
            )
            group = None
        elif match["ref"] is not None:
            parts.append(group := _Group(match["ref"].strip(), True))
        else:
            if group is None:
                parts.append(group := _Group(_class_before(reader.text, begin, match.start()), False))
            group.meant += 1
            if (values := brace_numbers(reader, match, (5,))) is not None:
                group.boxes.append((values, match))
        last = match.end()
        if len(reader.problems) >= 2 * MAX_OBJECTS or len(parts) > 4 * MAX_OBJECTS:
            break
    yield parts


def _class_before(text: str, begin: int, end: int) -> str:
    """The class of a sentence "There are 2 cars in the image: ", in the singular."""
    label = ""
    for match in _CLASS.finditer(text, max(begin, end - 300), end):
        label = match[2].strip()
        if int(match[1]) > 1:
            label = label.removesuffix("s")
    return label


def _places(reader: Reader, group: _Group, keys: dict[tuple, int], said: list[Said], plain: bool) -> list[int]:
    """Places of a group's boxes among those said; a graph repeats its objects, a list should not."""
    label = group.label.removesuffix("s") if group.named and group.meant > 1 else group.label
    places: dict[int, None] = {}
    for values, match in group.boxes:
        place = (match.start(), match.end())
        key = (label, *values)
        if key not in keys:
            if len(said) > MAX_OBJECTS:
                continue
            keys[key] = len(said)
            said.append(Said("obb", _row(reader, values, place), *place, label))
        elif plain or keys[key] in places:
            reader.note("duplicate", *place, f"{reader.quote(*place)} was said before")
        places[keys[key]] = None
    return list(places)


def _row(reader: Reader, values: list[float], place: tuple[int, int]) -> list[float]:
    """Percent and degrees as a row in scene pixels; an angle beyond oc's range still turns from +x to the side w."""
    cx, cy, w, h, angle = within(reader, values, [0, 0, 0, 0, -180], [100, 100, 1000, 1000, 180], place).tolist()
    if angle == values[4] and not 0 <= angle <= 90:
        reader.note("out-of-range", *place, f"{reader.quote(*place)} has an angle outside (0, 90]")
    frame = reader.frame
    (x, y), *_ = frame.from_numbers(np.array([[cx, cy]]), (100, 100)).tolist()
    return [x, y, w * frame.extent_width / 100, h * frame.extent_height / 100, angle]


def _relations(parts: Sequence[_Predicate | list[int]], most: int) -> list[tuple[int, str, int]]:
    """Each predicate joins the boxes last named before it with those named next; "it" has place -1."""
    found: list[tuple[int, str, int]] = []
    ends: list[list[int]] = []
    following: list[int] = []
    for part in reversed(parts):
        ends.append(following)
        following = following if isinstance(part, _Predicate) else part
    subjects: list[int] = []
    for part, objects in zip(parts, reversed(ends), strict=True):
        if not isinstance(part, _Predicate):
            subjects = part
            continue
        for subject in [-1] if part.it_before else subjects:
            for object_ in [-1] if part.it_after else objects:
                if len(found) >= most:
                    return found
                found.append((subject, part.words, object_))
    return found
