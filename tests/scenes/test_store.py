import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from georefer.errors import DatasetError, RasterError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import decode_image, encode_image
from georefer.scenes import DatasetWriter, Question, Scene, journal, open_dataset
from georefer.scenes.store import Part

GRID = GeoGrid(CRS("EPSG:4326"), Affine(1e-6, 0, 85.5, 0, -1e-6, 27.6), 40, 30)
PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
HOLE = shapely.Polygon([(1, 1), (20, 1), (20, 20), (1, 20)], [[(5, 5), (9, 5), (9, 9)]])
OBJECTS = Objects.of(
    [HOLE, shapely.box(3, 3, 9, 9), shapely.Point(4, 4)],
    ["Industrial, agricultural or commercial zone", "pond", "tree"],
    kind=["polygon", "hbb", "point"],
    ids=["a/1", "b/2", "c/3"],
    scores=[None, 0.25, None],
    attributes=[{"roof": "red", "storeys": 3}, {}, {"é": None}],
)
SCENE = Scene("s1", encode_image(PIXELS), OBJECTS, GRID, "train", {"licence": "CC0"})
QUESTIONS = [
    Question("q1", "s1", "detection", {"label": "pond"}, ("b/2",)),
    Question("q2", "s1", "presence", {"label": "ship"}, answer_text="no"),
    Question("q3", "s1", "detection", {"label": "ship"}),
]


def write(folder, **options):
    with DatasetWriter(folder, **options) as writer:
        writer.write("train", [SCENE], QUESTIONS)
        return writer.finish("# card", labels=["pond"])


def test_scenes_come_back_as_they_were(tmp_path):
    (scene,) = write(tmp_path / "d").scenes("train")
    assert np.array_equal(scene.pixels(), PIXELS)
    assert (scene.id, scene.split, scene.size, scene.provenance) == ("s1", "train", (40, 30), {"licence": "CC0"})
    assert scene.grid == GRID
    for before, after in zip(OBJECTS, scene.objects, strict=True):
        assert (before.id, before.label, before.kind, before.score) == (after.id, after.label, after.kind, after.score)
        assert before.attributes == after.attributes
        assert before.geometry.equals_exact(after.geometry, 0)


def test_pictures_are_read_by_number(tmp_path):
    """More scenes than a batch holds, so that they lie in several row groups and files."""
    count = 150
    images = [np.full((3, 4, 3), number, np.uint8) for number in range(count)]
    scenes = [
        Scene(f"s{n}", encode_image(i), Objects.none(), GeoGrid.none(4, 3), "train") for n, i in enumerate(images)
    ]
    with DatasetWriter(tmp_path / "d") as writer:
        writer.write("train", scenes, [])
        pictures = writer.finish("").pictures("train")
    assert len(pictures) == count
    assert all(np.array_equal(pictures[n], images[n]) for n in (149, 0, 63, 64, 128))
    for wrong in (-1, count):
        with pytest.raises(IndexError, match="where there are 150"):
            pictures[wrong]


def test_an_image_without_a_place_stays_without(tmp_path):
    lone = Scene("s", encode_image(PIXELS), Objects.none(), GeoGrid.none(40, 30), "train")
    with DatasetWriter(tmp_path / "d") as writer:
        writer.write("train", [lone], [])
        dataset = writer.finish("")
    (scene,) = dataset.scenes("train")
    assert scene.grid == GeoGrid.none(40, 30) and len(scene.objects) == 0


def test_questions_come_back_as_they_were(tmp_path):
    assert write(tmp_path / "d").questions("train") == QUESTIONS


def test_the_card_and_the_counts(tmp_path):
    dataset = write(tmp_path / "d")
    assert dataset.manifest["splits"] == {"train": {"scenes": 1, "questions": 3}}
    assert dataset.manifest["labels"] == ["pond"]
    assert (dataset.folder / "README.md").read_text() == "# card"


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def scenes():
        yield SCENE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "d") as writer:
        writer.write("train", scenes(), [])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_leaves_the_old_one(tmp_path):
    before = write(tmp_path / "d").fingerprint
    with pytest.raises(RuntimeError), DatasetWriter(tmp_path / "d", replace=True) as writer:
        writer.write("train", [SCENE, SCENE], [])
        raise RuntimeError
    assert open_dataset(tmp_path / "d").fingerprint == before


def parts(count, rows):
    """Parts of a few scenes with twice as many questions; ids number them through."""
    for number in range(count):
        scenes = [replace(SCENE, id=f"s{number * rows + i}") for i in range(rows)]
        asked = [replace(q, id=f"{s.id}/{q.id}", scene_id=s.id) for s in scenes for q in QUESTIONS[:2]]
        yield Part.of(scenes, asked, {"scenes": len(scenes)})


@pytest.mark.parametrize("broken_after", [0, 1, 4, 7, 11, 12])
@pytest.mark.parametrize("rows", [1, 3, 5, 0])
def test_parts_go_on_where_the_files_end(tmp_path, monkeypatch, rows, broken_after):
    """Files of 4 rows in groups of 3: they fill in the midst of parts, before, and never."""
    monkeypatch.setattr(journal, "ROWS_PER_FILE", 4)
    monkeypatch.setattr(journal, "ROWS_PER_GROUP", 3)

    def give(folder, stop=None):
        with DatasetWriter(folder, resume="recipe") as writer:
            first = writer.parts_done("train")
            for number, part in enumerate(parts(12, rows)):
                if number == stop:
                    raise KeyboardInterrupt
                if number >= first:
                    writer.append("train", part)
            writer.close("train")
            if stop == 12:
                raise KeyboardInterrupt
            return first, writer.finish("", counts=dict(writer.counts))

    _, whole = give(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        give(tmp_path / "d", broken_after)
    first, resumed = give(tmp_path / "d")
    assert resumed.manifest == whole.manifest
    assert [s.id for s in resumed.scenes("train")] == [f"s{i}" for i in range(12 * rows)]
    assert [q.scene_id for q in resumed.questions("train")] == [f"s{i // 2}" for i in range(24 * rows)]
    # at most the rows of one file are made again
    assert first >= broken_after - (-(-4 // rows) if rows else 12)


def test_an_interrupt_without_resume_or_with_a_wrong_recipe_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "ROWS_PER_FILE", 1)
    for resume, error in ((None, KeyboardInterrupt), ("recipe", DatasetError)):
        with pytest.raises(error), DatasetWriter(tmp_path / "d", resume=resume) as writer:
            writer.append("train", next(parts(1, 3)))
            raise error
        assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path):
    write(tmp_path / "d")
    with pytest.raises(DatasetError, match="exists already"):
        write(tmp_path / "d")
    write(tmp_path / "d", replace=True)


def damage_manifest(folder):
    (folder / "manifest.json").write_text("{")


def other_manifest(folder):
    # a synthetic area has a manifest.json too
    (folder / "manifest.json").write_text('{"version": 1, "seed": 7}')


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


def raise_version(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))


def cut_table(folder):
    path = next((folder / "scenes").iterdir())
    path.write_bytes(path.read_bytes()[:-10])


def remove_table(folder):
    next((folder / "questions").iterdir()).unlink()


@pytest.mark.parametrize(
    "harm, message",
    [
        (remove_manifest, "has no manifest.json"),
        (damage_manifest, "is damaged"),
        (other_manifest, "is not a dataset's"),
        (raise_version, "has format 99"),
        (cut_table, "is missing or not"),
        (remove_table, "is missing or not"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, harm, message):
    write(tmp_path / "d")
    harm(tmp_path / "d")
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path / "d")


def test_a_split_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DatasetError, match="no split 'test'"):
        write(tmp_path / "d").questions("test")


def test_a_folder_of_datasets_names_them(tmp_path):
    for name in ("shot-05", "shot-20"):
        write(tmp_path / name)
    with pytest.raises(DatasetError, match=r"give one of those in it \(shot-05, shot-20\)"):
        open_dataset(tmp_path)


def test_damaged_images_are_said():
    with pytest.raises(RasterError, match="no readable PNG"):
        decode_image(b"\x89PNG not really")
    with pytest.raises(RasterError, match="no readable PNG"):
        decode_image(encode_image(PIXELS)[:200])


def test_a_few_bytes_cannot_ask_for_gigabytes():
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    with pytest.raises(RasterError):
        decode_image(bomb)


def test_jpeg_is_read_too():
    smooth = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    assert np.abs(decode_image(encode_image(smooth, "JPEG")).astype(int) - smooth).max() < 5
