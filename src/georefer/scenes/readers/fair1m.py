"""FAIR1M: one XML file an image, oriented boxes of 37 fine classes as five points.

    <annotation><source><filename>0.tif</filename><origin>GF2/GF3</origin></source>
      <size><width>1000</width><height>1000</height><depth>3</depth></size>
      <objects><object><coordinate>pixel</coordinate><type>rectangle</type><description>None</description>
        <possibleresult><name>Boeing737</name></possibleresult>
        <points><point>468.0,433.0</point> ... four corners, and the first one again</points></object></objects>
    </annotation>

Source: the challenge's sample files (gaofen-challenge.com) and readers of several projects (FAIR1M 1.0 and 2.0).

- The rectangle is closed and may begin at any corner: the corners' order says nothing of a front. So boxes are read
  without a heading of their own: the length is the longer side, the heading below 180 degrees.
- Coordinates that are not "pixel" are dropped. Names stay as written ("Boeing 737" and "Boeing737" both occur).
- `<probability>` (result files of the challenge) is the score; the first `<possibleresult>` is the one that counts.
- Documents with a document type are refused, as in `georefer.scenes.interchange.voc`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import OBB, Object
from georefer.scenes.interchange.base import Account, LabelledImage, Rows, count_losses, plain, quad_corners, quad_shape
from georefer.scenes.interchange.files import (
    as_number,
    as_numbers,
    as_side,
    label_files,
    label_paths,
    read_each,
    required_name,
    safe_name,
    write_text,
)
from georefer.scenes.interchange.voc import parse_xml
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.gathering import HeaderSizes

_FOLDERS = ("labelXml", "labelXmls", "label_xml", "labels")


def read(
    path: str | Path, images: str | Path | None = None, split: str | None = None, *, tolerance_px: float = 1.0
) -> Published:
    """A folder of XML files, the one that holds `labelXml` (and perhaps `images`), or one file."""
    path, account = Path(path), Account()
    inside = next((path / name for name in _FOLDERS if (path / name).is_dir()), None)
    if images is None and inside is not None and (path / "images").is_dir():
        images = path / "images"
    sizes, seen = HeaderSizes(images), set()

    def one(stem: str, file: Path) -> LabelledImage | None:
        root = parse_xml(file)
        if root.tag != "annotation" or root.find("objects") is None:
            raise InputError(
                f"{file} holds <{root.tag[:50]}> where <annotation> with <objects> is expected; leave out other files"
            )
        elements = root.findall("objects/object")
        name = safe_name((root.findtext("source/filename") or "").strip() or stem + ".tif")
        if name is None:
            account.dropped.add("image name leads out of its folder", file.name, max(1, len(elements)))
            return None
        if name in seen:
            account.changed.add("image name used twice, named after its file", file.name)
            name = stem + ".tif"
        seen.add(name)
        rows = Rows(account)
        for number, element in enumerate(elements, 1):
            _object(element, f"{file.name}, object {number}", rows, tolerance_px)
        width, height = as_side(root.findtext("size/width")), as_side(root.findtext("size/height"))
        if measured := sizes(name):
            if None not in (width, height) and measured != (width, height):
                account.changed.add("size in the file is not the picture's, which is taken", file.name)
            width, height = measured
        origin = (root.findtext("source/origin") or "").strip()
        return LabelledImage(name, width, height, rows.objects(), {"origin": origin} if origin else {})

    inside = inside or path
    found = read_each(inside, label_files(inside, ".xml", account), one, account)
    return Published("FAIR1M", {image.file_name: image for image in found}, (), account)


def write(published: Published, path: str | Path, *, decimals: int = 2) -> Account:
    """One XML file an image in the folder `path`, its points rounded to `decimals`."""
    images, account = list(published.images.values()), Account()
    for image, file in zip(images, label_paths(images, Path(path), ".xml"), strict=True):
        root = ElementTree.Element("annotation")
        source = ElementTree.SubElement(root, "source")
        _child(source, "filename", required_name(image))
        _child(source, "origin", image.attributes.get("origin", "unknown"))
        if image.width is not None and image.height is not None:
            size = ElementTree.SubElement(root, "size")
            for tag, value in (("width", image.width), ("height", image.height), ("depth", 3)):
                _child(size, tag, value)
        count_losses(account, image.file_name, image.objects, keeps=("description",), scores=True)
        objects = ElementTree.SubElement(root, "objects")
        for one in image.objects:
            _write_object(objects, one, f"{image.file_name}, object {one.id}", account, decimals)
        ElementTree.indent(root)
        write_text(file, ElementTree.tostring(root, encoding="unicode") + "\n")
    return account


def _object(element: ElementTree.Element, where: str, rows: Rows, tolerance_px: float) -> None:
    dropped = rows.account.dropped
    label = (element.findtext("possibleresult/name") or "").strip()
    if not label:
        return dropped.add("no class name", where)
    coordinate = (element.findtext("coordinate") or "pixel").strip().lower()
    if coordinate != "pixel":
        return dropped.add(f"coordinates are {coordinate[:40]!r}, not pixels", where)
    points = [(point.text or "").split(",") for point in element.findall("points/point")]
    if len(points) == 5 and points[4] == points[0]:
        points = points[:4]
    if len(points) != 4 or any(len(point) != 2 for point in points):
        return dropped.add("not four corners and the first again", where)
    corners_8 = as_numbers(word.strip() for point in points for word in point)
    if corners_8 is None:
        return dropped.add("coordinates are no numbers", where)
    if shapely.convex_hull(shapely.MultiPoint(corners_8.reshape(4, 2))).area == 0:
        return dropped.add("no area", where)
    shape, kind, notes = quad_shape(corners_8.reshape(4, 2), tolerance_px)
    # the order of corners means nothing here, their turn neither
    for note in notes:
        if "anticlockwise" not in note:
            rows.account.changed.add(note, where)
    if kind == "obb":
        shape = _without_front(shape)
    score = as_number((element.findtext("possibleresult/probability") or "").strip())
    description = (element.findtext("description") or "").strip()
    attributes = {"description": description} if description not in ("", "None") else {}
    return rows.add(shape, label, kind, score=score, attributes=attributes)


def _without_front(shape: shapely.Polygon) -> shapely.Polygon:
    """The same rectangle with its length along the longer side and a heading below 180 degrees."""
    box = OBB.from_polygon(shape)
    length, width, heading = box.length, box.width, box.heading_deg
    if width > length:
        length, width, heading = width, length, heading + 90
    heading %= 180
    # what rounding leaves just below half a turn is none
    return OBB(box.cx, box.cy, length, width, 0.0 if heading > 180 - 1e-9 else heading).to_polygon()


def _write_object(objects: ElementTree.Element, one: Object, where: str, account: Account, decimals: int) -> None:
    corners_42, notes = quad_corners(one.geometry, one.kind)
    if corners_42 is None or not one.label.strip():
        return account.dropped.add(
            f"a {one.kind} has no corners to write" if corners_42 is None else "no class name", where
        )
    for note in notes:
        account.changed.add(note, where)
    account.kept += 1
    element = ElementTree.SubElement(objects, "object")
    for tag, value in (("coordinate", "pixel"), ("type", "rectangle")):
        _child(element, tag, value)
    _child(element, "description", one.attributes.get("description", "None"))
    result = ElementTree.SubElement(element, "possibleresult")
    _child(result, "name", one.label)
    if one.score is not None:
        _child(result, "probability", plain(one.score, 6))
    points = ElementTree.SubElement(element, "points")
    for x, y in np.concatenate([corners_42, corners_42[:1]]):
        _child(points, "point", f"{plain(x, decimals)},{plain(y, decimals)}")
    return None


def _child(parent: ElementTree.Element, tag: str, value: object) -> None:
    # control characters cannot stand in XML at all, not even escaped
    ElementTree.SubElement(parent, tag).text = "".join(c for c in str(value) if c.isprintable() or c in "\t\n")


SOURCE = Source(
    "fair1m",
    "a folder of XML files, or the one that holds labelXml and images",
    "CC-BY-NC-SA-3.0 by the publisher; academic use",
    read,
    write,
)
