"""Opening imagery: one file or a mosaic, windows, validity, stretch, and what is refused."""

import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from georefer.errors import RasterError
from georefer.geometry import Window
from georefer.imagery.raster import open_imagery
from georefer.imagery.resample import resampled

UTM = "EPSG:32645"
ORIGIN = Affine(0.5, 0, 400_000, 0, -0.5, 3_000_000)


def write(path: Path, array, *, transform=ORIGIN, crs=UTM, **profile) -> Path:
    """An array (band, row, column) as a GeoTIFF."""
    array = np.asarray(array)
    size = {"count": array.shape[0], "height": array.shape[1], "width": array.shape[2]}
    georeference = {} if crs is None else {"crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", dtype=array.dtype, **size, **georeference, **profile) as file:
        file.write(array)
    return path


def noise(rows, columns, bands=3, dtype="uint8", top=255):
    return np.random.default_rng(rows * columns).integers(1, top, (bands, rows, columns)).astype(dtype)


def tiles(folder: Path, array, side: int, **profile) -> list[Path]:
    """An array cut into georeferenced files."""
    folder.mkdir(exist_ok=True)
    _, rows, columns = array.shape
    return [
        write(folder / f"{x}-{y}.tif", array[:, y : y + side, x : x + side],
              transform=ORIGIN * Affine.translation(x, y), **profile)
        for y in range(0, rows, side) for x in range(0, columns, side)
    ]  # fmt: skip


def everything(imagery) -> Window:
    return Window(0, 0, imagery.grid.width, imagery.grid.height)


# --- one raster ------------------------------------------------------------------------------------------


def test_uint8_passes_as_it_is_and_windows_lie_where_they_should(tmp_path):
    array = noise(60, 80)
    with open_imagery(write(tmp_path / "a.tif", array)) as imagery:
        assert (imagery.dtype, imagery.count, imagery.stretch) == ("uint8", 3, None)
        assert imagery.grid.transform == ORIGIN and imagery.grid.crs.to_epsg() == 32645
        pixels = imagery.read(Window(10, 20, 30, 25))
    np.testing.assert_array_equal(pixels.image_HW3, array[:, 20:45, 10:40].transpose(1, 2, 0))
    assert pixels.image_HW3.dtype == np.uint8 and pixels.valid_HW.all()


@pytest.mark.parametrize("window", [Window(-5, -7, 20, 20), Window(70, 50, 20, 20), Window(-5, -5, 100, 100)])
def test_windows_over_the_edge_are_padded_and_say_so(tmp_path, window):
    array = noise(60, 80)
    padded = np.pad(array, ((0, 0), (100, 100), (100, 100)))[:, 100 + window.y :, 100 + window.x :]
    inside = np.pad(np.ones((60, 80), bool), 100)[100 + window.y :, 100 + window.x :]
    pixels = open_imagery(write(tmp_path / "a.tif", array)).read(window)
    np.testing.assert_array_equal(pixels.image_HW3, padded[:, : window.height, : window.width].transpose(1, 2, 0))
    np.testing.assert_array_equal(pixels.valid_HW, inside[: window.height, : window.width])
    assert 0 < pixels.valid_HW.mean() < 1


def test_a_window_outside_has_nothing_valid(tmp_path):
    pixels = open_imagery(write(tmp_path / "a.tif", noise(10, 10))).read(Window(50, 50, 8, 8), (4, 4))
    assert not pixels.valid_HW.any() and not pixels.image_HW3.any() and pixels.image_HW3.shape == (4, 4, 3)


def test_bands_are_chosen_by_number_and_one_band_is_grey(tmp_path):
    array = noise(8, 8, bands=4)
    path = write(tmp_path / "a.tif", array)
    colour = open_imagery(path, bands=(4, 1, 2)).read(Window(0, 0, 8, 8)).image_HW3
    np.testing.assert_array_equal(colour, array[[3, 0, 1]].transpose(1, 2, 0))
    grey = open_imagery(path, bands=(2,)).read(Window(0, 0, 8, 8)).image_HW3
    np.testing.assert_array_equal(grey, array[[1, 1, 1]].transpose(1, 2, 0))


def test_without_a_crs_the_world_is_the_pixels(tmp_path):
    imagery = open_imagery(write(tmp_path / "a.tif", noise(8, 9), crs=None))
    assert not imagery.grid.is_georeferenced and (imagery.grid.width, imagery.grid.height) == (9, 8)


# --- validity and resampling -----------------------------------------------------------------------------


def test_nodata_in_all_bands_is_a_hole_and_in_one_band_a_dark_colour(tmp_path):
    array = noise(8, 8)
    array[:, 0:2, 0:2] = 0
    array[0, 5, 5] = 0
    valid = open_imagery(write(tmp_path / "a.tif", array, nodata=0)).read(Window(0, 0, 8, 8)).valid_HW
    assert not valid[0:2, 0:2].any() and valid.sum() == 60


def test_alpha_makes_holes(tmp_path):
    array = noise(8, 8, bands=4)
    array[3] = 255
    array[3, :, 6:] = 0
    path = write(tmp_path / "a.tif", array, photometric="RGB", ALPHA="YES")
    pixels = open_imagery(path).read(Window(0, 0, 8, 8))
    assert pixels.valid_HW[:, :6].all() and not pixels.valid_HW[:, 6:].any() and not pixels.image_HW3[:, 6:].any()


def test_shrinking_averages_areas_and_a_hole_does_not_bleed(tmp_path):
    array = np.full((3, 40, 40), 200, np.uint8)
    array[:, :, 20:] = 100
    array[:, :10, :] = 0
    imagery = open_imagery(write(tmp_path / "a.tif", array, nodata=0))
    # 40 -> 16 pixels: factor 2.5, so row 4 starts exactly where the hole ends
    pixels = imagery.read(Window(0, 0, 40, 40), (16, 16))
    assert not pixels.valid_HW[:4].any() and pixels.valid_HW[4:].all()
    assert (pixels.image_HW3[4:, :8] == 200).all() and (pixels.image_HW3[4:, 8:] == 100).all()
    # 40 -> 10: an odd seam is the mean by area
    assert (imagery.read(Window(2, 12, 24, 24), (3, 3)).image_HW3[:, 2] == 125).all()


def test_what_stands_under_a_hole_does_not_matter():
    bands = np.full((8, 8, 1), 100, np.float32)
    valid = np.ones((8, 8), bool)
    bands[:3, :3], valid[:3, :3] = np.nan, False
    shrunk, _ = resampled(bands, valid, (2, 2))
    grown, _ = resampled(bands, valid, (16, 16))
    np.testing.assert_allclose(shrunk, 100, rtol=1e-5)
    np.testing.assert_allclose(grown[6:, 6:], 100, rtol=1e-5)


def test_a_pixel_is_valid_where_half_of_it_is(tmp_path):
    array = np.full((3, 12, 12), 50, np.uint8)
    array[:, :, :5] = 0
    valid = open_imagery(write(tmp_path / "a.tif", array, nodata=0)).read(Window(0, 0, 12, 12), (3, 3)).valid_HW
    # the columns hold 0, 3 and 4 valid pixels of 4
    assert valid[0].tolist() == [False, True, True]


def test_enlarging_is_linear_and_keeps_its_place(tmp_path):
    ramp = np.broadcast_to(np.arange(0, 200, 10, dtype=np.uint8), (3, 20, 20))
    image = open_imagery(write(tmp_path / "a.tif", ramp)).read(Window(5, 5, 10, 10), (40, 40)).image_HW3
    # the centre of enlarged column 10 lies at source 7.625, whose value is 10 * (7.625 - 0.5)
    assert image[20, 10, 0] == pytest.approx(71, abs=1)
    assert (np.diff(image[20, :, 0].astype(int)) >= 0).all()


def test_one_axis_may_shrink_while_the_other_grows(tmp_path):
    array = noise(40, 40)
    image = open_imagery(write(tmp_path / "a.tif", array)).read(Window(0, 0, 40, 40), (4, 80)).image_HW3
    expected = array.reshape(3, 40, 4, 10).mean(axis=3)
    np.testing.assert_allclose(image[::2, :, 0].mean(axis=0), expected[0].mean(axis=0), atol=2)


# --- stretch ---------------------------------------------------------------------------------------------


def test_uint16_gets_one_stretch_for_the_whole_area_which_can_be_passed_on(tmp_path):
    dark, bright = noise(50, 50, 3, "uint16", 1000), noise(50, 50, 3, "uint16", 1000) + 3000
    files = tiles(tmp_path / "area", np.concatenate([dark, bright], axis=2).astype("uint16"), 50)
    area = open_imagery(files)
    low, high = np.percentile(np.concatenate([dark[0], bright[0]]), (2, 98))
    assert area.stretch[0] == pytest.approx((low, high))
    whole = area.read(everything(area)).image_HW3
    # the darker file stays dark beside the brighter one: tiles are not stretched one by one
    assert whole[:, :50].max() < 80 < 180 < whole[:, 50:].min()
    again = open_imagery(files[0], stretch=json.loads(json.dumps(area.stretch)))
    assert again.stretch == area.stretch
    np.testing.assert_array_equal(again.read(everything(again)).image_HW3, whole[:, :50])


def test_nodata_and_nan_do_not_count_in_the_stretch(tmp_path):
    array = np.random.default_rng(0).uniform(10, 20, (1, 60, 60)).astype("float32")
    array[:, :20] = -9999
    array[:, 20:30] = np.nan
    imagery = open_imagery(write(tmp_path / "a.tif", array, nodata=-9999), bands=(1,))
    ((low, high),) = imagery.stretch
    assert 10 <= low < 11 and 19 < high <= 20
    valid = imagery.read(everything(imagery)).valid_HW
    assert not valid[:30].any() and valid[30:].all()


def test_a_flat_area_and_an_empty_one(tmp_path):
    flat = open_imagery(write(tmp_path / "flat.tif", np.full((1, 9, 9), 700, "uint16")), bands=(1,))
    assert flat.read(everything(flat)).valid_HW.all()
    with pytest.raises(RasterError, match="no valid pixel"):
        open_imagery(write(tmp_path / "void.tif", np.zeros((1, 9, 9), "uint16"), nodata=0), bands=(1,))


# --- mosaics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["folder", "list", "glob"])
def test_a_mosaic_reads_like_the_raster_it_was_cut_from(tmp_path, source):
    array = noise(70, 90)
    files = tiles(tmp_path / "area", array, 32)
    (tmp_path / "area" / "notes.txt").write_text("not imagery")
    (tmp_path / "area" / "0-0.tif.aux.xml").write_text("<PAMDataset/>")
    named = {"folder": tmp_path / "area", "list": files[::-1], "glob": f"{tmp_path}/area/*"}[source]
    with open_imagery(named) as mosaic, open_imagery(write(tmp_path / "whole.tif", array)) as whole:
        assert mosaic.grid == whole.grid and len(mosaic.files) == 9
        for window, size in ((Window(20, 20, 40, 40), None), (Window(-3, 25, 60, 70), (31, 20))):
            one, other = mosaic.read(window, size), whole.read(window, size)
            np.testing.assert_array_equal(one.image_HW3, other.image_HW3)
            np.testing.assert_array_equal(one.valid_HW, other.valid_HW)


def test_a_missing_tile_is_a_hole_and_the_first_file_lies_on_top(tmp_path):
    array = noise(64, 64)
    files = tiles(tmp_path / "area", array, 32)
    mosaic = open_imagery(files[:3])
    valid = mosaic.read(everything(mosaic)).valid_HW
    assert not valid[32:, 32:].any() and valid.sum() == 3 * 32 * 32
    patch = write(tmp_path / "patch.tif", np.full((3, 10, 10), 7, np.uint8))
    on_top, below = open_imagery([patch, *files]), open_imagery([*files, patch])
    assert (on_top.read(Window(0, 0, 10, 10)).image_HW3 == 7).all()
    np.testing.assert_array_equal(below.read(Window(0, 0, 10, 10)).image_HW3, array[:, :10, :10].transpose(1, 2, 0))


def test_holes_of_the_upper_file_show_the_lower_one(tmp_path):
    upper = np.full((3, 8, 8), 9, np.uint8)
    upper[:, :, 4:] = 0
    files = [write(tmp_path / "up.tif", upper, nodata=0), write(tmp_path / "low.tif", np.full((3, 8, 8), 5, np.uint8))]
    pixels = open_imagery(files).read(Window(0, 0, 8, 8))
    assert pixels.valid_HW.all() and (pixels.image_HW3[:, :4] == 9).all() and (pixels.image_HW3[:, 4:] == 5).all()


MISFITS = [
    ("half a pixel off", {"transform": ORIGIN * Affine.translation(20.5, 0)}, "0.50 pixels off.*gdalwarp"),
    ("another pixel size", {"transform": Affine(0.6, 0, 400_010, 0, -0.6, 3_000_000)}, "pixels off the lattice"),
    ("another CRS", {"crs": "EPSG:32644"}, "EPSG:32644 where EPSG:32645.*gdalwarp"),
    ("no CRS", {"crs": None}, "the CRS of none where EPSG:32645"),
]


@pytest.mark.parametrize(("change", "says"), [m[1:] for m in MISFITS], ids=[m[0] for m in MISFITS])
def test_a_file_that_does_not_fit_is_named(tmp_path, change, says):
    first = write(tmp_path / "first.tif", noise(20, 20))
    second = write(tmp_path / "second.tif", noise(20, 20), **change)
    with pytest.raises(RasterError, match=says) as error:
        open_imagery([first, second])
    assert "second.tif" in str(error.value) and "\n" not in str(error.value)


def test_files_of_another_type_or_without_place_do_not_make_a_mosaic(tmp_path):
    first = write(tmp_path / "first.tif", noise(20, 20))
    with pytest.raises(RasterError, match="uint16 where uint8"):
        open_imagery([first, write(tmp_path / "deep.tif", noise(20, 20, dtype="uint16"))])
    bare = [write(tmp_path / f"bare{i}.tif", noise(9, 9), crs=None) for i in range(2)]
    with pytest.raises(RasterError, match="no georeference where 2 files"):
        open_imagery(bare)


# --- large windows, processes ----------------------------------------------------------------------------


def test_a_huge_window_is_read_decimated_without_a_shift(tmp_path, monkeypatch):
    array = np.zeros((3, 512, 512), np.uint8)
    array[:, 128:256, 256:320] = 240
    files = tiles(tmp_path / "area", array, 200)
    exact = open_imagery(files).read(Window(0, 0, 512, 512), (64, 64))
    monkeypatch.setattr("georefer.imagery.raster.MAX_NATIVE_PX", 200 * 200)
    coarse = open_imagery(files)
    pixels = coarse.read(Window(0, 0, 512, 512), (64, 64))
    assert pixels.valid_HW.all()
    # edges may be a fraction of a pixel softer; what is inside and outside is not
    assert np.abs(pixels.image_HW3.astype(int) - exact.image_HW3).mean() < 3
    assert (pixels.image_HW3[18:30, 34:38] > 230).all() and (pixels.image_HW3[:14] == 0).all()
    assert coarse.overview(100).image_HW3.shape == (100, 100, 3)


def test_overviews_keep_the_shape_and_never_enlarge(tmp_path):
    imagery = open_imagery(write(tmp_path / "a.tif", noise(60, 200)))
    assert imagery.overview(50).image_HW3.shape == (15, 50, 3)
    assert imagery.overview(5000).image_HW3.shape == (60, 200, 3)


def _mean(imagery) -> float:
    return float(imagery.read(Window(0, 0, 16, 16)).image_HW3.mean())


def _read_in_child(imagery, expected):
    """Forked with a file open: the child has to open its own, or both move one file position."""
    inherited = list(imagery._open.values())
    assert _mean(imagery) == expected
    assert inherited and not any(mine is theirs for mine in imagery._open.values() for theirs in inherited)


def test_imagery_travels_to_other_processes(tmp_path):
    imagery = open_imagery(write(tmp_path / "a.tif", noise(16, 16, dtype="uint16", top=900)))
    here = _mean(imagery)  # opens the file in this process
    assert pickle.loads(pickle.dumps(imagery)).stretch == imagery.stretch  # noqa: S301
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert list(pool.map(_mean, [imagery] * 2)) == [here, here]
    forked = get_context("fork").Process(target=_read_in_child, args=(imagery, here))
    forked.start()
    forked.join(30)
    assert forked.exitcode == 0
    imagery.close()
    assert _mean(imagery) == here


# --- what is refused -------------------------------------------------------------------------------------


def test_what_is_no_imagery_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tif").write_text("no raster")
    for source, says in [
        (tmp_path / "none.tif", "there is no file"),
        (tmp_path / "empty", "holds no imagery"),
        (f"{tmp_path}/*.jp2", "no file matches"),
        ([], "empty list"),
        (tmp_path / "text.tif", "cannot open"),
    ]:
        with pytest.raises(RasterError, match=says) as error:
            open_imagery(source)
        assert "\n" not in str(error.value)


def test_missing_bands_palettes_and_bad_stretches_are_refused(tmp_path):
    grey = write(tmp_path / "grey.tif", noise(8, 8, bands=1))
    deep = write(tmp_path / "deep.tif", noise(8, 8, dtype="uint16"))
    with rasterio.open(write(tmp_path / "map.tif", noise(8, 8, bands=1)), "r+") as file:
        file.write_colormap(1, {1: (255, 0, 0, 255)})
    for path, options, says in [
        (grey, {}, r"has 1 band where bands \(1, 2, 3\).*bands=\(1,\)"),
        (deep, {"bands": (1, 2, 9)}, "has 3 bands"),
        (deep, {"bands": (1, 2)}, "one or three"),
        (deep, {"bands": (0, 1, 2)}, "numbers from 1"),
        (deep, {"stretch": None}, "which only uint8"),
        (deep, {"stretch": [(1, 2)]}, "3 pairs"),
        (deep, {"stretch": [(1, 2), (1, 2), (5, 5)]}, "low < high"),
        (tmp_path / "map.tif", {"bands": (1,)}, "palette.*-expand rgb"),
    ]:
        with pytest.raises(RasterError, match=says):
            open_imagery(path, **options)


@pytest.mark.parametrize("kind", ["tif", "jpg", "png"])
def test_a_file_that_breaks_off_is_noticed_while_reading(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("GDAL_ERROR_ON_LIBJPEG_WARNING", "NO")
    path = tmp_path / f"cut.{kind}"
    profile = {"tif": {"driver": "GTiff", "compress": "deflate"}, "jpg": {"driver": "JPEG"}, "png": {"driver": "PNG"}}[
        kind
    ]
    with rasterio.open(path, "w", dtype="uint8", count=3, width=256, height=256, **profile) as file:
        file.write(noise(256, 256))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    # a GeoTIFF's directory may stand at its end: then it does not even open
    with pytest.raises(RasterError, match="cut") as error:
        open_imagery(path).read(Window(0, 0, 256, 256))
    # GDAL itself says nothing of a PNG that ends early
    assert kind == "png" or isinstance(error.value.__cause__, rasterio.errors.RasterioError)


# --- real data -------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_banepa_tiles_are_one_mosaic(shared_data):
    imagery = open_imagery(shared_data / "banepa-buildings" / "tiles")
    assert (imagery.grid.width, imagery.grid.height, len(imagery.files)) == (2048, 4096, 32)
    assert imagery.grid.gsd_m == pytest.approx(0.132, abs=0.001)
    pixels = imagery.read(Window(500, 500, 600, 600))  # across tile borders
    assert pixels.valid_HW.all() and 60 < pixels.image_HW3.mean() < 180
    # neighbouring columns across the tile border at x = 512 are as alike as any others
    steps = np.abs(np.diff(pixels.image_HW3.astype(int), axis=1)).mean(axis=(0, 2))
    assert steps[11] < 1.5 * np.median(steps)


@pytest.mark.shared
def test_atlanta_is_stretched_and_naip_has_four_bands(shared_data):
    atlanta = next((shared_data / "spacenet-samples" / "atlanta-buildings").glob("*.tif"))
    imagery = open_imagery(atlanta, bands=(1,))
    image = imagery.read(everything(imagery)).image_HW3
    assert imagery.dtype == "uint16" and imagery.grid.gsd_m == pytest.approx(0.5, abs=0.01)
    assert image.min() == 0 and image.max() == 255 and 50 < image.mean() < 150
    naip = sorted((shared_data / "naip-urban-trees" / "images").glob("*.tif"))[0]
    infrared = open_imagery(naip, bands=(4, 1, 2))
    assert infrared.count == 4 and infrared.dtype == "uint8"
    assert (infrared.read(everything(infrared)).image_HW3 != open_imagery(naip).overview(256).image_HW3).any()
