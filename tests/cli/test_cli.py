import subprocess
import sys

import pytest
from tests.data.area import make_area

from georefer import cli
from georefer.cli import VERBS, main


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out) > 100


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom georefer.cli import main\n"
        "try:\n    main(['sft', '--help'])\nexcept SystemExit:\n    pass\n"
        "main(['--help'])\n"
        "print([m for m in ('numpy', 'torch', 'rasterio', 'geopandas', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_an_unknown_verb_is_said(capsys):
    assert main(["sing"]) == 2
    assert "no verb 'sing'" in capsys.readouterr().err


def test_interrupting_says_how_to_go_on(monkeypatch, capsys):
    import georefer.cli.doctor as doctor

    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    assert main(["doctor"]) == 130
    assert "goes on" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch):
    import georefer.cli.doctor as doctor

    def broken(options):
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


@pytest.fixture
def area(tmp_path):
    make_area(tmp_path / "area", side=256)
    (tmp_path / "build.toml").write_text(
        """
imagery = ["area/image.tif"]
chip_px = 64
[[layers]]
path = "area/layers.gpkg"
layer = "houses"
label = "house"
[split]
block_m = 32
buffer_m = 2
"""
    )
    return tmp_path


def write_geojson(path, geometry, crs=True):
    import geopandas

    geopandas.GeoDataFrame(geometry=[geometry], crs="EPSG:2154" if crs else None).to_file(path)


def bad_imagery(folder):
    return ["--set", f'imagery=["{folder}/nowhere.tif"]']


def corrupt_imagery(folder):
    path = folder / "area" / "image.tif"
    path.write_bytes(path.read_bytes()[:500])
    return []


def empty_imagery(folder):
    (folder / "area" / "image.tif").write_bytes(b"")
    return []


def unknown_key(folder):
    return ["--set", "chip=3"]


def wrong_type(folder):
    return ["--set", "chip_px=large"]


def missing_layer_file(folder):
    (folder / "area" / "layers.gpkg").unlink()
    return []


def layer_elsewhere(folder):
    import shapely

    write_geojson(folder / "far.gpkg", shapely.box(0, 0, 10, 10))
    return ["--set", f'layers=[{{path="{folder}/far.gpkg", label="x"}}]']


def layer_without_crs(folder):
    import shapely

    write_geojson(folder / "bare.gpkg", shapely.box(0, 0, 10, 10), crs=False)
    return ["--set", f'layers=[{{path="{folder}/bare.gpkg", label="x"}}]']


def layer_of_nothing(folder):
    import shapely

    write_geojson(folder / "empty.gpkg", shapely.Polygon())
    return ["--set", f'layers=[{{path="{folder}/empty.gpkg", label="x"}}]']


BAD_BUILDS = [
    (bad_imagery, "nowhere.tif"),
    (corrupt_imagery, "image.tif"),
    (empty_imagery, "image.tif"),
    (unknown_key, "unknown key 'chip'"),
    (wrong_type, "expected int"),
    (missing_layer_file, "layers.gpkg"),
    (layer_elsewhere, "far"),
    (layer_without_crs, "no coordinate reference system"),
    (layer_of_nothing, "empty"),
]


@pytest.mark.parametrize("harm, message", BAD_BUILDS, ids=[h.__name__ for h, _ in BAD_BUILDS])
def test_bad_input_to_build_is_one_sentence_and_leaves_nothing(area, capsys, harm, message):
    extra = harm(area)
    assert main(["build", str(area / "build.toml"), str(area / "out"), *extra]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("georefer build: ") and message in err
    assert not (area / "out").exists() and not (area / "out.partial").exists()


def test_a_self_crossing_polygon_is_repaired_and_counted(area, capsys):
    import shapely

    from georefer.scenes import open_dataset

    x, y = 650_050, 6_859_950
    write_geojson(area / "bow.gpkg", shapely.Polygon([(x, y), (x + 30, y + 30), (x + 30, y), (x, y + 30)]))
    houses = f'{{path="{area}/area/layers.gpkg", layer="houses", label="house"}}'
    layers = f'layers=[{{path="{area}/bow.gpkg", label="x"}}, {houses}]'
    assert main(["build", str(area / "build.toml"), str(area / "out"), "--set", layers]) == 0
    assert open_dataset(area / "out").manifest["features"]["bow: repaired"] == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["inspect", "nowhere"], "no manifest.json"),
        (["score", "nowhere"], "no run.json"),
        (["evaluate", "nowhere", "nodata", "out"], "no manifest.json"),
        (["sft", "nowhere.toml", "out"], "there is no recipe"),
        (["ask", "nowhere", "image.png", "--find", "x"], "no tiny.json"),
        (["demo", "nowhere", "out"], "build.toml"),
        (["sweep", "nowhere", "out"], "lacks imagery, labels"),
    ],
)
def test_other_verbs_say_what_is_missing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("georefer 0.")


def test_verbs_have_a_file_each():
    import pathlib

    files = {p.stem for p in pathlib.Path(cli.__file__).parent.glob("*.py")} - {"__init__", "options"}
    assert files == set(VERBS)


@pytest.mark.parametrize("arguments", [["sft", "x.toml", "out"], ["ask", "m", "i.png", "--find", "x"]])
def test_without_the_extra_its_name_is_said(arguments, monkeypatch, capsys):
    import georefer.models

    monkeypatch.setattr(georefer.models, "find_spec", lambda name: None)
    assert main(arguments) == 2
    assert "pip install 'georefer[models]'" in capsys.readouterr().err
