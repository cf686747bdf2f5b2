"""Pascal VOC: one XML file an image, boxes as pixel numbers; with the rotated boxes that others added to it.

Source: host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc (the development kit: coordinates of the top-left pixel
are (1, 1), the last pixel belongs to the box). roLabelImg adds `robndbox` (cx, cy, w, h, angle in radians,
clockwise on the screen); DIOR-R writes four named corners into it; HRSC2016 has elements of its own (`mbox_*`,
the same angle, and the head's position).

- *Pixels become edges*: the devkit's box holds the pixels xmin to xmax, counted from 1. Pixel n lies between
  the edges n - 1 and n, so the outer edges are (xmin - 1, ymin - 1, xmax, ymax), and a box of one pixel
  (xmin == xmax) is one pixel wide. Other tools write other numbers under the same names, and a file does not
  say which. So the caller does:

      one_based  inclusive   outer edges                       written by
      True       True        (xmin-1, ymin-1, xmax, ymax)      the devkit (default)
      False      True        (xmin, ymin, xmax+1, ymax+1)      tools that number pixels from 0
      False      False       (xmin, ymin, xmax, ymax)          tools that write corner points
      True       False       (xmin-1, ymin-1, xmax-1, ymax-1)  as mmdetection reads every file

- Written boxes are rounded to whole pixels, at least one wide. Rotated boxes are not: their numbers are
  continuous points (the drawing tool's), no pixel is added or taken, and `w` lies along the heading. A box with
  the head at the other end differs from it by half a turn, which `angle` keeps.
- `<part>` elements have boxes of their own, which are not the object's. truncated, difficult, occluded (whole
  numbers), pose and other plain children become attributes.
- XML may define entities that grow without end or name local files: a document type is refused, and elements
  nested without end too.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from xml.parsers import expat

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import OBB, Object
from georefer.scenes.interchange.base import Account, LabelledImage, Read, Rows, count_losses, quad_shape, signed_area
from georefer.scenes.interchange.files import (
    MAX_DEPTH,
    as_numbers,
    as_side,
    as_whole,
    label_files,
    label_paths,
    read_each,
    read_text,
    required_name,
    safe_name,
    write_text,
)

_FLAGS = ("truncated", "difficult", "occluded")
_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def read(
    path: str | Path,
    *,
    one_based: bool = True,
    inclusive: bool = True,
    names: Mapping[str, str] | None = None,
    unnamed: str | None = None,
    tolerance_px: float = 1.0,
    ending: str = ".jpg",
) -> Read:
    """The XML files of a folder, or one. `one_based` and `inclusive`: see the table above.

    `names` puts labels in the place of others (HRSC's class numbers); `unnamed` is the label of objects whose
    name is empty, which are dropped otherwise. `ending` completes image names that have none.
    """
    path, account, seen = Path(path), Account(), set()
    shift_4 = np.array([-1, -1, -1, -1] if one_based else [0, 0, 0, 0]) + ([0, 0, 1, 1] if inclusive else [0, 0, 0, 0])

    def one(stem: str, file: Path) -> LabelledImage | None:
        root = parse_xml(file)
        if root.tag not in ("annotation", "HRSC_Image"):
            raise InputError(
                f"{file} holds <{root.tag[:50]}> where <annotation> or <HRSC_Image> is expected; leave out other files"
            )
        elements = root.findall("object") or root.findall("HRSC_Objects/HRSC_Object")
        name = _image_name(root, stem, ending, account)
        if name is None:
            account.dropped.add("image name leads out of its folder", file.name, max(1, len(elements)))
            return None
        if name in seen:
            account.changed.add("image name used twice, named after its file", file.name)
            name = stem + (PurePosixPath(name).suffix or ending)
        seen.add(name)
        rows = Rows(account)
        for number, element in enumerate(elements, 1):
            _object(element, f"{file.name}, object {number}", rows, shift_4, names or {}, unnamed, tolerance_px)
        width = as_side(root.findtext("size/width") or root.findtext("Img_SizeWidth"))
        height = as_side(root.findtext("size/height") or root.findtext("Img_SizeHeight"))
        return LabelledImage(name, width, height, rows.objects())

    return Read(read_each(path, label_files(path, ".xml", account), one, account), account)


def write(
    images: Iterable[LabelledImage], path: str | Path, *, one_based: bool = True, inclusive: bool = True
) -> Account:
    """One XML file an image in the folder `path`: boxes as `bndbox`, oriented boxes as `robndbox`."""
    images, account = list(images), Account()
    for image, file in zip(images, label_paths(images, Path(path), ".xml"), strict=True):
        root = ElementTree.Element("annotation")
        _child(root, "filename", required_name(image))
        if image.width is not None and image.height is not None:
            size = ElementTree.SubElement(root, "size")
            for tag, value in (("width", image.width), ("height", image.height), ("depth", 3)):
                _child(size, tag, value)
        count_losses(account, image.file_name, image.objects, keeps=(*_FLAGS, "pose"), scores=False)
        for one in image.objects:
            _write_object(root, one, f"{image.file_name}, object {one.id}", account, one_based, inclusive)
        ElementTree.indent(root)
        write_text(file, ElementTree.tostring(root, encoding="unicode") + "\n")
    return account


# --- reading --------------------------------------------------------------------------------------------------


def parse_xml(file: Path) -> ElementTree.Element:
    """The tree of an XML file without document type; built by hand because ElementTree expands entities."""
    builder, parser, depth = ElementTree.TreeBuilder(), expat.ParserCreate(), 0

    def refuse(*_: object) -> None:
        raise InputError(f"{file} declares a document type, which annotations do not need; remove it to read the file")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise InputError(f"{file} is nested deeper than {MAX_DEPTH} elements where annotations are flat; check it")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartDoctypeDeclHandler, parser.EntityDeclHandler = refuse, refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    text = read_text(file)
    try:
        # as bytes, expat would follow the encoding that the file claims; it was read as UTF-8
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise InputError(f"{file} is no XML ({error}) where annotations are expected; fetch it again") from error
    return builder.close()


def _image_name(root: ElementTree.Element, stem: str, ending: str, account: Account) -> str | None:
    """The image's name, checked; the XML file's own where none is said. None if it cannot be trusted."""
    said = (root.findtext("filename") or root.findtext("Img_FileName") or "").strip()
    if not said:
        account.changed.add("image without a name, named after its file", stem)
        return stem + ending
    name = safe_name(said)
    if root.tag == "HRSC_Image" and name is not None:
        return f"{name}.{(root.findtext('Img_FileFmt') or 'bmp').strip()}"
    return name if name is None or "." in name else name + ending


def _object(element, where: str, rows: Rows, shift_4, names, unnamed: str | None, tolerance_px: float) -> None:
    label = (element.findtext("name") or element.findtext("Class_ID") or "").strip() or unnamed
    if not label:
        return rows.account.dropped.add("no class name", where)
    label = names.get(label, label)
    rotated, box = element.find("robndbox"), element.find("bndbox")
    if element.tag == "HRSC_Object":
        return _angled(element, "mbox_", "ang", where, rows, label)
    if rotated is not None and rotated.find("x_left_top") is not None:
        return _cornered(element, rotated, where, rows, label, tolerance_px)
    if rotated is not None:
        return _angled(element, "", "angle", where, rows, label, rotated)
    if box is None:
        return rows.account.dropped.add("no box", where)
    edges_4 = _numbers(box, ("xmin", "ymin", "xmax", "ymax"))
    if edges_4 is None:
        return rows.account.dropped.add("coordinates are no numbers", where)
    edges_4 = edges_4 + shift_4
    if edges_4[2] <= edges_4[0] or edges_4[3] <= edges_4[1]:
        return rows.account.dropped.add("no area", where)
    rows.add(shapely.box(*edges_4), label, "hbb", attributes=_attributes(element))


def _angled(element, prefix: str, angle: str, where: str, rows: Rows, label: str, holder=None) -> None:
    """Centre, sides and an angle; HRSC says where the head is, which decides between the two ends."""
    values_5 = _numbers(element if holder is None else holder, [prefix + tag for tag in ("cx", "cy", "w", "h", angle)])
    if values_5 is None:
        return rows.account.dropped.add("coordinates are no numbers", where)
    cx, cy, width, height, radians = values_5
    if width <= 0 or height <= 0:
        return rows.account.dropped.add("no area", where)
    head_2 = _numbers(element, ("header_x", "header_y"))
    if head_2 is not None and (head_2 - (cx, cy)) @ (math.cos(radians), math.sin(radians)) < 0:
        radians += math.pi
    box = OBB(cx, cy, width, height, math.degrees(radians) % 360)
    rows.add(box.to_polygon(), label, "obb", attributes=_attributes(element))


def _cornered(element, rotated, where: str, rows: Rows, label: str, tolerance_px: float) -> None:
    corners_8 = _numbers(rotated, [f"{axis}_{corner}" for corner in _CORNERS for axis in "xy"])
    if corners_8 is None:
        return rows.account.dropped.add("coordinates are no numbers", where)
    corners_42 = corners_8.reshape(4, 2)
    if signed_area(corners_42) == 0:
        return rows.account.dropped.add("no area", where)
    shape, kind, notes = quad_shape(corners_42, tolerance_px)
    for note in notes:
        rows.account.changed.add(note, where)
    rows.add(shape, label, kind, attributes=_attributes(element))


def _numbers(element: ElementTree.Element, tags: Iterable[str]) -> np.ndarray | None:
    return as_numbers((element.findtext(tag) or "").strip() for tag in tags)


def _attributes(element: ElementTree.Element) -> dict[str, object]:
    """What else stands beside the box: flags as whole numbers, other plain words as they are."""
    known = ("name", "type", "Class_ID", "robndbox", "bndbox", "part")
    found: dict[str, object] = {}
    for child in element:
        text = (child.text or "").strip()
        if child.tag in known or len(child) or not text or child.tag.startswith(("mbox_", "box_", "header_")):
            continue
        number = as_whole(text)
        found[child.tag] = number if child.tag in _FLAGS and number is not None else text
    return found


# --- writing --------------------------------------------------------------------------------------------------


def _write_object(root, one: Object, where: str, account: Account, one_based: bool, inclusive: bool) -> None:
    if shapely.get_dimensions(one.geometry) < 2 or one.geometry.is_empty:
        return account.dropped.add(f"a {one.kind} has no area to write", where)
    if not one.label.strip():
        return account.dropped.add("no class name", where)
    account.kept += 1
    element = ElementTree.SubElement(root, "object")
    if one.kind == "obb":
        _child(element, "type", "robndbox")
    _child(element, "name", one.label)
    # readers in the field ask every object for `difficult`, and stumble where it is missing
    for tag, value in {"difficult": 0, **one.attributes}.items():
        if tag in _FLAGS or tag == "pose":
            _child(element, tag, value if tag == "pose" else as_whole(value) or 0)
    if one.kind == "obb":
        box, holder = OBB.from_polygon(one.geometry), ElementTree.SubElement(element, "robndbox")
        values = (box.cx, box.cy, box.length, box.width, math.radians(box.heading_deg))
        for tag, value in zip(("cx", "cy", "w", "h", "angle"), values, strict=True):
            _child(holder, tag, f"{value:.6f}")
        return None
    if one.kind != "hbb":
        account.changed.add("shape written as its box", where)
    bounds_4 = np.array(one.geometry.bounds)
    edges_4 = np.floor(bounds_4 + 0.5).astype(int)
    edges_4[2:] = np.maximum(edges_4[2:], edges_4[:2] + 1)
    if not np.array_equal(edges_4, bounds_4):
        account.changed.add("edges rounded to whole pixels", where)
    edges_4 += (1 if one_based else 0) - np.array([0, 0, 1, 1]) * (1 if inclusive else 0)
    holder = ElementTree.SubElement(element, "bndbox")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), edges_4, strict=True):
        _child(holder, tag, int(value))
    return None


def _child(parent: ElementTree.Element, tag: str, value: object) -> None:
    # control characters cannot stand in XML at all, not even escaped
    text = "".join(c for c in str(value) if c.isprintable() or c in "\t\n")
    ElementTree.SubElement(parent, tag).text = text
