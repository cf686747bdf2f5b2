"""DOTA's folders: sizes from the pictures, tiles know their scene."""

import pytest
from tests.data.published_2 import dota

from georefer.scenes.readers.dota import SOURCE, tile_of


def test_a_folder(tmp_path):
    read = SOURCE.read(dota(tmp_path / "d"))
    scene, tile = read.images["P0001.png"], read.images["P0001__0.5__0___824.png"]
    assert (scene.width, scene.height, tile.width) == (64, 48, None)
    assert scene.attributes == {"imagesource": "GoogleEarth", "gsd": 0.15}
    assert tile.attributes == {"scene": "P0001", "tile": [0, 824], "rate": 0.5}
    assert scene.objects.labels_N.tolist() == ["plane"] and read.account.kept == 2


def test_it_comes_back(tmp_path):
    read = SOURCE.read(dota(tmp_path / "d"))
    SOURCE.write(read, tmp_path / "again")
    for name in ("P0001.txt", "P0001__0.5__0___824.txt"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "d" / "labelTxt" / name).read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/0505__512__2884___5768.png", {"scene": "0505", "tile": [2884, 5768], "tile_size": 512}),
        ("P0706__1.0__0___824", {"scene": "P0706", "tile": [0, 824], "rate": 1.0}),
        ("my__own__1__0___824.jpg", {"scene": "my__own", "tile": [0, 824], "rate": 1.0}),
        ("P0706.png", {}),
        ("P0706__1__0__824.png", {}),
        ("_" * 5000, {}),
    ],
)
def test_names_of_tiles(name, said):
    assert tile_of(name) == said
