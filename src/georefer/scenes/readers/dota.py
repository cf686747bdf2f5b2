"""DOTA in its published folders: `labelTxt/*.txt` beside `images/*.png`, whole scenes or tiles cut from them.

The format is `georefer.scenes.interchange.dota`'s, which says how corners and difficult objects are read. Here the
sizes come from the pictures, and names of tiles (`P0706__1__0___824`, as DOTA's and mmrotate's tools write them) become
the image's attributes "scene", "tile" (its corner) and either "tile_size" or "rate": numbers below 16 are the scale
before cutting, in which the corner is counted.
Nothing is asked in these files: there are no questions.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from georefer.scenes.interchange import dota
from georefer.scenes.interchange.base import Account, stem_of
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.gathering import HeaderSizes

MAX_RATE = 16
"""What stands before the corner is a scale below this, and a side in pixels otherwise."""

_TILE = re.compile(r"(?P<scene>[^/]{1,200}?)__(?P<size>\d{1,6}(?:\.\d{1,6})?)__(?P<x>\d{1,7})___(?P<y>\d{1,7})")


def read(
    path: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    *,
    names: Collection[str] | None = None,
    tolerance_px: float = 1.0,
) -> Published:
    """A folder of label files, or the one that holds `labelTxt` and perhaps `images`. `names`: as in the format."""
    path = Path(path)
    inside = next(
        (path / name for name in ("labelTxt", "labelTxt-v2.0", "labelTxt-v1.5") if (path / name).is_dir()), None
    )
    if images is None and inside is not None and (path / "images").is_dir():
        images = path / "images"
    sizes = HeaderSizes(images)
    found = dota.read(inside or path, sizes=lambda stem: sizes(stem + ".png"), names=names, tolerance_px=tolerance_px)
    known = {
        image.file_name: replace(image, attributes={**image.attributes, **tile_of(image.file_name)}) for image in found
    }
    return Published("DOTA", known, (), found.account)


def write(published: Published, path: str | Path, *, decimals: int = 2) -> Account:
    """One label file an image in the folder `path`."""
    return dota.write(published.images.values(), path, decimals=decimals)


def tile_of(name: str) -> dict[str, Any]:
    """What a tile's name says of the scene it was cut from; {} for others."""
    match = _TILE.fullmatch(stem_of(PurePosixPath(name).name))
    if match is None:
        return {}
    size = float(match["size"])
    side = {"rate": size} if size < MAX_RATE else {"tile_size": int(size)}
    return {"scene": match["scene"], "tile": [int(match["x"]), int(match["y"])], **side}


SOURCE = Source(
    "dota",
    "a folder of label files, or the one that holds labelTxt and images",
    "academic use only (captain-whu.github.io/DOTA)",
    read,
    write,
)
