"""Which files a source names, web tiles by their names, addresses by parts, and what is not followed."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import CRS, Transformer

from georefer.errors import RasterError
from georefer.geometry import Window
from georefer.imagery.files import find_files, tile_of, tile_transform
from georefer.imagery.raster import open_imagery


@pytest.mark.parametrize(
    "name, tile",
    [
        ("OAM-1238424-1046544-21.png", (1238424, 1046544, 21)),
        ("3-5-4.png", (3, 5, 4)),
        ("area/17/70000/50000.jpg", (70000, 50000, 17)),
        ("https://host/tiles/4/3/5.png", (3, 5, 4)),
        ("2020-11-05.png", None),  # a date: there is no column 2020 at zoom 5
        ("tile-3-5.png", None),
        ("a/b/5.png", None),
        ("8/300/1.png", None),  # beyond the world at zoom 8
    ],
)
def test_tiles_by_name(name, tile):
    assert tile_of(name, 256, 256) == tile
    assert tile_of(name, 256, 255) is None


def test_the_first_tile_is_the_world_from_its_northwest():
    lonlat = Transformer.from_crs(3857, 4326, always_xy=True)
    west, north = lonlat.transform(*(tile_transform(0, 0, 0, 256) @ (0, 0)))
    east, south = lonlat.transform(*(tile_transform(0, 0, 0, 256) @ (256, 256)))
    assert np.allclose([west, north, east, south], [-180, 85.05113, 180, -85.05113], atol=1e-5)


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((256, 256, 3), value, dtype=np.uint8)).save(path)


@pytest.mark.parametrize(
    "name, source",
    [
        ("{z}/{x}/{y}.png", "."),
        ("{z}/{x}/{y}.png", "17"),
        ("{z}/{x}/{y}.png", "17/*/*.png"),
        ("OAM-{x}-{y}-{z}.png", "."),
        ("{x}-{y}-{z}.jpg", "*-17.jpg"),
    ],
)
def test_tiles_make_a_mosaic_with_holes(tmp_path, name, source):
    for x, y, value in ((70000, 50000, 10), (70001, 50001, 20)):
        picture(tmp_path / name.format(x=x, y=y, z=17), value)
    with open_imagery(tmp_path / source) as imagery:
        assert (imagery.grid.width, imagery.grid.height, imagery.grid.crs) == (512, 512, CRS.from_epsg(3857))
        assert np.allclose(imagery.grid.transform, tile_transform(70000, 50000, 17, 256))
        pixels = imagery.read(Window(0, 0, 512, 512))
        assert pixels.valid_HW[:256, :256].all() and not pixels.valid_HW[:256, 256:].any()
        assert abs(int(pixels.image_HW3[300, 300, 0]) - 20) < 3


def test_several_zooms_are_refused_and_chosen_by_a_pattern(tmp_path):
    picture(tmp_path / "a-70000-50000-17.png", 1)
    picture(tmp_path / "a-140000-100000-18.png", 1)
    with pytest.raises(RasterError, match=r"zoom 17 where zoom 18 is expected.*such as '\*-18\.png'"):
        open_imagery(tmp_path)
    with open_imagery(tmp_path / "*-17.png") as imagery:
        assert imagery.grid.width == 256


def test_a_georeference_of_its_own_goes_before_a_name(tmp_path):
    profile = {"width": 8, "height": 8, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(tmp_path / "1-1-4.tif", "w", transform=Affine(1, 0, 5e5, 0, -1, 5e6), **profile) as file:
        file.write(np.ones((3, 8, 8), dtype=np.uint8))
    with open_imagery(tmp_path) as imagery:
        assert imagery.grid.crs == CRS.from_epsg(32631)


# --- what is not followed --------------------------------------------------------------------------------

VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="1">secret.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>
</VRTDataset>"""


@pytest.fixture
def secret(tmp_path):
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "secret.tif", "w", **profile) as file:
        file.write(np.full((1, 8, 8), 7, dtype=np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [VRT, "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>"],
    ids=["vrt", "wms"],
)
def test_a_file_that_names_others_is_not_followed_under_another_ending(secret, content):
    (secret / "image.tif").write_text(content)
    with pytest.raises(RasterError, match=r"names other files or addresses .* is not followed"):
        open_imagery(secret / "image.tif", bands=(1,))


def test_a_vrt_counts_only_where_it_is_named(secret):
    (secret / "area.vrt").write_text(VRT)
    assert [path.name for path in find_files(secret)] == ["secret.tif"]
    assert [path.name for path in find_files(secret / "*")] == ["secret.tif"]
    with open_imagery(secret / "area.vrt", bands=(1,)) as imagery:
        assert imagery.read(Window(0, 0, 8, 8)).image_HW3.max() == 7


@pytest.mark.parametrize(
    "source",
    ["/vsizip/a.zip/x.tif", "/vsicurl/http://host/x.tif", "zip://a.zip!x.tif", "s3://bucket/x.tif", "ftp://host/x.tif"],
)
def test_other_file_systems_are_no_source(source):
    with pytest.raises(RasterError, match="there is no file"):
        open_imagery(source)


@pytest.mark.parametrize("part", ["me:hunter2@host/a.tif", "host/a.tif?sig=hunter2", "host/a.tif#hunter2", "host/a b"])
def test_addresses_that_hold_secrets_are_refused_without_telling_them(part):
    with pytest.raises(RasterError, match="GDAL_HTTP_HEADER_FILE") as caught:
        find_files([f"https://{part}"])
    assert "hunter2" not in str(caught.value)


# --- over the web ----------------------------------------------------------------------------------------


class Ranges(SimpleHTTPRequestHandler):
    """Serves a folder by parts, and counts the bytes of bodies."""

    sent = 0

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        wanted = self.headers.get("Range", "")
        if not path.is_file() or not wanted.startswith("bytes="):
            return super().do_GET()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        size = path.stat().st_size
        start, stop = int(first), min(size, int(last or size) + 1)
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(stop - start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        type(self).sent += len(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    handler = type("Handler", (Ranges,), {"sent": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()


def test_a_window_of_a_file_on_the_web_costs_little_more_than_itself(tmp_path, web):
    address, handler = web
    noise_3HW = np.random.default_rng(0).integers(0, 255, (3, 2048, 2048), dtype=np.uint8)
    profile = {"width": 2048, "height": 2048, "count": 3, "dtype": "uint8", "crs": "EPSG:32631"}
    with rasterio.open(
        tmp_path / "big.tif", "w", driver="COG", blocksize=256, transform=Affine(1, 0, 5e5, 0, -1, 5e6), **profile
    ) as file:
        file.write(noise_3HW)
    with open_imagery([f"{address}/big.tif"]) as imagery:
        assert imagery.files == (f"{address}/big.tif",) and imagery.describe()["files"] == [f"{address}/big.tif"]
        pixels = imagery.read(Window(512, 1024, 256, 256))
    assert np.array_equal(np.moveaxis(pixels.image_HW3, 2, 0), noise_3HW[:, 1024:1280, 512:768])
    whole = (tmp_path / "big.tif").stat().st_size
    assert 256 * 256 * 3 < handler.sent < whole / 20, f"{handler.sent} of {whole} bytes were fetched"


def test_the_web_gives_no_vrt_and_says_what_is_missing(secret, web):
    address, _ = web
    (secret / "area.vrt").write_text(VRT)
    for name in ("area.vrt", "nothing.tif"):
        with pytest.raises(RasterError, match=f"{name} was found where a raster is expected"):
            open_imagery([f"{address}/{name}"], bands=(1,))


# --- real data -------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_real_web_tiles_lie_under_their_buildings(shared_data):
    from georefer.imagery.vector import read_layer

    folder = shared_data / "oam-osm-buildings/kampala"
    with open_imagery(folder / "*-19.png") as imagery:
        assert len(imagery.files) == 7
        read = read_layer(folder / "labels.geojson", grid=imagery.grid)
        assert read.outside == 0 and len(read.frame) == 206
    with pytest.raises(RasterError, match="zoom"):
        open_imagery(folder)
