"""Sets of images as the leak audit looks at them: hashes, fingerprints, names and corners, and no pixels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import shapely
from pyproj.exceptions import CRSError, ProjError

from georefer.errors import InputError, RasterError
from georefer.evaluation.fingerprints import fingerprint
from georefer.geometry import GeoGrid
from georefer.imagery.encode import MAX_PIXELS
from georefer.imagery.raster import open_imagery
from georefer.scenes import Scene, open_dataset
from georefer.scenes.interchange.base import IMAGE_ENDINGS, stem_of
from georefer.scenes.readers.dota import tile_of

OVERVIEW_PX = 1024
"""Longer side at which an image is looked at that is too large to be decoded."""
SPLIT_FOLDERS = frozenset({"train", "val", "valid", "validation", "test"})

_BUILT = re.compile(r"(?:train|test)-\d{6}-\d{6}(?:-\d?m?)?")
_NAMED_BY = ("source_id", "image", "file_name")

Window = tuple[float, float, float, float]


@dataclass(frozen=True)
class Source:
    """What a name says: the scene, and the window of it in the scene's pixels, None for all of it."""

    scene: str
    window: Window | None = None


@dataclass
class ImageSet:
    """One split of one dataset, as far as the audit looks at it; entries of the lists belong together."""

    name: str
    split: str | None
    images: list[str] = field(default_factory=list)
    contents: list[bytes | None] = field(default_factory=list)
    prints: list[np.ndarray | None] = field(default_factory=list)
    sources: list[tuple[Source, ...]] = field(default_factory=list)
    corners: list[np.ndarray | None] = field(default_factory=list)
    unreadable: int = 0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def title(self) -> str:
        return self.name if self.split is None else f"{self.name}:{self.split}"

    def add(
        self, image: str, pixels_HW3: np.ndarray, sources: Iterable[Source], grid: GeoGrid | None, *, whole: bool = True
    ) -> None:
        """An image of RGB uint8 pixels; `whole` says that they are all it has."""
        plain = bool((pixels_HW3 == pixels_HW3[:1, :1]).all())
        self.images.append(image)
        # an image of one colour is the same everywhere and gives nothing away
        self.contents.append(None if plain or not whole else _digest(pixels_HW3))
        self.prints.append(None if plain else fingerprint(pixels_HW3))
        self.sources.append(tuple(sources))
        self.corners.append(_lonlat_corners(grid))


def read_sets(path: Path | str, name: str | None = None, splits: Sequence[str] | None = None) -> list[ImageSet]:
    """The splits of a dataset that georefer built, or of a folder of images; only those in `splits` where given.

    In a plain folder, folders named train, val, test and alike are splits. InputError where there is no image.
    """
    path = Path(path)
    name = name or path.resolve().name
    if not path.is_dir():
        raise InputError(f"there is no folder {path} where a dataset or a folder of images is expected; check the path")
    is_built = (path / "manifest.json").is_file() and (path / "scenes").is_dir()
    found = _built_sets(path, name, splits) if is_built else _folder_sets(path, name, splits)
    if not any(len(one) for one in found):
        asked = f" of the splits {', '.join(splits)}" if splits else ""
        raise InputError(f"{path} holds no image{asked} that can be read where a dataset is expected; check the path")
    return found


def _built_sets(path: Path, name: str, splits: Sequence[str] | None) -> list[ImageSet]:
    dataset, found = open_dataset(path), []
    for split in dataset.manifest["splits"]:
        if splits and split not in splits:
            continue
        found.append(ImageSet(name, split))
        for scene in dataset.scenes(split):
            try:
                found[-1].add(scene.id, scene.pixels(), _sources_of_scene(scene), scene.grid)
            except RasterError:
                found[-1].unreadable += 1
    return found


def _folder_sets(path: Path, name: str, splits: Sequence[str] | None) -> list[ImageSet]:
    found: dict[str | None, ImageSet] = {}
    root = path.resolve()
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() not in IMAGE_ENDINGS or not file.is_file() or not file.resolve().is_relative_to(root):
            continue
        relative = file.relative_to(path)
        split = relative.parts[0] if relative.parts[0] in SPLIT_FOLDERS else None
        if splits and split not in splits:
            continue
        into = found.setdefault(split, ImageSet(name, split))
        try:
            pixels_HW3, whole, grid = _open(file)
        except RasterError:
            into.unreadable += 1
            continue
        into.add(relative.as_posix(), pixels_HW3, [source_of(file.name, (grid.width, grid.height))], grid, whole=whole)
    return list(found.values())


def _open(file: Path) -> tuple[np.ndarray, bool, GeoGrid]:
    """(RGB pixels, whether they are all of them, grid)."""
    try:
        imagery = open_imagery(file)
    except RasterError:
        imagery = open_imagery(file, bands=(1,))
    with imagery:
        grid = imagery.grid
        whole = grid.width * grid.height <= MAX_PIXELS
        side = max(grid.width, grid.height) if whole else OVERVIEW_PX
        return imagery.overview(side).image_HW3, whole, grid


def source_of(name: str, size: tuple[int, int]) -> Source:
    """What the name of an image of that size says of where it comes from."""
    tile = tile_of(name)
    if not tile:
        return Source(stem_of(PurePosixPath(name).name).lower())
    (x, y), (width, height) = tile["tile"], size
    if "rate" in tile:
        # corner and size are in pixels after scaling
        rate = tile["rate"] or 1.0
        return Source(tile["scene"].lower(), (x / rate, y / rate, (x + width) / rate, (y + height) / rate))
    return Source(tile["scene"].lower(), (x, y, x + tile["tile_size"], y + tile["tile_size"]))


def _sources_of_scene(scene: Scene) -> Iterator[Source]:
    said = [scene.provenance[key] for key in _NAMED_BY if isinstance(scene.provenance.get(key), str)]
    for name in [*said, *([] if _BUILT.fullmatch(scene.id) else [scene.id])]:
        yield source_of(name, scene.size)
    window, source = scene.provenance.get("window_px"), scene.provenance.get("source")
    if scene.grid.crs is None and isinstance(source, str) and source and isinstance(window, list) and len(window) == 4:
        x1, y1, x2, y2 = (float(edge) for edge in window)
        yield Source(f"source: {source.lower()}", (x1, y1, x2, y2))


def _digest(pixels_HW3: np.ndarray) -> bytes:
    head = f"{pixels_HW3.shape} ".encode()
    return hashlib.blake2b(head + np.ascontiguousarray(pixels_HW3).tobytes(), digest_size=16).digest()


def _lonlat_corners(grid: GeoGrid | None) -> np.ndarray | None:
    """The corners in longitude and latitude; across the date line they go on beyond 180."""
    if grid is None or grid.crs is None:
        return None
    width, height = grid.width, grid.height
    try:
        corners_42 = grid.pixel_to_lonlat(np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=float))
    except (ProjError, CRSError):
        return None
    if not np.isfinite(corners_42).all():
        return None
    if np.ptp(corners_42[:, 0]) > 180:
        corners_42[:, 0] %= 360
    outline = shapely.Polygon(corners_42)
    return corners_42 if outline.is_valid and outline.area > 0 else None
