"""DIOR-RSVG: 38,320 expressions for boxes on 17,402 images of DIOR (800 pixels).

Source: github.com/ZhanYang-nwpu/RSVG-pytorch (data_loader.py, RSVGD/); arXiv 2210.12634. Licence: not stated;
images of DIOR, academic use only.

    Annotations/*.xml           filename, size, and object: name, pose, bndbox, description (the expression)
    {train,val,test}.txt        one whole number a line: 26,991 / 3,829 / 7,500
    JPEGImages/*.jpg

- A split's numbers count *objects*, from 0, through all annotations in the order of their file names. The published
  loader counts in the order in which the system lists the folder, so that elsewhere its splits are other ones. The
  order is fixed here; numbers are checked to lie within it, and the counts above where all 17,402 files are there.
- So the split is one of objects: images of the test split have objects of the training split, too. An object's id is
  its number.
- The loader reads an object's third and fourth child whatever they are called; here they are read by name, and
  objects where that makes a difference are counted.
- Corners are taken as points in pixels as all published scores do, not as numbers of pixels.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.interchange.files import as_whole, label_files, label_paths, read_text, write_text
from georefer.scenes.interchange.voc import parse_xml
from georefer.scenes.readers.base import Asked, Published, Source
from georefer.scenes.readers.common import Gathering, box_shape, count_left_out, need_split, text_of

SIDE_PX = 800
SPLITS = {"train": 26_991, "val": 3_829, "test": 7_500}
FILES, OBJECTS = 17_402, 38_320
"""How many annotations, and objects in them, the whole set has."""

EDGES = ("xmin", "ymin", "xmax", "ymax")
MAX_OBJECTS = 10_000_000


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """The dataset's folder, or one annotation without splits. Of one split where asked: only its objects."""
    path, gathered = Path(path), Gathering("dior-rsvg", images)
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = [file for _, file in label_files(folder, ".xml", gathered.account)]
    files.sort(key=lambda file: (file.name, str(file)))
    beside = [path, path.parent] if path.is_dir() and folder == path else [path] if path.is_dir() else []
    split_of = _splits(beside)
    need_split(split, {name for names in split_of.values() for name in names}, path)
    count = 0
    for file in files:
        count = _annotation(file, count, split_of, split, gathered)
        if count > MAX_OBJECTS:
            raise InputError(f"{folder} holds more than {MAX_OBJECTS:,} objects; check what it is")
    if split_of and max(split_of) >= count:
        raise InputError(
            f"a split names object {max(split_of)} where the annotations in {folder} hold {count}, counted from 0; "
            "fetch all annotations of the dataset, of the version that the splits are of"
        )
    if len(files) == FILES:
        _check_counts(folder, count, split_of)
    return gathered.published(path)


def write(published: Published, path: str | Path) -> Account:
    """Annotations/ and the split files of a folder, numbered by the order of the file names."""
    path, account = Path(path), Account()
    said: dict[tuple[str, str], list[Asked]] = {}
    for one in published.questions:
        if one.asks not in ("rec", "obb-rec", "res") or len(one.object_ids) != 1 or not one.text:
            account.dropped.add("question that is no expression for one object", one.id)
        else:
            said.setdefault((one.image, one.object_ids[0]), []).append(one)
    count_left_out(published, account, keeps=("pose",))
    images = list(published.images.values())
    pairs = zip(label_paths(images, path / "Annotations", ".xml"), published.images.items(), strict=True)
    numbers: dict[str, list[int]] = {}
    count = 0
    for file, (key, image) in sorted(pairs, key=lambda pair: (pair[0].name, str(pair[0]))):
        count = _write_image(file, key, image, said, count, numbers, account)
    for name, places in numbers.items():
        write_text(path / f"{name}.txt", "".join(f"{place}\n" for place in places))
    return account


# --- reading --------------------------------------------------------------------------------------------------


def _splits(folders: list[Path]) -> dict[int, list[str]]:
    """The splits of each object's number, from the first folder that has such files."""
    for folder in folders:
        there = {name: folder / f"{name}.txt" for name in SPLITS if (folder / f"{name}.txt").is_file()}
        if there:
            return _numbers(there)
    return {}


def _numbers(files: dict[str, Path]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, file in files.items():
        for line in read_text(file).split():
            number = int(line) if line.isascii() and line.isdigit() and len(line) < 10 else None
            if number is None:
                raise InputError(
                    f"{file} holds {line[:40]!r} where the number of an object is expected; fetch it again"
                )
            found.setdefault(number, []).append(name)
    return found


def _check_counts(folder: Path, objects: int, split_of: dict[int, list[str]]) -> None:
    if objects != OBJECTS:
        raise InputError(
            f"{folder} holds {objects:,} objects in {FILES:,} files where {OBJECTS:,} are expected; check it"
        )
    for name, expected in SPLITS.items():
        count = sum(name in names for names in split_of.values())
        if split_of and count != expected:
            raise InputError(f"{name}.txt names {count:,} objects where {expected:,} are expected; fetch it again")


def _annotation(file: Path, count: int, split_of: dict[int, list[str]], split: str | None, gathered: Gathering) -> int:
    """The number of the next object."""
    try:
        root = parse_xml(file)
    except InputError as error:
        if split_of:
            raise InputError(f"{error}; without this file every later object would have another number") from error
        gathered.account.dropped.add("file that cannot be read", file.name)
        return count
    elements = root.findall("object")
    numbered = [(number, element, split_of.get(number, [])) for number, element in enumerate(elements, count)]
    wanted = [one for one in numbered if split is None or split in one[2]]
    if not wanted and split is not None:
        return count + len(elements)
    size = (root.findtext("size/width"), root.findtext("size/height"))
    name = (root.findtext("filename") or f"{file.stem}.jpg").strip()
    key = gathered.image(name, file.name, nominal=(SIDE_PX, SIDE_PX), size=size)
    for number, element, splits in wanted if key is not None else ():
        names: list[str | None] = [one for one in splits if split in (None, one)] or [None]
        _object(element, str(number), str(key), names, f"{file.name}, object {number}", gathered)
    return count + len(elements)


def _object(element, id_: str, key: str, splits: list[str | None], where: str, gathered: Gathering) -> None:
    label, box = (element.findtext("name") or "").strip(), element.find("bndbox")
    edges = [None if box is None else (box.findtext(tag) or "").strip() for tag in EDGES]
    shape, note = box_shape(edges)
    if shape is None or not label:
        return gathered.account.dropped.add(note if shape is None else "no class name", where)
    if note:
        gathered.account.changed.add(note, where)
    by_place = [child.tag for child in element][2:4], [child.tag for child in box][:4]
    if by_place != (["bndbox", "description"], list(EDGES)):
        gathered.account.changed.add("children in another order than the published loader reads", where)
    pose = (element.findtext("pose") or "").strip()
    own = gathered.add(key, shape, label, "hbb", id=id_, attributes={"pose": pose} if pose else {})
    expression = text_of(element.findtext("description"))
    if expression is None:
        return gathered.account.dropped.add("object without an expression", where)
    if len(splits) > 1:
        gathered.account.changed.add("object in two splits, asked about in both", where)
    for split in splits:
        gathered.ask(
            id_, key, "rec", text=expression, object_ids=(own,), split=split,
            params={"expression": expression.strip(), "class": label},
        )  # fmt: skip
    return None


# --- writing --------------------------------------------------------------------------------------------------


def _write_image(file: Path, key: str, image: LabelledImage, said, count: int, numbers, account: Account) -> int:
    root = ElementTree.Element("annotation")
    _child(root, "filename", image.file_name)
    if image.width is not None and image.height is not None:
        size = ElementTree.SubElement(root, "size")
        for tag, value in (("width", image.width), ("height", image.height), ("depth", 3)):
            _child(size, tag, value)
    for thing in image.objects:
        where = f"{image.file_name}, object {thing.id}"
        asked = said.get((key, thing.id), [])
        if not asked or thing.geometry.is_empty:
            # the published loader stops at an object without an expression
            account.dropped.add("object without an expression or an area", where)
            continue
        bounds_4 = np.array(thing.geometry.bounds)
        edges_4 = np.floor(bounds_4 + 0.5).astype(int)
        edges_4[2:] = np.maximum(edges_4[2:], edges_4[:2] + 1)
        if thing.kind != "hbb" or not np.array_equal(edges_4, bounds_4):
            account.changed.add("shape written as its box of whole pixels", where)
        if thing.id != str(count):
            account.changed.add("object numbered anew", where)
        for text in dict.fromkeys(one.text for one in asked):
            _write_object(root, thing, edges_4, text)
            for one in asked:
                if one.text == text and one.split is not None:
                    numbers.setdefault(one.split, []).append(count)
            count += 1
            account.kept += 1
    if len(root.findall("object")):
        ElementTree.indent(root)
        write_text(file, ElementTree.tostring(root, encoding="unicode") + "\n")
    return count


def _write_object(root: ElementTree.Element, thing, edges_4: np.ndarray, text: str) -> None:
    element = ElementTree.SubElement(root, "object")
    _child(element, "name", thing.label)
    _child(element, "pose", thing.attributes.get("pose", "Unspecified"))
    box = ElementTree.SubElement(element, "bndbox")
    for tag, value in zip(EDGES, edges_4, strict=True):
        _child(box, tag, as_whole(int(value)))
    _child(element, "description", text)


def _child(parent: ElementTree.Element, tag: str, value: object) -> None:
    # control characters cannot stand in XML at all, not even escaped
    ElementTree.SubElement(parent, tag).text = "".join(c for c in str(value) if c.isprintable() or c in "\t\n")


SOURCE = Source(
    "dior-rsvg",
    "the folder with Annotations/ and train.txt, val.txt, test.txt; or the annotations alone",
    "not stated; images of DIOR, academic use only",
    read,
    write,
)
