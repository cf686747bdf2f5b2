"""Files are whole or absent, and say what they hold."""

import json

import cv2
import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from shapely.geometry import Point, box

from georefer.errors import InputError
from georefer.geometry import GeoGrid
from georefer.imagery.write import write_geojson, write_layers, write_png, write_raster


def grid(width: int, height: int, crs: CRS | None = None) -> GeoGrid:
    if crs is None:
        crs = CRS.from_epsg(2154)
    return GeoGrid(crs, Affine.translation(400_000, 6_600_000) @ Affine.scale(0.5, -0.5), width, height)


def blocks(image_HWC: np.ndarray, size: int = 512):
    for row in range(0, image_HWC.shape[0], size):
        for col in range(0, image_HWC.shape[1], size):
            yield row, col, image_HWC[row : row + size, col : col + size]


def frame(name: str = "a") -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"id": [name], "n": [3]}, geometry=[box(400_000, 6_599_990, 400_010, 6_600_000)], crs=2154)


@pytest.mark.parametrize(
    ("dtype", "bands", "compress"),
    [
        ("uint8", 3, "deflate"),  # an orthophoto
        ("uint16", 4, "zstd"),  # a satellite image
        ("float32", 1, "deflate"),  # a map of scores
        ("int32", 1, "deflate"),  # a map of labels
    ],
)
def test_raster_keeps_values_place_and_overviews(tmp_path, dtype, bands, compress):
    image = np.random.default_rng(0).integers(0, 200, (700, 1100, bands)).astype(dtype)
    path = tmp_path / "new" / "a.tif"
    write_raster(path, grid(1100, 700), bands, dtype, blocks(image), compress=compress, nodata=0)
    with rasterio.open(path) as source:
        assert np.array_equal(np.moveaxis(source.read(), 0, 2), image)
        assert (source.crs.to_epsg(), source.transform.c, source.transform.e) == (2154, 400_000, -0.5)
        assert source.block_shapes[0] == (512, 512)
        assert source.overviews(1) == [2, 4]
        assert source.nodata == 0


def test_labels_are_not_averaged_in_overviews(tmp_path):
    labels = np.random.default_rng(0).choice([0, 1000], (1024, 1024, 1)).astype("int32")
    write_raster(tmp_path / "a.tif", grid(1024, 1024), 1, "int32", blocks(labels))
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as source:
        assert set(np.unique(source.read())) == {0, 1000}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_raster_without_georeference(tmp_path):
    write_raster(tmp_path / "a.tif", GeoGrid.none(64, 32), 1, "uint8", [(0, 0, np.ones((32, 64), np.uint8))])
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.crs is None and source.shape == (32, 64)


def test_jpeg_is_smaller_and_near(tmp_path):
    image = np.repeat(np.linspace(0, 255, 1024).astype(np.uint8)[None, :, None], 1024, axis=0).repeat(3, axis=2)
    write_raster(tmp_path / "a.tif", grid(1024, 1024), 3, "uint8", blocks(image), compress="jpeg", overviews=False)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert np.abs(source.read().astype(int) - np.moveaxis(image, 2, 0)).max() <= 4


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("old")

    def broken():
        yield 0, 0, np.zeros((512, 512, 3), np.uint8)
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_raster(path, grid(1024, 512), 3, "uint8", broken())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_layers_are_read_back_and_reproducible(tmp_path):
    layers = {"b": frame(), "a": frame("x"), "none": frame().iloc[:0]}
    for name in ("one.gpkg", "two.gpkg"):
        write_layers(tmp_path / name, layers)
    assert (tmp_path / "one.gpkg").read_bytes() == (tmp_path / "two.gpkg").read_bytes()
    assert gpd.list_layers(tmp_path / "one.gpkg")["name"].tolist() == ["b", "a", "none"]
    back = gpd.read_file(tmp_path / "one.gpkg", layer="a")
    assert back.crs.to_epsg() == 2154 and back["id"].tolist() == ["x"]
    assert back.geometry[0].equals(frame().geometry[0])
    assert len(gpd.read_file(tmp_path / "one.gpkg", layer="none")) == 0


def test_failed_layers_leave_nothing(tmp_path):
    with pytest.raises((AttributeError, TypeError, ValueError)):
        write_layers(tmp_path / "a.gpkg", {"a": frame(), "bad": "no table"})
    assert list(tmp_path.iterdir()) == []


def test_geojson_is_rfc_7946(tmp_path):
    write_geojson(tmp_path / "a.geojson", frame())
    data = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in data
    ring = np.array(data["features"][0]["geometry"]["coordinates"][0])
    assert np.all(np.abs(ring - [-0.9, 46.4]) < 0.5)  # longitude first
    x, y = ring.T
    assert np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0  # outer ring anticlockwise


def test_geojson_needs_a_crs(tmp_path):
    with pytest.raises(InputError, match="no CRS"):
        write_geojson(tmp_path / "a.geojson", gpd.GeoDataFrame(geometry=[Point(0, 0)]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])  # grey, RGB, RGBA
def test_png_keeps_channels_in_order(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    write_png(tmp_path / "a.png", image)
    back = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    order = list(range(back.shape[2])) if back.ndim == 3 else None
    if order:
        order[:3] = [2, 1, 0]
        back = back[..., order]
    assert np.array_equal(back, image)
