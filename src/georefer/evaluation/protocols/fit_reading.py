"""How FIT-RSFG's scorer of complex comprehension reads an answer: its classes, its patterns, its slips.

Everything is found in time linear in the text, where the original's patterns may take its square. Boxes are tuples
(cx, cy, w, h, angle) in percent and degrees. What would stop the original is left out and said in `stop`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from georefer.scenes.readers.star import CLASSES, PREDICATES

Box = tuple[float, ...]

UNKNOWN = -1
"""Index of every class or predicate that is none of these; it equals itself, and as an index means the last."""
BOAT = 1
"""The class under which task 4 files boxes that it reads without one."""

SMALLEST = 2.0
"""Percent of the tile's side: boxes with a shorter side are dropped, in truths and answers alike."""

_CLASS = {name: place for place, name in enumerate(CLASSES)}
_PREDICATE = {name: place for place, name in enumerate(PREDICATES)}
_ZERO: Box = (0.0, 0.0, 0.0, 0.0, 0.0)
_N = "<([0-9.]+)>"
_BOX = re.compile(rf"\{{{_N}{_N}{_N}{_N}\|{_N}\}}")
_MARKED = re.compile(r"<([^>\n]*)>")
_ONE_CLASS = re.compile(r"There (?:is|are) \d+ (.+?)s? in the image")


def class_of(name: str) -> int:
    """Index of a class as written, or UNKNOWN."""
    return _CLASS.get(name, UNKNOWN)


def predicate_of(name: str) -> int:
    """Index of a predicate as written, or UNKNOWN."""
    return _PREDICATE.get(name, UNKNOWN)


@dataclass
class Stops:
    """Why the original would stop at a row; the first reason counts."""

    why: str = ""

    def add(self, why: str) -> None:
        self.why = self.why or why


# --- patterns, each in linear time ------------------------------------------------------------------------


def between(text: str, start: str, end: str, least: int = 0) -> list[str]:
    """What stands between two marks, as short as can be, at least `least` characters and within one line."""
    found: list[str] = []
    lines = text.split("\n") if "\n" in text else (text,)
    for line in lines:
        at = line.find(start)
        while at >= 0:
            inner = at + len(start)
            stop = line.find(end, inner + least)
            if stop < 0:
                break
            found.append(line[inner:stop])
            at = line.find(start, stop + len(end))
    return found


def angled(text: str) -> list[str]:
    """What stands within < and >; cut behind the last >, so that every < finds one on its line, or a line's end."""
    if "\n" in text:
        return between(text, "<", ">")
    return _MARKED.findall(text[: text.rfind(">") + 1])


def numbers_of(text: str) -> Box:
    """The numbers of one box as written; five zeros where one is no number, or there is none."""
    said = angled(text)
    try:
        return tuple(map(float, said)) or _ZERO
    except ValueError:
        return _ZERO


def boxes_in_braces(text: str) -> list[Box]:
    """All `{...}` of at least one character, whatever is inside."""
    ordinary = _ordinary(text)
    return [numbers_of(said) for said in between(text, "{", "}", 1)] if ordinary is None else ordinary


def boxes_in_marks(text: str) -> list[Box]:
    """All `{<...>}`."""
    ordinary = _ordinary(text)
    return [numbers_of(f"<{said}>") for said in between(text, "{<", ">}")] if ordinary is None else ordinary


def _ordinary(text: str) -> list[Box] | None:
    """Boxes of a text whose every brace belongs to a well-formed one; None for others."""
    found = _BOX.findall(text)
    if len(found) != text.count("{") or len(found) != text.count("}"):
        return None
    try:
        return [tuple(map(float, said)) for said in found]
    except ValueError:
        return None


def large_enough(box: Box) -> bool:
    """Whether the scorer keeps a box of this width and height (and one that is not a number)."""
    return not (box[2] < SMALLEST or box[3] < SMALLEST)


# --- rows of boxes: tasks 1 and 4 -------------------------------------------------------------------------

Labelled = list[tuple[int, Box]]


@dataclass
class Boxes:
    """Truths and answers of one row as (class, box)."""

    truth: Labelled = field(default_factory=list)
    said: Labelled = field(default_factory=list)


Keep = Callable[[Box], bool]


def read_task1(truth: str, answer: str, stops: Stops, keep: Keep = large_enough) -> Boxes | None:
    """Object detection: every box of the answer gets the truth's class. None for a truth that says there is none."""
    name = one_class(truth)
    if name is None:
        return None
    label = class_of(name.rstrip("s"))
    return Boxes(
        [(label, box) for box in _five(boxes_in_braces(truth), stops, keep)],
        [(label, box) for box in _five(boxes_in_braces(answer), stops, keep)],
    )


def one_class(truth: str) -> str | None:
    """The class of a sentence "There are 2 cars in the image", without its plural "s"."""
    for line in truth.split("\n"):
        if match := _ONE_CLASS.search(line[: line.rfind(" in the image") + 13]):
            return match[1]
    return None


def _five(boxes: list[Box], stops: Stops, keep: Keep) -> list[Box]:
    """Boxes of five numbers that are kept; six numbers pass the original's filter and stop it later."""
    kept: list[Box] = [box for box in boxes if len(box) == 5 and keep(box)]
    if len(kept) < len(boxes) and any(len(box) == 6 and keep(box) for box in boxes):
        stops.add("a box of six numbers is stacked with ones of five")
    return kept


def _scored(boxes: list[Box], stops: Stops, keep: Keep) -> list[Box]:
    """Boxes of an answer that get a score before the filter: six numbers are dropped, four rarely stop it."""
    kept: list[Box] = [box for box in boxes if len(box) == 5 and keep(box)]
    # the fourth number is taken for the angle, then for the height
    if len(kept) < len(boxes) and any(len(box) == 4 and keep((*box[:3], math.radians(box[3]))) for box in boxes):
        stops.add("a box of four numbers is stacked with ones of five")
    return kept


def read_task4(truth: str, answer: str, stops: Stops, keep: Keep = large_enough) -> Boxes:
    """Object reasoning: with classes where the truth speaks of "categories", else all filed as boats."""
    read = _with_classes if "categories" in truth else _without_classes
    return Boxes(read(truth, _five, stops, keep), read(answer, _scored, stops, keep))


Filter = Callable[[list[Box], Stops, Keep], list[Box]]


def _with_classes(text: str, chosen: Filter, stops: Stops, keep: Keep) -> Labelled:
    """One class for each <ref>, but any number of boxes: the n-th kept box gets the n-th class, others fall away."""
    classes: list[int] = []
    boxes: list[Box] = []
    for name, said in named_lists(text):
        classes.append(class_of(name.removesuffix("s")))
        boxes += chosen(even(boxes_in_marks(said), stops), stops, keep)
    pairs = dict.fromkeys(zip(boxes, classes, strict=False))
    return [(label, box) for box, label in pairs]


def named_lists(text: str) -> Iterator[tuple[str, str]]:
    """Each `<ref>name</ref><rbox>(boxes)</rbox>`, found as the shortest match from the left."""
    middle, end = "</ref><rbox>(", ")</rbox>"
    for line in text.split("\n"):
        at = line.find("<ref>")
        while at >= 0:
            split = line.find(middle, at + 5)
            stop = line.find(end, split + len(middle)) if split >= 0 else -1
            if stop < 0:
                break
            yield line[at + 5 : split], line[split + len(middle) : stop]
            at = line.find("<ref>", stop + len(end))


def _without_classes(text: str, chosen: Filter, stops: Stops, keep: Keep) -> Labelled:
    said = [numbers_of(inner) for inner in between(text, "{", "}")] if _ordinary(text) is None else _ordinary(text)
    return [(BOAT, box) for box in dict.fromkeys(chosen(said or [], stops, keep))]


def even(boxes: list[Box], stops: Stops) -> list[Box]:
    """Boxes of one list; lists of boxes of different lengths stop the original."""
    if len(boxes) > 1 and len({len(box) for box in boxes}) > 1:
        stops.add("one list holds boxes of different numbers of numbers")
    return boxes


# --- graphs: tasks 5 and 6 --------------------------------------------------------------------------------

Triplet = tuple[int, int, int]
"""Class of the subject, predicate, class of the object."""

DUMMY: Box = (50.0, 50.0, 20.0, 20.0, 0.0)
"""What task 5 takes for the box of the region asked about."""


@dataclass
class Graph:
    """Triplets of one text with the boxes of subject and object, by place; `detected` are task 6's other objects."""

    triplets: list[Triplet] = field(default_factory=list)
    ends: list[tuple[Box, Box]] = field(default_factory=list)
    detected: Labelled = field(default_factory=list)


def read_region(text: str, stops: Stops, keep: Keep = large_enough, misplaced: bool = True) -> Graph:
    """Region graph (task 5), as the scorer looks it up: object k at flat place k of all ends, the region at place 0.

    The region's own class is never read, and its box is DUMMY. Where a sentence says "It is", its ends lie as (region,
    object), else as (object, region), so that places find other objects, or the region, as soon as there are two.
    Without `misplaced` every triplet has its own ends.
    """
    places: list[tuple[int, int]] = []
    predicates: list[int] = []
    flat: list[tuple[int, Box]] = []
    for sentence in text.replace("\n", " ").lower().split(". ")[1:]:
        before = "it is" in sentence
        if "<rbox>" not in sentence:
            continue
        label, predicate, boxes = _region_sentence(sentence, stops)
        if not before and "> it" not in sentence:
            continue
        for box in _five(boxes, stops, keep):
            k = len(places) + 1
            places.append((0, k) if before else (k, 0))
            predicates.append(predicate)
            region, object_ = (UNKNOWN, DUMMY), (label, box)
            flat += (region, object_) if before else (object_, region)
    if not misplaced:
        places = [(2 * k, 2 * k + 1) for k in range(len(places))]
    found = [(flat[s], predicate, flat[o]) for (s, o), predicate in zip(places, predicates, strict=True)]
    return Graph([(s[0], p, o[0]) for s, p, o in found], [(s[1], o[1]) for s, _, o in found])


def _region_sentence(sentence: str, stops: Stops) -> tuple[int, int, list[Box]]:
    """Class, predicate and boxes of a sentence: the first of each; the plural "s" goes where there are several."""
    name, predicate = first(sentence, "ref"), first(sentence, "rel")
    said = first(sentence, "rbox")
    boxes = even(boxes_in_marks(said), stops) if said is not None else []
    if name is not None and len(boxes) > 1:
        name = name.removesuffix("s")
    return class_of(name or ""), predicate_of(predicate or ""), boxes


def first(sentence: str, mark: str) -> str | None:
    """What stands in the first <mark>...</mark>."""
    start = sentence.find(f"<{mark}>")
    stop = sentence.find(f"</{mark}>", start + len(mark) + 2) if start >= 0 else -1
    return sentence[start + len(mark) + 2 : stop] if stop >= 0 else None


def read_image(text: str, stops: Stops, truth: bool = False, keep: Keep = large_enough) -> Graph:
    """Image graph (task 6): sentences with <rel> give triplets, others with <rbox> detections."""
    graph = Graph()
    chosen = _five if truth else _scored
    for sentence in text.replace("\n", " ").lower().split(". "):
        if truth and "sorry" in sentence:
            continue
        predicate = first(sentence, "rel")
        if predicate is not None:
            _image_triplets(graph, sentence, predicate_of(predicate), stops, keep)
        elif "<rbox>" in sentence:
            name, said = first(sentence, "ref") or "", first(sentence, "rbox")
            label = class_of(name.removesuffix("s"))
            boxes = even(boxes_in_marks(said), stops) if said is not None else []
            graph.detected += [(label, box) for box in chosen(boxes, stops, keep)]
    return graph


def _image_triplets(graph: Graph, sentence: str, predicate: int, stops: Stops, keep: Keep) -> None:
    """Every subject of a sentence with its one object; more names or lists than two stop the original."""
    names, lists = between(sentence, "<ref>", "</ref>"), between(sentence, "<rbox>", "</rbox>")
    if len(names) > 2 or len(lists) > 2:
        stops.add("a sentence has more than two labels or lists of boxes")
    subject, object_ = (class_of(name.removesuffix("s")) for name in (*names[:2], "", "")[:2])
    subjects = even(boxes_in_marks(lists[0]), stops) if lists else []
    objects = even(boxes_in_marks(lists[1]), stops) if len(lists) > 1 else []
    if len(objects) > 1:
        stops.add("a sentence has more than one object")
    odd = Stops()
    targets, kept = _five(objects, odd, keep), _five(subjects, odd, keep)
    if odd.why and all(any(5 <= len(box) <= 6 and keep(box) for box in boxes) for boxes in (objects, subjects)):
        stops.add(odd.why)  # the original fails when it stacks a pair of ends, not without one
    for target in targets:
        for box in kept:
            graph.triplets.append((subject, predicate, object_))
            graph.ends.append((box, target))
