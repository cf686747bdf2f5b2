"""Objects in the file formats of the field: `read` and `write` by a format's name, as this table has them.

    name           on disk                                  kinds it holds as they are
    coco           one JSON file                            hbb, obb*, polygon, mask
    coco-results   one JSON list of scored detections       hbb, polygon, mask
    dota           a folder, one text file an image         obb
    dota-results   a folder, one Task1 file a class         obb
    yolo           labels/ and data.yaml                    hbb
    yolo-obb       labels/ and data.yaml                    obb
    yolo-seg       labels/ and data.yaml                    polygon without holes or parts
    voc            a folder, one XML file an image          hbb (whole pixels), obb as robndbox

    * through a key that other readers ignore; they see its outline

Reading gives `Read`: the images, and an `Account` of what was dropped and changed, with counts and examples for
each reason. Writing gives an `Account` too: a format that cannot hold something says so. The conventions of
each format, their traps and where they are documented stand in its module. Layers on the ground (GeoPackage,
GeoJSON, GeoParquet) are not here but in `georefer.imagery`: they have no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.scenes.interchange import coco, dota, voc, yolo
from georefer.scenes.interchange.base import Account, LabelledImage, Read, Tally
from georefer.scenes.interchange.files import image_sizes


@dataclass(frozen=True)
class Format:
    """How one format is read and written; the options are those of the two functions."""

    read: Callable[..., Read]
    write: Callable[..., Account]


FORMATS: dict[str, Format] = {
    "coco": Format(coco.read, coco.write),
    "coco-results": Format(coco.read_results, coco.write_results),
    "dota": Format(dota.read, dota.write),
    "dota-results": Format(dota.read_results, dota.write_results),
    "yolo": Format(partial(yolo.read, variant="yolo"), partial(yolo.write, variant="yolo")),
    "yolo-obb": Format(partial(yolo.read, variant="yolo-obb"), partial(yolo.write, variant="yolo-obb")),
    "yolo-seg": Format(partial(yolo.read, variant="yolo-seg"), partial(yolo.write, variant="yolo-seg")),
    "voc": Format(voc.read, voc.write),
}


def read(name: str, path: str | Path, **options: Any) -> Read:
    """The labelled images of a file or folder in the format `name`; the format's own `read` says the options."""
    return _format(name).read(path, **options)


def write(name: str, images: Iterable[LabelledImage], path: str | Path, **options: Any) -> Account:
    """Writes images in the format `name`; the account says what the format could not hold."""
    return _format(name).write(images, path, **options)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(
            f"'{name}' was found where an annotation format is expected; choose among {', '.join(FORMATS)}"
        )
    return FORMATS[name]


__all__ = ["FORMATS", "Account", "Format", "LabelledImage", "Read", "Tally", "image_sizes", "read", "write"]
