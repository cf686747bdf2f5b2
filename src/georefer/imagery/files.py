"""Files of pixels: which ones a source names, and how they are opened without reading what nobody named.

Local files and addresses (http, https) alike. Imagery comes from strangers, and some formats hold no pixels but say
where to get them, which can be any file or address. So those formats are not opened, with one exception: a local
`.vrt` that a source names by itself is trusted as its namer trusts it; in folders and patterns it is left out.
Addresses are read by parts (`/vsicurl/`), no other of GDAL's virtual file systems is.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import rasterio
from affine import Affine
from rasterio import DatasetReader
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from georefer.errors import RasterError

Source = str | Path | Sequence[str | Path]
"""One file or address, a list of them, a folder or a glob pattern."""

Location = Path | str
"""A local file, or an address as text."""

SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".img"})
"""What counts as imagery in a folder; a file named one by one may end as it likes."""

SIDECARS = frozenset({".xml", ".ovr", ".msk", ".tfw", ".wld", ".prj", ".txt", ".json", ".geojson", ".vrt", ".md"})
"""What a glob pattern such as `tiles/*` catches beside the imagery."""

POINTERS = frozenset(
    {"VRT", "DERIVED", "GTI", "TIL", "MRF", "ERS", "OZI", "MAP", "PDS", "PDS4", "ISIS2", "ISIS3", "VICAR", "ECRGTOC"}
    | {"RPFTOC", "KMLSUPEROVERLAY", "WMS", "WMTS", "WCS", "HTTP", "DAAS", "EEDA", "EEDAI", "PLMOSAIC", "STACIT"}
    | {"STACTA"}
)
"""Drivers of formats that name files or addresses at will."""

REMOTE = ("GTiff", "COG", "JP2OpenJPEG", "PNG", "JPEG", "WEBP")
"""Drivers for addresses: formats of one file."""

CACHE_BYTES = 64 << 20
"""Decoded blocks that GDAL keeps in a process; its own default is a share of the machine's memory."""

HTTP_OPTIONS = {
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    # a listing of the folder and sidecar files would be asked for otherwise
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}

MAX_ZOOM = 30
_TILE_NAME = re.compile(r"(?:.*[^0-9])?([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,2})")
_NUMBER = re.compile(r"[0-9]{1,10}")
_EQUATOR_M = 2 * 20037508.342789244


def is_address(source: object) -> bool:
    """Whether this names something on the web rather than a file."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def find_files(source: Source) -> list[Location]:
    """The files that a source names, sorted where it is a folder or a pattern; never none.

    A folder may be one of web tiles by zoom, column and row: `z/x/y.png`, or what lies below one `z`.
    """
    if not isinstance(source, str | Path):
        if not source:
            raise RasterError("an empty list was found where imagery is expected; name at least one file")
        return [path for item in source for path in find_files(item)]
    if is_address(source):
        return [_checked_address(str(source))]
    path = Path(source)
    if path.is_dir():
        found = _imagery_in(path) or _tiles_below(path)
        return found or _refuse_none(f"the folder {path} holds no imagery ({', '.join(sorted(SUFFIXES))})")
    if path.is_file():
        return [path]
    if any(mark in str(source) for mark in "*?["):
        return _glob(path) or _refuse_none(f"no file matches {source}")
    return _refuse_none(f"there is no file {path}")


def environment(path: Location) -> Any:
    """GDAL's settings while `path` is opened or read, as a context."""
    options: dict[str, Any] = dict(HTTP_OPTIONS) if is_address(path) else {}
    # what somebody set for the whole process stays
    options = {key: value for key, value in options.items() if key not in os.environ}
    if "GDAL_CACHEMAX" not in os.environ:
        options["GDAL_CACHEMAX"] = CACHE_BYTES
    # JPEG streams that end early are otherwise filled with grey; not every GDAL and environment has this
    return rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True, **options)


def open_dataset(path: Location) -> DatasetReader:
    """The file through GDAL; the caller closes it. RasterError where it is no raster, damaged, or only points."""
    with warnings.catch_warnings(), environment(path):
        # imagery without a georeference is allowed and shows as a grid of none
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            if isinstance(path, str):
                return DatasetReader(f"/vsicurl/{path}", driver=list(REMOTE))
            # absolute, since a relative name such as "GTIFF_DIR:1:a.tif" would be more than a name to GDAL
            return DatasetReader(os.fspath(path.absolute()), driver=_drivers(path.suffix.lower() == ".vrt"))
        except (RasterioError, OSError, ValueError) as error:
            if isinstance(path, Path) and _is_pointer(path):
                raise RasterError(
                    f"{path} names other files or addresses where pixels are expected, and is not followed; give the "
                    "files themselves (many make one mosaic), or copy it with  gdal_translate"
                ) from error
            raise RasterError(
                f"{path} was found where a raster is expected, but GDAL cannot open it ({error}); "
                "name an image file, or fetch it again if it was cut off"
            ) from error


def tile_of(path: Location, width: int, height: int) -> tuple[int, int, int] | None:
    """(x, y, zoom) of a web tile by its name, `anything-x-y-z.png` or `z/x/y.png`, rows counted from the north.

    None where the name is no tile's, or the picture is not square.
    """
    parts = str(path).replace("\\", "/").split("/")
    stem = parts[-1].rsplit(".", 1)[0]
    if match := _TILE_NAME.fullmatch(stem):
        x, y, zoom = (int(number) for number in match.groups())
    elif len(parts) > 2 and all(_NUMBER.fullmatch(part) for part in (*parts[-3:-1], stem)):
        zoom, x, y = int(parts[-3]), int(parts[-2]), int(stem)
    else:
        return None
    fits = width == height and zoom <= MAX_ZOOM and max(x, y) < 2**zoom
    return (x, y, zoom) if fits else None


def tile_transform(x: int, y: int, zoom: int, side: int) -> Affine:
    """Pixels of a web tile of `side` pixels to EPSG:3857 metres (OGC's WebMercatorQuad)."""
    size_m = _EQUATOR_M / 2**zoom
    pixel_m = size_m / side
    return Affine(pixel_m, 0, x * size_m - _EQUATOR_M / 2, 0, -pixel_m, _EQUATOR_M / 2 - y * size_m)


def _checked_address(address: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f\\?#]|^[^/]*//[^/]*@", address):
        # a signature or password would end in manifests
        shown = re.sub(r"(?<=//)[^/]*@|[?#].*", "", address)[:200]
        raise RasterError(
            f"the address {shown!r} has a user, a query or white space where a plain one is expected; "
            "give access by GDAL's own settings, such as GDAL_HTTP_HEADER_FILE, or fetch the file"
        )
    return address


def _imagery_in(folder: Path) -> list[Location]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES)


def _tiles_below(folder: Path) -> list[Location]:
    """Pictures of `z/x/y` below a folder of zooms or of one zoom, if that is what it is."""
    deep = [p for pattern in ("*/*", "*/*/*") for p in folder.glob(pattern) if p.suffix.lower() in SUFFIXES]
    return sorted(p for p in deep if p.is_file() and tile_of(p.absolute(), 1, 1) is not None)


def _glob(pattern: Path) -> list[Location]:
    anchor = pattern.anchor or "."
    relative = pattern.relative_to(pattern.anchor) if pattern.anchor else pattern
    return sorted(p for p in Path(anchor).glob(str(relative)) if p.is_file() and p.suffix.lower() not in SIDECARS)


def _refuse_none(found: str) -> list[Location]:
    raise RasterError(
        f"{found} where imagery is expected; give a file, an address, a list of files, a folder or a glob pattern"
    )


@cache
def _all_drivers() -> frozenset[str]:
    with rasterio.Env() as env:
        return frozenset(env.drivers())


@cache
def _drivers(with_vrt: bool) -> list[str]:
    return sorted((_all_drivers() - POINTERS) | ({"VRT"} if with_vrt else set()))


def _is_pointer(path: Path) -> bool:
    """Whether a local file that could not be opened is one of XML that names others."""
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip()
    except OSError:
        return False
    return head.startswith((b"<VRT", b"<GDAL", b"<WMS", b"<WMT", b"<WCS", b"<Capabilities", b"<MRF"))
