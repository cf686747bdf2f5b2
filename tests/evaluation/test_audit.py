"""Leak audit: each reason on its own, what is no leak, and real pictures with copies among them."""

import io
import itertools

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from pyproj import CRS
from tests.data.published_2 import noise

from georefer.errors import InputError
from georefer.evaluation.audit import Audit, audit, audit_table
from georefer.evaluation.fingerprints import TURNS, agree, fingerprint, near, turned
from georefer.evaluation.image_sets import ImageSet, Source, read_sets, source_of
from georefer.geometry import GeoGrid, Objects, turn_image
from georefer.imagery.encode import encode_image
from georefer.imagery.raster import open_imagery
from georefer.imagery.write import write_raster
from georefer.scenes import DatasetWriter, Scene


def images_in(folder, **pictures):
    """PNG files of arrays, by stem ("train/a" makes a folder)."""
    for name, image_HW3 in pictures.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image_HW3).save(path)
    return folder


def jpeg(image_HW3, quality):
    data = io.BytesIO()
    Image.fromarray(image_HW3).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB"))


def resized(image_HW3, *size):
    return np.asarray(Image.fromarray(image_HW3).resize(size, Image.Resampling.BILINEAR))


def reasons_of(found: Audit) -> dict[tuple[str, str], set[str]]:
    return {(leak.left[1], leak.right[1]): set(leak.reasons) for leak in found.leaks}


def of_folders(tmp_path, left, right, **options) -> Audit:
    left, right = images_in(tmp_path / "left", **left), images_in(tmp_path / "right", **right)
    return audit([*read_sets(left), *read_sets(right)], **options)


# --- fingerprints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_has_a_turned_fingerprint(turn):
    image = noise(3)
    transposed, down, across = turn
    lying = image.swapaxes(0, 1) if transposed else image
    lying = lying[::-1] if down else lying
    lying = lying[:, ::-1] if across else lying
    there = turned(fingerprint(image)[None], *turn)[0]
    assert np.bitwise_count(there ^ fingerprint(np.ascontiguousarray(lying))).sum() <= 2
    # the eight are eight: no two of them look alike for such a picture
    others = [turned(fingerprint(image)[None], *other)[0] for other in TURNS if other != turn]
    assert min(np.bitwise_count(there ^ other).sum() for other in others) > 60


def test_every_pair_is_compared_across_blocks():
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 2**64, (n, 4), dtype=np.uint64) for n in (150, 9000))
    # in the corners of the blocks of 64 x 4096, and the last of all
    hidden = {(0, 0), (63, 4095), (64, 4096), (149, 8999)}
    for i, j in hidden:
        right[j] = left[i] ^ np.uint64(0b1011)
    blocks = [np.stack(block, axis=1).tolist() for block in near(left, right, turns=False)]
    found = {(i, j): bits for block in blocks for i, j, bits in block}
    assert found == dict.fromkeys(hidden, 12)


def test_agree_is_near_row_by_row():
    prints = np.array([fingerprint(noise(n)) for n in range(4)])
    lying = np.array([fingerprint(turn_image(noise(n), n, n > 1)) for n in range(4)])
    assert agree(prints, lying).all() and not agree(prints, np.roll(lying, 1, axis=0)).any()


@pytest.mark.parametrize(
    "image",
    [
        np.full((50, 50, 3), 90, np.uint8),  # flat
        np.zeros((0, 5, 3), np.uint8),  # nothing
        np.where(np.arange(64)[None, :, None] < 30, 255, noise(1, (64, 64))).astype(np.uint8),  # much of it not seen
    ],
    ids=["flat", "empty", "unseen"],
)
def test_pictures_without_a_fingerprint(image):
    assert fingerprint(image) is None


# --- one reason after the other -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (lambda x: x, {"content", "looks"}),
        (lambda x: jpeg(x, 50), {"looks"}),
        (lambda x: resized(x, 48, 70), {"looks"}),
        (lambda x: (x * 0.7).astype(np.uint8), {"looks"}),
        (lambda x: turn_image(x, 1), {"looks"}),
        (lambda x: jpeg(turn_image(x, 2, True), 60), {"looks"}),
        (lambda x: x[30:, 30:], set()),  # a third is cut off
    ],
    ids=["copy", "jpeg", "resized", "darker", "turned", "mirrored jpeg", "cut"],
)
def test_copies_are_found_by_their_pixels_and_looks(tmp_path, change, reasons):
    left = {"a": noise(1), "b": noise(2)}
    right = {"x": noise(3), "y": np.ascontiguousarray(change(noise(1)))}
    found = of_folders(tmp_path, left, right)
    assert reasons_of(found) == ({("a.png", "y.png"): reasons} if reasons else {})


def test_turned_copies_are_left_out_on_demand(tmp_path):
    left, right = {"a": noise(1)}, {"x": turn_image(noise(1), 1)}
    assert not of_folders(tmp_path, left, right, turns=False).leaks
    assert of_folders(tmp_path, left, right, reasons=["looks"]).counts[0].pairs == 1


def test_equal_names_of_different_pictures_are_no_leak(tmp_path):
    flat = np.full((40, 40, 3), 9, np.uint8)
    left = {"001": noise(1), "002": noise(2), "003": noise(3), "004": flat}
    right = {"001": noise(5), "sub/002": jpeg(noise(2), 40), "004": flat}
    found = of_folders(tmp_path, left, right)
    # 001 is somebody else's; of one colour nothing can be said but the name
    assert reasons_of(found) == {("002.png", "sub/002.png"): {"looks", "name"}, ("004.png", "004.png"): {"name"}}
    assert found.contradicted == 1 and "1 equal names belong to pictures that look different" in audit_table(found)


def test_tiles_know_their_scene(tmp_path):
    left = {"0505__64__0___0": noise(1, (64, 64)), "0505__64__412___0": noise(2, (64, 64))}
    right = {
        "0505": noise(3, (256, 256)),  # the whole scene
        "0505__64__48___0": noise(4, (64, 64)),  # a quarter of the first tile
        "0505__64__64___0": noise(5, (64, 64)),  # touches it
        "0505__2__0___0": noise(6, (64, 64)),  # enlarged twice before cutting: 32 px of the scene
        "0506__64__0___0": noise(7, (64, 64)),  # another scene
    }
    found = of_folders(tmp_path, left, right, reasons=["name"])
    first, second = "0505__64__0___0.png", "0505__64__412___0.png"
    assert {(leak.left[1], leak.right[1]): leak.reasons["name"] for leak in found.leaks} == {
        (first, "0505.png"): 1.0, (second, "0505.png"): 1.0, (first, "0505__64__48___0.png"): 0.25,
        (first, "0505__2__0___0.png"): 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a/P0001.PNG", Source("p0001")),
        ("P0001__1__0___824.png", Source("p0001", (0, 824, 100, 874))),
        ("P0001__0.5__10___0.png", Source("p0001", (20, 0, 220, 100))),
        ("0505__512__412___0.png", Source("0505", (412, 0, 924, 512))),
    ],
)
def test_names(name, source):
    assert source_of(name, (100, 50)) == source


def test_footprints_in_any_crs(tmp_path):
    grid = GeoGrid(CRS("EPSG:2154"), Affine(0.5, 0, 650_000, 0, -0.5, 6_860_000), 100, 100)
    beside = GeoGrid(CRS("EPSG:2154"), Affine(0.5, 0, 650_050, 0, -0.5, 6_860_000), 100, 100)
    x, y = grid.pixel_to_lonlat(np.array([[50.0, 0.0]]))[0]
    step = 0.5 / 111_320
    over = GeoGrid(CRS("EPSG:4326"), Affine(step / np.cos(np.radians(y)), 0, x, 0, -step, y), 100, 100)
    # "a" is the same ground on another day
    files = (("left/a", grid, 1), ("right/beside", beside, 2), ("right/over", over, 3), ("right/a", grid, 4))
    for name, one, seed in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_raster(tmp_path / f"{name}.tif", one, 3, "uint8", [(0, 0, noise(seed, (100, 100)))])
    found = audit([*read_sets(tmp_path / "left"), *read_sets(tmp_path / "right")])
    assert reasons_of(found) == {("a.tif", "over.tif"): {"footprint"}, ("a.tif", "a.tif"): {"footprint", "name"}}
    strengths = {leak.right[1]: leak.reasons["footprint"] for leak in found.leaks}
    assert strengths == {"a.tif": 1.0, "over.tif": pytest.approx(0.5, abs=0.03)} and not found.contradicted


def test_ground_across_the_date_line():
    grid = GeoGrid(CRS("EPSG:4326"), Affine(0.001, 0, 179.95, 0, -0.001, 1), 100, 100)
    left, right = ImageSet("a", None), ImageSet("b", None)
    left.add("x", noise(1), [], grid)
    # the same ground, said with a longitude beyond 180; and ground on the other side of the Earth
    right.add("y", noise(2), [], GeoGrid(grid.crs, Affine(0.001, 0, 179.97, 0, -0.001, 1), 100, 100))
    right.add("z", noise(3), [], GeoGrid(grid.crs, Affine(0.001, 0, -0.05, 0, -0.001, 1), 100, 100))
    assert reasons_of(audit([left, right])) == {("x", "y"): {"footprint"}}


# --- sets -----------------------------------------------------------------------------------------------------


def scene(number, split, seed, **changes):
    said = {"id": f"{split}-{number:06d}-000000", "grid": GeoGrid.none(96, 96), "provenance": {}, **changes}
    return Scene(image=encode_image(noise(seed)), objects=Objects.none(), split=split, **said)


def test_splits_of_a_built_dataset(tmp_path):
    with DatasetWriter(tmp_path / "mine") as writer:
        writer.write("train", [scene(0, "train", 1), scene(1, "train", 2)], [])
        writer.write("test", [scene(0, "test", 3), scene(1, "test", 2)], [])
        writer.finish("small")
    sets = read_sets(tmp_path / "mine")
    assert [(s.title, len(s)) for s in sets] == [("mine:train", 2), ("mine:test", 2)]
    found = audit(sets)
    assert reasons_of(found) == {("train-000001-000000", "test-000001-000000"): {"content", "looks"}}
    with pytest.raises(InputError, match="at least two are compared"):
        audit(read_sets(tmp_path / "mine", splits=["test"]))


def test_provenance_names_a_source(tmp_path):
    about = [{"source": "photo", "window_px": [0, 0, 96, 96]}, {"source": "photo", "window_px": [48, 0, 144, 96]},
             {"source": "photo", "window_px": [96, 0, 192, 96]}, {"image": "P1.png"}]  # fmt: skip
    for name, seed, some in (("a", 1, (0, 3)), ("b", 5, (1, 2))):
        with DatasetWriter(tmp_path / name) as writer:
            writer.write("train", [scene(n, "train", seed + n, provenance=about[p]) for n, p in enumerate(some)], [])
            writer.finish("small")
    plain = images_in(tmp_path / "plain", P1=jpeg(noise(2), 30))
    found = audit([*read_sets(tmp_path / "a"), *read_sets(tmp_path / "b"), *read_sets(plain)], reasons=["name"])
    # ids that the builder gives are the same in every dataset, and say nothing
    assert reasons_of(found) == {
        ("train-000000-000000", "train-000000-000000"): {"name"}, ("train-000001-000000", "P1.png"): {"name"}
    }  # fmt: skip
    assert sorted(leak.reasons["name"] for leak in found.leaks) == [0.5, 1.0]


def test_folders_named_like_splits(tmp_path):
    folder = images_in(tmp_path / "plain", **{"train/a": noise(1), "test/b": noise(1), "c": noise(2)})
    (folder / "notes.txt").write_text("x")
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    (folder / "out.png").symlink_to(tmp_path / "plain.png")
    sets = read_sets(folder, "mine")
    assert {(s.title, len(s), s.unreadable) for s in sets} == {
        ("mine", 1, 1),
        ("mine:test", 1, 0),
        ("mine:train", 1, 0),
    }
    assert [s.title for s in read_sets(folder, "mine", ["train"])] == ["mine:train"]
    assert {(c.left, c.right, c.reason) for c in audit(sets).counts} == {
        ("mine:test", "mine:train", "content"), ("mine:test", "mine:train", "looks")
    }  # fmt: skip
    assert "1 unreadable" in audit_table(audit(sets))


@pytest.mark.parametrize("names", [[], ["none"]])
def test_nothing_to_read_is_one_sentence(tmp_path, names):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no image|no folder"):
        read_sets(tmp_path / (names[0] if names else "nowhere"))


def test_unknown_reasons_are_refused(tmp_path):
    with pytest.raises(InputError, match="the reasons smell"):
        of_folders(tmp_path, {"a": noise(1)}, {"b": noise(2)}, reasons=["smell"])


def test_the_report_holds_everything(tmp_path):
    found = of_folders(tmp_path, {"a": noise(1), "b": noise(2)}, {"c": noise(1), "d": noise(1)})
    said = found.to_json()
    assert [(s["name"], s["images"], s["with_looks"]) for s in said["sets"]] == [("left", 2, 2), ("right", 2, 2)]
    (content, looks) = said["counts"]
    assert (content["reason"], content["pairs"], content["left_images"], content["right_images"]) == (
        "content",
        2,
        1,
        2,
    )
    assert looks["reason"] == "looks" and not looks["cut"]
    assert said["leaks"][0] == {
        "left": ("left", "a.png"), "right": ("right", "c.png"), "reasons": {"content": 1.0, "looks": 1.0}
    }  # fmt: skip
    table = audit_table(found, listed=1)
    assert "left/a.png = right/c.png  (content 1.00, looks 1.00)" in table and "and 1 more pairs" in table


@pytest.mark.shared
def test_real_chips_copies_are_found_and_neighbours_are_not(shared_data):
    """Thirty chips of forest, savanna and towns: each JPEG copy is found, no two chips are taken for each other."""
    files = sorted((shared_data / "neon-trees").rglob("TEAK*.tif"))[:10]
    files += sorted((shared_data / "naip-urban-trees" / "images").glob("[ce]*.tif"))[:10]
    files += sorted((shared_data / "banepa-buildings" / "tiles").glob("*.tif"))[:10]
    left, right = ImageSet("a", None), ImageSet("b", None)
    for file, turn in zip(files, itertools.cycle(range(4)), strict=False):
        with open_imagery(file) as imagery:
            image = imagery.overview(400).image_HW3
        left.add(file.name, image, [], None)
        right.add(file.name, jpeg(resized(turn_image(image, turn), 200, 200), 60), [], None)
    found = audit([left, right], reasons=["looks"])
    assert len(left) == 30 and {(leak.left[1], leak.right[1]) for leak in found.leaks} == {(n, n) for n in left.images}
