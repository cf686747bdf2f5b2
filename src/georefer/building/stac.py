"""STAC: a dataset described for catalogues of earth observation data, so that it is found by place, time and licence.

    stac/collection.json        the dataset: licence, providers, extent, classes, files of questions
    stac/items/<id>.json        one for every file of scenes: footprint, ground sampling distance, sources, checksums

STAC 1.1.0 (https://github.com/radiantearth/stac-spec/tree/v1.1.0) with the file extension 2.1.0. An item is a Parquet
file rather than a scene: catalogues of a country stay at hundreds of items, and what one downloads is a file. The
footprint of every single scene stands in that file. Links are relative, so the folder can be moved and served anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from georefer.errors import DatasetError, InputError
from georefer.geometry import GeoGrid
from georefer.runlog import swap_folder, versions, write_json
from georefer.scenes import Dataset

STAC_VERSION = "1.1.0"
FILE_EXTENSION = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PARQUET = "application/vnd.apache.parquet"
DECIMALS = 7
"""Of longitude and latitude: about a centimetre."""

Role = Literal["licensor", "producer", "processor", "host"]
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,100}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Provider:
    """Who made or owns the imagery or the labels."""

    name: str
    roles: tuple[Role, ...] = ("producer",)
    url: str = ""


@dataclass(frozen=True)
class StacSettings:
    """What a catalogue must know and a dataset's pixels and layers do not tell."""

    acquired: tuple[str, str]
    """First and last day (or time, ISO 8601) at which the imagery was taken."""
    title: str = ""
    description: str = ""
    licence: str = ""
    """SPDX identifier such as "CC-BY-4.0"; left out: what the build recipe says."""
    licence_url: str = ""
    providers: tuple[Provider, ...] = ()
    keywords: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        first, last = (_instant(text, end) for text, end in zip(self.acquired, (False, True), strict=True))
        if first > last:
            raise ValueError(f"acquired is {self.acquired}; expected the earlier time first")


def write_stac(dataset: Dataset, settings: StacSettings, out: Path | str | None = None) -> Path:
    """Writes the catalogue and returns the path of its collection.

    `out` is by default the folder "stac" inside the dataset; an earlier catalogue there is replaced, anything else is
    not (InputError). Deterministic: no time of writing stands in it. DatasetError where a file of scenes is damaged.
    """
    folder = dataset.folder / "stac" if out is None else Path(out)
    if folder.exists() and not (folder / "collection.json").is_file():
        raise InputError(f"{folder} exists and is no STAC collection, so it is not replaced; choose another folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        # the links are those of the final place
        items = list(_items(dataset, settings, folder / "items"))
        for item in items:
            write_json(partial / "items" / f"{item['id']}.json", item)
        write_json(partial / "collection.json", _collection(dataset, settings, items, folder))
        swap_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / "collection.json"


# --- the collection -------------------------------------------------------------------------------------------


def _collection(
    dataset: Dataset, settings: StacSettings, items: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:  # fmt: skip
    source = _source(dataset)
    licence, licence_links, licence_words = _licence(settings, source)
    title = settings.title or source.get("name") or dataset.folder.name
    gsd = [item["properties"]["gsd"] for item in items if "gsd" in item["properties"]]
    boxes = [item["bbox"] for item in items if item.get("bbox")]
    start, end = _interval(settings)
    links = [
        {"rel": "root", "href": "./collection.json", "type": "application/json"},
        *({"rel": "item", "href": f"./items/{i['id']}.json", "type": "application/geo+json"} for i in items),
        *licence_links,
    ]
    words = [settings.description or f"{title}: scenes with labelled objects, and questions about them."]
    words += [licence_words, source.get("attribution") or ""]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [FILE_EXTENSION],
        "id": _identifier(dataset),
        "title": title,
        "description": " ".join(w for w in words if w),
        "license": licence,
        **({"keywords": list(settings.keywords)} if settings.keywords else {}),
        **({"providers": [_provider(p) for p in settings.providers]} if settings.providers else {}),
        "extent": {
            # STAC asks for a place; what lies nowhere is said to lie anywhere
            "spatial": {"bbox": [_joined_bbox(boxes)] if boxes else [[-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [[start, end]]},
        },
        "summaries": {
            **({"gsd": {"minimum": min(gsd), "maximum": max(gsd)}} if gsd else {}),
            "georefer:split": sorted(dataset.manifest["splits"]),
            **({"georefer:labels": list(labels)} if (labels := dataset.manifest.get("labels")) else {}),
        },
        "assets": {
            "manifest": _asset(dataset.folder / "manifest.json", folder, "application/json", "metadata", "Manifest"),
            "card": _asset(dataset.folder / "README.md", folder, "text/markdown", "metadata", "Dataset card"),
            # files of questions do not go with single files of scenes
            **{
                name.removesuffix(".parquet").replace("/", "-"): _table_asset(dataset, name, folder, "Questions")
                for name in dataset.manifest["files"]
                if name.startswith("questions/")
            },
        },
        "links": links,
        "georefer:fingerprint": dataset.fingerprint,
        "georefer:version": versions().get("georefer", "unknown"),
    }


def _licence(settings: StacSettings, source: Mapping[str, Any]) -> tuple[str, list[dict[str, str]], str]:
    """SPDX identifier or "other", links, and the words where it is no identifier."""
    said = settings.licence or str(source.get("licence") or "")
    links = [{"rel": "license", "href": settings.licence_url}] if settings.licence_url else []
    if said and said != "unknown" and _SPDX.fullmatch(said):
        return said, links, ""
    return "other", links, f"Licence: {said or 'unknown'}."


def _provider(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name, "roles": list(provider.roles), **({"url": provider.url} if provider.url else {}),
    }  # fmt: skip


def _identifier(dataset: Dataset) -> str:
    """Name of the dataset as an id: catalogues use it in paths and addresses."""
    name = str(_source(dataset).get("name") or dataset.folder.name)
    return _UNSAFE.sub("-", name).strip("-.").lower() or "dataset"


def _source(dataset: Dataset) -> Mapping[str, Any]:
    """What the build recipe says of where the pixels come from; nothing for datasets made otherwise."""
    recipe = dataset.manifest.get("recipe")
    source = recipe.get("source") if isinstance(recipe, Mapping) else None
    return source if isinstance(source, Mapping) else {}


# --- items ------------------------------------------------------------------------------------------------------


def _items(dataset: Dataset, settings: StacSettings, place: Path) -> Iterator[dict[str, Any]]:
    start, end = _interval(settings)
    collection = _identifier(dataset)
    for name, entry in dataset.manifest["files"].items():
        table, _, stem = name.removesuffix(".parquet").partition("/")
        if table != "scenes" or not entry["rows"]:
            continue
        geometry, gsd, sources = _read(dataset.folder / name)
        link = {"href": "../collection.json", "type": "application/json"}
        yield {
            "type": "Feature",
            "stac_version": STAC_VERSION,
            "stac_extensions": [FILE_EXTENSION],
            "id": f"{collection}-{stem}",
            "geometry": None if geometry is None else json.loads(shapely.to_geojson(geometry)),
            **({} if geometry is None else {"bbox": _bbox(geometry)}),
            "properties": {
                "datetime": None if start != end else start,
                "start_datetime": start,
                "end_datetime": end,
                **({} if gsd is None else {"gsd": gsd}),
                "georefer:split": stem.rsplit("-", 1)[0],
                "georefer:scenes": entry["rows"],
                "georefer:sources": sources,
            },
            "links": [{"rel": rel, **link} for rel in ("root", "parent", "collection")],
            "assets": {"scenes": _table_asset(dataset, name, place, "Scenes")},
            "collection": collection,
        }


def _table_asset(dataset: Dataset, name: str, place: Path, title: str) -> dict[str, Any]:
    entry = dataset.manifest["files"][name]
    return {
        **_asset(dataset.folder / name, place, PARQUET, "data", f"{title} as Parquet"),
        "file:size": entry["bytes"],
        # multihash: sha2-256, 32 bytes
        "file:checksum": "1220" + entry["sha256"],
    }


def _asset(path: Path, place: Path, kind: str, role: str, title: str) -> dict[str, Any]:
    """An asset whose address is relative to the folder `place`, with forward slashes."""
    href = Path(os.path.relpath(path.resolve(), place.resolve())).as_posix()
    return {"href": href, "type": kind, "title": title, "roles": [role]}


def _read(path: Path) -> tuple[shapely.Geometry | None, float | None, list[dict[str, Any]]]:
    """Footprint in longitude and latitude, median ground sampling distance, and sources of a file of scenes."""
    columns = ["crs", "transform", "width", "height", "gsd_m", "provenance"]
    try:
        rows = pq.read_table(path, columns=columns).to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path} is no readable file of scenes ({error}); build the dataset again") from error
    gsd = [row["gsd_m"] for row in rows if row["gsd_m"]]
    kept = ("source", "licence", "attribution")
    provenance = [json.loads(row["provenance"]) for row in rows]
    sources = {json.dumps({k: p[k] for k in kept if p.get(k)}, sort_keys=True) for p in provenance}
    found = [json.loads(s) for s in sorted(sources) if s != "{}"]
    return _footprint(rows), round(float(np.median(gsd)), 4) if gsd else None, found


def _footprint(rows: list[dict[str, Any]]) -> shapely.Geometry | None:
    """The ground that the scenes of a file show, in longitude and latitude; None where none has a place."""
    by_crs: dict[str, list[np.ndarray]] = {}
    for row in rows:
        if row["crs"] is not None:
            grid = GeoGrid(None, Affine(*row["transform"]), row["width"], row["height"])
            corners_42 = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (grid.width, grid.height)
            by_crs.setdefault(row["crs"], []).append(grid.pixel_to_world(corners_42))
    parts = []
    for crs, corners in by_crs.items():
        to_lonlat = Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True)
        lonlat_N42 = np.stack(to_lonlat.transform(*np.array(corners).reshape(-1, 2).T), axis=-1).reshape(-1, 4, 2)
        if not np.isfinite(lonlat_N42).all():
            raise DatasetError(
                f"scenes outside the domain of {crs} were found where places on the ground are expected; "
                "correct the CRS of the imagery and build again"
            )
        parts.append(_unwrapped(lonlat_N42))
    return _rfc7946(np.concatenate(parts)) if parts else None


def _unwrapped(lonlat_N42: np.ndarray) -> np.ndarray:
    """Scenes across the antimeridian with longitudes above 180, so that they are not as wide as the world."""
    across_N = np.ptp(lonlat_N42[..., 0], axis=1) > 180
    lonlat_N42[..., 0] += 360 * (across_N[:, None] & (lonlat_N42[..., 0] < 0))
    return lonlat_N42


def _rfc7946(lonlat_N42: np.ndarray) -> shapely.Geometry:
    """One valid area: cut at the antimeridian, outer rings anticlockwise, seven decimals."""
    whole = shapely.union_all(shapely.set_precision(shapely.polygons(lonlat_N42), 10**-DECIMALS))
    west = shapely.intersection(whole, shapely.box(-180, -90, 180, 90))
    east = shapely.intersection(whole, shapely.box(180, -90, 540, 90))
    if not east.is_empty:
        west = shapely.union(west, shapely.transform(east, lambda xy: xy - (360, 0)))
    return shapely.orient_polygons(shapely.set_precision(west, 10**-DECIMALS))


def _bbox(geometry: shapely.Geometry) -> list[float]:
    """[west, south, east, north]; west above east where the area crosses the antimeridian, as RFC 7946 has it."""
    x1, y1, x2, y2 = (round(float(v), DECIMALS) for v in geometry.bounds)
    if x1 == -180 and x2 == 180:
        bounds_P4 = shapely.bounds(shapely.get_parts(geometry))
        eastern_P = bounds_P4[:, 0] >= 0
        if eastern_P.any() and (bounds_P4[~eastern_P, 2] < 0).all():
            x1, x2 = (
                float(round(v, DECIMALS)) for v in (bounds_P4[eastern_P, 0].min(), bounds_P4[~eastern_P, 2].max())
            )
    return [x1, y1, x2, y2]


def _joined_bbox(boxes: list[list[float]]) -> list[float]:
    crossing = any(box[0] > box[2] for box in boxes)
    west = [box[0] for box in boxes if not crossing or box[0] >= 0]
    east = [box[2] for box in boxes if not crossing or box[2] < 0]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    return [min(west), south, max(east), north]


# --- time -------------------------------------------------------------------------------------------------------


def _interval(settings: StacSettings) -> tuple[str, str]:
    first, last = (_instant(text, end) for text, end in zip(settings.acquired, (False, True), strict=True))
    return first.strftime("%Y-%m-%dT%H:%M:%SZ"), last.strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(text: str, is_end: bool) -> datetime:
    """A time in UTC; a day without a time begins at midnight, or ends a second before the next."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' was found where a day such as 2024-05-31 is expected") from None
    if len(text) <= 10 and is_end:
        found = found.replace(hour=23, minute=59, second=59)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
