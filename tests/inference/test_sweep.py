"""Sweeping a raster with an oracle: what comes back is the truth, whatever the windows cut."""

import json
from dataclasses import replace

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from tests.data.telling import TellingModel

from georefer.config import load_settings
from georefer.errors import ConfigError, InputError
from georefer.geometry import Objects, Window, hbb_iou
from georefer.imagery.raster import open_imagery
from georefer.inference.calibration import fit_calibration
from georefer.inference.sweep import SweepPlan, SweepSettings, read_window_hint, sweep, sweep_recipe, window_hint
from georefer.models.fake import FakeModel

SIZE = 500
TRUTH = Objects.concat(
    [
        # a grid of houses, some touching, so that seams cut many of them
        Objects.from_hbb(
            np.array([(x, y, x + 24, y + 18) for x in range(6, 440, 36) for y in range(8, 300, 26)]), ["house"] * 156
        ),
        Objects.from_hbb(np.array([(30, 330, 54, 350), (54, 330, 80, 350), (20, 400, 470, 430)]), ["house"] * 3),
        Objects.from_hbb(np.array([(200, 352, 220, 380)]), ["pool"]),
    ]
)


def make_raster(path, *, crs="EPSG:32645", hole=True):
    image = np.full((3, SIZE, SIZE), 90, np.uint8)
    for o in TRUTH:
        x1, y1, x2, y2 = (int(v) for v in o.geometry.bounds)
        image[:, y1:y2, x1:x2] = np.array([180, 60, 50] if o.label == "house" else [50, 120, 220])[:, None, None]
    if hole:
        image[:, 440:, :] = 0
    place = {"crs": crs, "transform": Affine(0.25, 0, 400_000, 0, -0.25, 3_000_000)} if crs else {}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, width=SIZE, height=SIZE, nodata=0, **place
    ) as file:
        file.write(image)
    return path


def oracle(ask):
    """The truth of a window, cut at its borders, in the pixels of the image that is asked about."""
    window, label = read_window_hint(ask.hint)
    frame = shapely.box(*window.box)
    shown = TRUTH.labelled(label)
    shown = shown.replaced(shapely.intersection(shown.geometries_N, frame))
    visible = shown[(shapely.area(shown.geometries_N) >= 8)].crop(window)
    side = ask.image_HW3.shape[0]
    return visible.scale(side / window.width, side / window.height)


class CountingModel(FakeModel):
    """Counts what it is asked; stops like a killed run after `calls` batches."""

    def __init__(self, *, calls=10**9, **options):
        super().__init__(oracle, **options)
        object.__setattr__(self, "left", calls)
        object.__setattr__(self, "asked", [])

    def generate(self, asks, max_new_tokens=256):
        if not self.left:
            raise KeyboardInterrupt
        object.__setattr__(self, "left", self.left - 1)
        self.asked.extend(asks)
        return super().generate(asks, max_new_tokens)


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    return make_raster(tmp_path_factory.mktemp("area") / "area.tif")


def settings(raster, **changes):
    return replace(SweepSettings((raster,), ("house", "pool"), max_new_tokens=4000), **changes)


def best_iou(found, truth):
    return hbb_iou(truth.hbb_N4, found.hbb_N4).max(axis=1)


# --- what is found ---------------------------------------------------------------------------------------

WAYS = [
    ("as it is", {}),
    ("half the windows shared", {"overlap": 0.5}),
    ("coarser than the raster", {"gsd_m": 0.5, "window_px": 96}),
    ("finer than the raster", {"gsd_m": 0.125, "window_px": 256}),
    ("no overlap at all", {"overlap": 0.0}),
]


@pytest.mark.parametrize("changes", [w[1] for w in WAYS], ids=[w[0] for w in WAYS])
def test_a_perfect_model_gives_the_truth_back_once(raster, tmp_path, changes):
    result = sweep_recipe(FakeModel(oracle), settings(raster, **changes), tmp_path)
    for label in ("house", "pool"):
        found, truth = result.found.labelled(label), TRUTH.labelled(label)
        assert len(found) == len(truth)
        assert best_iou(found, truth).min() > 0.8
    assert result.counts["answers_failed"] == 0 and result.counts["looks"] > len(TRUTH)


def test_an_object_longer_than_a_window_is_joined_and_says_so(raster, tmp_path):
    found = sweep_recipe(FakeModel(oracle), settings(raster), tmp_path).found
    long = found[found.hbb_N4[:, 2] - found.hbb_N4[:, 0] > 200]
    assert len(long) == 1
    np.testing.assert_allclose(long.hbb_N4, [[20, 400, 470, 430]], atol=1)
    assert not long.attributes_N[0]["whole"] and long.attributes_N[0]["seen"] >= 4
    assert all(a["whole"] for a in found[found.hbb_N4[:, 2] - found.hbb_N4[:, 0] < 200].attributes_N)


def test_an_imperfect_model_is_not_made_worse(raster, tmp_path):
    """Edges off by a pixel: nearly all are found, nearly none twice."""
    found = sweep_recipe(FakeModel(oracle, noise_px=1.0), settings(raster), tmp_path).found.labelled("house")
    truth = TRUTH.labelled("house")
    assert (best_iou(found, truth) > 0.5).all()
    assert len(found) <= 1.03 * len(truth)


# --- files -----------------------------------------------------------------------------------------------


def test_the_layers_hold_what_was_found_and_lie_on_the_map(raster, tmp_path):
    result = sweep_recipe(FakeModel(oracle), settings(raster), tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == [
        "answers.jsonl", "found.geojson", "found.gpkg", "overlay.png", "sweep.json",
    ]  # fmt: skip
    table = geopandas.read_file(out / "found.gpkg", layer="found")
    assert table.crs.to_epsg() == 32645 and len(table) == len(TRUTH)
    assert set(table.columns) == {"id", "label", "score", "seen", "window", "whole", "geometry"}
    pool = table[table["label"] == "pool"].total_bounds
    np.testing.assert_allclose(pool, [400_050, 2_999_905, 400_055, 2_999_912], atol=0.3)
    lonlat = json.loads((out / "found.geojson").read_text())
    assert "crs" not in lonlat and len(lonlat["features"]) == len(TRUTH)
    x, y = lonlat["features"][0]["geometry"]["coordinates"][0][0]
    assert 85 < x < 87 and 26 < y < 28
    about = json.loads((out / "sweep.json").read_text())
    assert about["found"] == {"house": 159, "pool": 1} and about["settings"]["window_px"] == 128
    assert "159 x house, 1 x pool" in result.summary() and str(out) in result.summary()


def test_the_picture_shows_outlines_and_a_legend(raster, tmp_path):
    from PIL import Image

    sweep_recipe(FakeModel(oracle), settings(raster), tmp_path)
    picture = np.asarray(Image.open(tmp_path / "overlay.png")).astype(int)
    assert picture.shape[1] == SIZE and picture.shape[0] > SIZE
    red, green, blue = np.moveaxis(picture, 2, 0)
    yellow = (red > blue + 60) & (green > blue + 60)
    # along the upper edge of the long house, inside none, and in the legend
    assert yellow[399:402, 100:400].any(axis=0).mean() > 0.95
    assert not yellow[410:420, 100:400].any() and yellow[SIZE:].any()


def test_without_a_crs_the_layers_are_in_pixels(tmp_path, capsys):
    bare = make_raster(tmp_path / "bare.tif", crs=None)
    out = tmp_path / "out"
    (out).mkdir()
    (out / "found.geojson").write_text("stale")
    sweep_recipe(FakeModel(oracle), settings(bare, gsd_m=0.5), out)
    table = pyogrio.read_dataframe(out / "found.gpkg", layer="found")
    np.testing.assert_allclose(table[table["label"] == "pool"].total_bounds, [200, 352, 220, 380], atol=1)
    assert not (out / "found.geojson").exists()
    said = capsys.readouterr().err
    assert "no CRS" in said and "gsd_m = 0.5 has no meaning" in said


def test_nothing_found_still_gives_whole_layers(raster, tmp_path):
    result = sweep_recipe(FakeModel(lambda ask: Objects.none()), settings(raster), tmp_path)
    assert len(result.found) == 0 and result.counts["answers_none"] == result.counts["answers"] > 0
    assert len(pyogrio.read_dataframe(tmp_path / "found.gpkg", layer="found")) == 0
    assert json.loads((tmp_path / "found.geojson").read_text())["features"] == []


def test_broken_answers_are_listed_where_they_happened(raster, tmp_path):
    result = sweep_recipe(FakeModel(oracle, malformed=0.4), settings(raster), tmp_path)
    failures = geopandas.read_file(tmp_path / "found.gpkg", layer="failures")
    assert 5 < len(failures) == result.counts["answers_failed"] < result.counts["answers"]
    assert failures["problems"].str.contains("truncated|unreadable").all()
    # each outline is the very window whose answer broke
    windows = {f"{w.x:06d}-{w.y:06d}": w for w in SweepPlan.of(result.grid, settings(raster)).windows}
    for name, shape in zip(failures["window"], failures.geometry, strict=True):
        window = windows[name]
        expected = result.grid.geometry_to_world(shapely.box(*window.box))
        assert shape.symmetric_difference(expected).area < 1e-6
    assert result.counts["problems"]


def test_babble_is_kept_whole_in_the_answers_and_shortened_in_the_layer(raster, tmp_path):
    babble = "I see 🏠 many things " * 40
    result = sweep_recipe(FakeModel(lambda ask: babble), settings(raster, labels=("house",)), tmp_path)
    assert result.counts["answers_failed"] == result.counts["answers"] and len(result.found) == 0
    failures = geopandas.read_file(tmp_path / "found.gpkg", layer="failures")
    assert failures["text"].str.len().max() < 240 and (failures["problems"] == "unreadable").all()
    assert babble in (tmp_path / "answers.jsonl").read_text()


# --- confidences, grammars, refinement -------------------------------------------------------------------


def test_confidences_are_kept_with_the_answers_and_stand_in_the_layer(raster, tmp_path):
    model = TellingModel(oracle)
    result = sweep_recipe(model, settings(raster), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()[1:]]
    kept = [score for row in rows for score in row["scores"]]
    assert len(kept) == result.counts["looks"] and 0 < min(kept) < max(kept) < 1
    table = geopandas.read_file(tmp_path / "found.gpkg", layer="found")
    assert set(table["score"]) <= set(kept) and table["score"].nunique() > 50
    # kept ones are used again: nothing is asked, and the layers are the same
    before = (tmp_path / "found.gpkg").read_bytes()
    sweep_recipe(CountingModel(calls=0, name="telling"), settings(raster), tmp_path)
    assert (tmp_path / "found.gpkg").read_bytes() == before


def test_a_calibration_changes_scores_without_asking(raster, tmp_path):
    sweep_recipe(TellingModel(oracle), settings(raster), tmp_path / "out")
    raw = geopandas.read_file(tmp_path / "out" / "found.gpkg", layer="found")
    calibration = fit_calibration(np.repeat([0.3, 0.7], 100), np.tile([0, 1, 1, 1], 50), "telling")
    path = calibration.save(tmp_path)
    asked = CountingModel(calls=0, name="telling")
    sweep_recipe(asked, settings(raster, calibration=path), tmp_path / "out")
    found = geopandas.read_file(tmp_path / "out" / "found.gpkg", layer="found")
    np.testing.assert_allclose(found["score"], calibration(raw["score"].to_numpy()), atol=1e-9)
    with pytest.raises(InputError, match="calibration of 'telling', and 'fake' was expected"):
        sweep_recipe(FakeModel(oracle), settings(raster, calibration=path), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_held_and_free_answers_never_share_a_folder(raster, tmp_path):
    model = TellingModel(oracle)
    sweep_recipe(model, settings(raster, grammar=True), tmp_path)
    assert set(model.grammars) == {model.dialect.grammar()}
    with pytest.raises(InputError, match="grammar is True, now False"):
        sweep_recipe(model, settings(raster), tmp_path)
    with pytest.raises(InputError, match="cannot be held to a grammar"):
        sweep_recipe(FakeModel(oracle), settings(raster, grammar=True), tmp_path / "fake")


def test_answers_from_before_there_were_grammars_and_confidences_are_read(raster, tmp_path):
    sweep_recipe(CountingModel(), settings(raster), tmp_path)
    first, *rest = (tmp_path / "answers.jsonl").read_text().splitlines()
    identity = json.loads(first)
    del identity["sweep"]["grammar"]
    (tmp_path / "answers.jsonl").write_text("\n".join([json.dumps(identity), *rest, ""]))
    again = CountingModel(calls=0)
    result = sweep_recipe(again, settings(raster), tmp_path)
    assert len(result.found) == len(TRUTH) and np.isnan(result.found.scores_N).all()
    with pytest.raises(InputError, match="grammar is False, now True"):
        sweep_recipe(again, settings(raster, grammar=True), tmp_path)


def test_shapes_are_refined_after_merging_and_say_so(raster, tmp_path):
    """The oracle is three pixels off; the houses' edges are sharp."""

    def off(ask):
        return oracle(ask).replaced(shapely.transform(oracle(ask).geometries_N, lambda xy: xy + 2.0))

    wanted = settings(raster, labels=("house",))
    plain = sweep_recipe(FakeModel(off), wanted, tmp_path)
    result = sweep_recipe(FakeModel(off), replace(wanted, refine="snap"), tmp_path)
    table = geopandas.read_file(tmp_path / "found.gpkg", layer="found")
    is_refined = table["refined_by"] == "snap"
    assert result.counts["refined"] == is_refined.sum() > 100 and len(table) == len(plain.found)
    assert ((table["kept_because"] == "") == is_refined).all()
    truth = TRUTH.labelled("house")
    assert best_iou(result.found, truth).mean() > best_iou(plain.found, truth).mean() + 0.1
    assert "shapes refined" in result.summary() and "shapes refined" not in plain.summary()
    with pytest.raises(InputError, match="no refiner 'sharpen'"):
        sweep_recipe(FakeModel(off), replace(wanted, refine="sharpen"), tmp_path / "other")


# --- asking ----------------------------------------------------------------------------------------------


def test_windows_without_imagery_are_not_asked_and_others_are_read_once(tmp_path):
    path = make_raster(tmp_path / "area.tif")
    with rasterio.open(path, "r+") as file:
        file.write(np.zeros((3, 250, 250), np.uint8), window=rasterio.windows.Window(250, 250, 250, 250))
    model = CountingModel()
    counts = sweep_recipe(model, settings(path, batch=7), tmp_path / "out").counts
    assert counts["windows_empty"] >= 1
    assert counts["answers"] == len(model.asked) == 2 * (counts["windows"] - counts["windows_empty"])
    assert {ask.prompt for ask in model.asked} == {"Find every house.", "Find every pool."}
    first, second = model.asked[:2]
    assert first.image_HW3 is second.image_HW3 and first.image_HW3.shape == (128, 128, 3)


def test_an_interrupted_sweep_goes_on_and_ends_alike(raster, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    sweep_recipe(CountingModel(), settings(raster, batch=8), whole)
    first = CountingModel(calls=2)
    with pytest.raises(KeyboardInterrupt):
        sweep_recipe(first, settings(raster, batch=8), broken)
    assert not (broken / "sweep.json").exists()
    with (broken / "answers.jsonl").open("a") as file:
        file.write('{"window": [0, 0, 12')  # died while writing
    second = CountingModel()
    sweep_recipe(second, settings(raster, batch=5), broken)
    hints = [ask.hint for ask in (*first.asked, *second.asked)]
    third = CountingModel()
    sweep_recipe(third, settings(raster), broken)
    assert not third.asked  # the file that was cut and continued reads whole
    assert len(first.asked) == 16 and len(hints) == len(set(hints))
    assert (whole / "found.gpkg").read_bytes() == (broken / "found.gpkg").read_bytes()
    assert (whole / "found.geojson").read_bytes() == (broken / "found.geojson").read_bytes()


def test_merging_anew_asks_nothing_but_other_windows_are_refused(raster, tmp_path):
    sweep_recipe(CountingModel(), settings(raster), tmp_path)
    again = CountingModel()
    sweep_recipe(again, settings(raster, merge_iou=0.7), tmp_path)
    assert not again.asked
    more = CountingModel()
    sweep_recipe(more, settings(raster, labels=("house", "pool", "tree")), tmp_path)
    assert {read_window_hint(ask.hint)[1] for ask in more.asked} == {"tree"}
    with pytest.raises(InputError, match=r"another sweep .*gsd_m is None, now 0\.5") as error:
        sweep_recipe(again, settings(raster, gsd_m=0.5), tmp_path)
    assert "delete that file" in str(error.value)
    with pytest.raises(InputError, match="model is 'fake', now 'other'"):
        sweep_recipe(FakeModel(oracle, name="other"), settings(raster), tmp_path)


def test_a_raster_smaller_than_a_window_is_padded_at_its_own_scale(raster, tmp_path):
    with open_imagery(raster) as imagery:
        plan = SweepPlan.of(imagery.grid, settings(raster, window_px=800))
        assert plan.windows == (Window(0, 0, 800, 800),)
        result = sweep(FakeModel(oracle), imagery, settings(raster, window_px=800), tmp_path)
    assert len(result.found) == len(TRUTH)


def test_hints_and_settings_round_trip(tmp_path):
    window = Window(96, 0, 128, 64)
    assert read_window_hint(window_hint(window, "red | roof")) == (window, "red | roof")
    (tmp_path / "sweep.toml").write_text(
        'imagery = ["area.tif"]\nlabels = ["house"]\nstretch = [[1, 2], [1, 2], [1, 2]]'
    )
    loaded = load_settings(SweepSettings, tmp_path / "sweep.toml", ["gsd_m=0.5"])
    assert loaded.imagery == (tmp_path / "area.tif",) and loaded.gsd_m == 0.5
    assert loaded.stretch == ((1.0, 2.0),) * 3
    for override in ("overlap=0.9", "labels=[]", 'labels=["a", "a"]', "batch=0", "gsd_m=-1"):
        with pytest.raises(ConfigError):
            load_settings(SweepSettings, tmp_path / "sweep.toml", [override])


@pytest.mark.shared
def test_dense_real_buildings_come_back_once(shared_data, tmp_path):
    """Hundreds of touching, turned roofs and windows of 32 m: hard on whatever merges boxes across seams."""
    from georefer.imagery.vector import read_layer

    folder = shared_data / "banepa-buildings"
    tiles = folder / "tiles" / "OAM-38669[01]-22024[1-4]-19.tif"
    imagery = open_imagery(tiles)
    layer = read_layer(folder / "osm_buildings.geojson", grid=imagery.grid)
    area = shapely.box(0, 0, imagery.grid.width, imagery.grid.height)
    roofs = shapely.intersection(imagery.grid.geometry_to_pixel(layer.frame.geometry.values), area)
    roofs = roofs[shapely.area(roofs) > 60]

    def truth(ask):
        window, label = read_window_hint(ask.hint)
        seen = shapely.intersection(roofs, shapely.box(*window.box))
        seen = seen[shapely.area(seen) > 60]
        sides = ask.image_HW3.shape[1] / window.width, ask.image_HW3.shape[0] / window.height
        return Objects.of(seen, [label] * len(seen)).crop(window).scale(*sides).to_hbb()

    wanted = SweepSettings((tiles,), ("building",), gsd_m=0.25, max_new_tokens=4000)
    found = sweep(FakeModel(truth, noise_px=0.5), imagery, wanted, tmp_path).found
    iou = hbb_iou(shapely.bounds(roofs), found.hbb_N4)
    assert (iou.max(axis=1) > 0.5).mean() > 0.98
    assert (iou.max(axis=0) > 0.5).mean() > 0.98 and len(roofs) > 200
    assert len(found) == pytest.approx(len(roofs), rel=0.02)
