"""What every export promises: all is counted, nothing leaves its folder, the same bytes again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from tests.building.export.conftest import IDS, turned_jpeg
from tests.data.dialects import BOXED

from georefer.building.export import FORMATS, ExportSettings, export
from georefer.building.export.frames import frame_rule
from georefer.building.export.pictures import Names
from georefer.dialects import DIALECTS
from georefer.errors import DatasetError, InputError
from georefer.geometry import Frame, GeoGrid, Objects, shape_iou
from georefer.imagery.encode import decode_image
from georefer.scenes import DatasetWriter, Question, Scene
from georefer.tasks import TASKS


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("form", FORMATS)
def test_the_worst_dataset_is_written_and_everything_is_counted(bad, exported, form):
    folder, manifest = exported(bad, form)
    asked = sum(len(bad.questions(split)) for split in ("train", "test"))
    written = sum(manifest["tasks"].values())
    left = sum(entry["count"] for entry in manifest["left_out"].values())
    assert sum(manifest["counts"].get(f"{split}: questions", 0) for split in ("train", "test")) == written
    assert written + left == asked
    if FORMATS[form].dialect is not None:
        assert written and manifest["left_out"]["there is no task 'no such task'"]["count"] == 7
        if form != "fit-rs":  # which says no boxes, whatever is asked
            assert manifest["left_out"]["question that lacks what its task needs"]["count"] == 7
    assert manifest["dataset"] == bad.fingerprint
    assert manifest["sources"] == [{"source": "Ville | de *Banepa*\n", "licence": "ODbL <1.0>", "scenes": 7}]
    assert manifest["attribution"] == "© people & *friends*"
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    card = (folder / "README.md").read_text()
    assert "Ville \\| de \\*Banepa\\*: licence ODbL \\<1.0\\>" in card


@pytest.mark.parametrize("form", FORMATS)
def test_the_manifest_lists_every_file_and_names_are_safe(bad, exported, form):
    folder, manifest = exported(bad, form)
    files = tree(folder)
    masks = {name for name in files if name.endswith(".png") and {"masks", "labels"} & set(name.split("/"))}
    pictures = {name for name in files if name.endswith((".png", ".jpg"))} - masks
    assert set(files) - pictures - masks - {"manifest.json"} == set(manifest["files"])
    assert manifest.get("masks", {"count": 0})["count"] == len(masks)
    assert all(manifest["files"][name]["sha256"] == files[name] for name in manifest["files"])
    assert (manifest["images"] or {"count": 0})["count"] == len(pictures)
    beside = {name for name in pictures if name.startswith("images/")}
    assert len(beside) == (7 if FORMATS[form].writes_pictures(ExportSettings(form)) else 0)
    for name in files:
        stem = PurePosixPath(name).name.partition(".")[0]
        assert name.isascii() and name.isprintable() and " " not in name and len(stem) <= 100
    assert sorted(path.name for path in folder.parent.iterdir()) == [form]


@pytest.mark.parametrize("form", FORMATS)
def test_questions_that_lack_what_they_need_are_left_out(odd, exported, form):
    _, manifest = exported(odd, form)
    if FORMATS[form].dialect is not None:
        assert sum(manifest["tasks"].values()) > 0
        assert manifest["left_out"]["question that lacks what its task needs"]["count"] > 20


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_bytes_again_also_after_a_kill(bad, tmp_path, form):
    settings = ExportSettings(form)
    export(bad, tmp_path / "one", settings)
    # what a run leaves that was killed in the middle
    (tmp_path / "two.partial" / "images").mkdir(parents=True)
    (tmp_path / "two.partial" / ".georefer-export").touch()
    (tmp_path / "two.partial" / "images" / "half.png").write_bytes(b"\x89PNG")
    (tmp_path / "two.partial" / "train.json").write_text('[{"id": "cut')
    export(bad.folder, tmp_path / "two", settings)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    with pytest.raises(DatasetError, match="exists already; say --overwrite"):
        export(bad, tmp_path / "two", settings)
    export(bad, tmp_path / "two", settings, overwrite=True)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("place", ["out", "out.partial", "out.old"])
def test_a_folder_that_no_export_made_is_never_touched(plain, tmp_path, place):
    (tmp_path / place).mkdir()
    (tmp_path / place / "thesis.txt").write_text("years of work")
    (tmp_path / place / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(DatasetError, match="was not made by an export"):
        export(plain, tmp_path / "out", ExportSettings("llava"), overwrite=True)
    assert (tmp_path / place / "thesis.txt").read_text() == "years of work"


def test_the_dataset_itself_is_never_replaced(plain, tmp_path):
    for out in (plain.folder, plain.folder.parent):
        with pytest.raises(DatasetError, match="holds the dataset itself"):
            export(plain, out, ExportSettings("llava"), overwrite=True)


def test_a_failing_export_leaves_what_was_there(plain, tmp_path):
    export(plain, tmp_path / "out", ExportSettings("llava"))
    before = tree(tmp_path / "out")
    with pytest.raises(DatasetError, match="is left to write as llava"):
        # an aspect that Qwen refuses
        export(_tall(tmp_path), tmp_path / "out", ExportSettings("llava", "qwen2.5-vl"), overwrite=True)
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / "out.partial").exists()


def _tall(tmp_path):
    scene = Scene("tall", _png(1, 250), Objects.none(), GeoGrid.none(1, 250), "train")
    with DatasetWriter(tmp_path / "tall") as writer:
        question = Question("q", "tall", "detection", {"label": "ship"})
        writer.write("train", [scene], [question, Question("r", "elsewhere", "detection", {"label": "ship"})])
        return writer.finish("tall")


def _png(width, height):
    from georefer.imagery.encode import encode_image

    return encode_image(np.zeros((height, width, 3), np.uint8))


def test_an_image_that_the_frame_does_not_fit_is_left_out_and_counted(tmp_path):
    with pytest.raises(DatasetError) as error:
        export(_tall(tmp_path), tmp_path / "out", ExportSettings("llava", "qwen2.5-vl"))
    assert "'image whose size the frame does not fit': 1" in str(error.value)
    assert "'question about a scene that is not in the split': 1" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"form": "llava", "dialect": "klingon"}, "there is no dialect 'klingon'"),
        ({"form": "coco", "dialect": "georefer"}, "coco holds no text"),
        ({"form": "groundset", "dialect": "georefer"}, "groundset holds only the dialect groundset"),
        ({"form": "fit-rs", "frame": "scene"}, "fit-rs lays down its own numbers"),
        ({"form": "llava", "splits": ("val",)}, "has no split 'val'; it has train, test"),
        ({"form": "llava", "frame": "resize=0x9"}, "where a frame is expected"),
        ({"form": "llava", "frame": "qwen=28:9:8"}, "MIN <= MAX"),
        ({"form": "llava", "images": "gif"}, "png or jpeg is expected"),
        ({"form": "llava", "link": "https://x/"}, "whose files do not name pictures by it"),
        ({"form": "docx"}, "there is no format 'docx'; choose among hf"),
    ],
)
def test_wrong_settings_are_refused(plain, tmp_path, settings, said):
    form = settings.pop("form")
    with pytest.raises(InputError, match=said):
        export(plain, tmp_path / "out", ExportSettings(form, **settings))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("dialect", Frame.qwen((800, 600))),
        ("scene", Frame.resize((800, 600), (800, 600))),
        ("resize=336x224", Frame.resize((800, 600), (336, 224))),
        ("letterbox=448x448", Frame.letterbox((800, 600), (448, 448))),
        ("padded=336", Frame.square_padded((800, 600), 336)),
        ("qwen=32", Frame.qwen((800, 600), factor=32)),
        ("qwen=28:3136:200704", Frame.qwen((800, 600), max_pixels=200_704)),
    ],
)
def test_frames_by_name(text, frame):
    assert frame_rule(text, DIALECTS["qwen2.5-vl"])((800, 600)) == frame


def test_the_frame_is_used_and_written_down(plain, exported):
    folder, manifest = exported(plain, "llava", dialect="qwen2.5-vl", frame="resize=224x224")
    assert manifest["frame"] == {"asked": "resize=224x224", "made": {"resize to 224x224": 5}}
    frames = [json.loads(line) for line in (folder / "scenes.jsonl").read_text().splitlines()]
    assert {Frame(**row["frame"]).size for row in frames} == {(224, 224)}
    rows = json.loads((folder / "test.json").read_text())
    task = next(row for row in rows if "/rec/" in row["id"])
    frame = Frame(**next(row for row in frames if row["image"] == task["image"])["frame"])
    scene = next(s for s in plain.scenes("test") if task["id"].startswith(s.id + "/"))
    found = DIALECTS["qwen2.5-vl"].read(task["conversations"][1]["value"], frame).areas
    assert shape_iou(found.geometries_N, scene.objects.geometries_N, as_boxes=True).max() > 0.9


@pytest.mark.parametrize("dialect", BOXED)
def test_gold_answers_read_back_as_the_objects(plain, exported, dialect):
    """As well as the dialect's steps allow: boxes of 16 pixels and more in images of 96 and more."""
    folder, manifest = exported(plain, "llava", dialect=dialect)
    said = {row["id"]: row["conversations"][1]["value"] for s in ("train", "test") for row in _json(folder, s)}
    frames = {row["scene"]: Frame(**row["frame"]) for row in map(json.loads, _lines(folder / "scenes.jsonl"))}
    checked = 0
    for split in ("train", "test"):
        scenes = {scene.id: scene for scene in plain.scenes(split)}
        for question in plain.questions(split):
            task = TASKS[question.task]
            if question.id not in said or task.form is None or task.form.kinds[0] not in ("hbb", "obb"):
                continue
            scene = scenes[question.scene_id]
            reading = DIALECTS[dialect].read(said[question.id], frames[scene.id])
            gold = scene.objects.with_ids(question.answer_ids)
            assert len(reading.areas) == len(gold) and reading.says_none == (not len(gold))
            iou_PT = shape_iou(reading.areas.geometries_N, gold.geometries_N, as_boxes=task.form.as_boxes)
            assert (iou_PT.max(axis=0, initial=0) > 0.75).all()
            checked += 1
    assert checked > 20
    assert "answer of so many shapes that reads back as more or fewer" not in manifest["changed"]


def _json(folder, split):
    return json.loads((folder / f"{split}.json").read_text())


def _lines(path):
    return path.read_text().split("\n")[:-1]


def test_a_dialect_that_says_no_boxes_asks_for_none_not_even_where_there_are_none(plain, exported):
    """Else the questions that are left would all be answered by "nothing"."""
    _, manifest = exported(plain, "llava", dialect="fit-rs")
    assert not {"detection", "rec"} & set(manifest["tasks"]) and manifest["tasks"]["detection-obb"]
    wanted = sum(q.task == "detection" for split in ("train", "test") for q in plain.questions(split))
    assert manifest["left_out"]["the dialect fit-rs cannot say a question of detection"]["count"] == wanted


def test_only_the_asked_split(plain, exported):
    folder, manifest = exported(plain, "llava", splits=("test",))
    assert manifest["splits"] == ["test"] and not (folder / "train.json").exists()
    assert {path.parent.name for path in folder.glob("images/*/*")} == {"test"}


def test_names_depend_on_ids_alone_and_never_meet():
    names = Names()
    stems = [names.take("train", id_) for id_ in (*IDS, "", ".", "a_b_c_d", "-x")]
    assert len({stem.casefold() for stem in stems}) == len(stems)
    assert stems[3] == "Plain"  # a plain id is kept
    assert all(stem.isascii() and "." not in stem and "/" not in stem and not stem.startswith("-") for stem in stems)
    again = Names()
    assert [again.take("train", id_) for id_ in (*IDS, "", ".", "a_b_c_d", "-x")] == stems
    with pytest.raises(InputError, match="two scenes of the split train have the id"):
        names.take("train", "Plain")
    assert names.take("test", "Plain") != "Plain"


@pytest.mark.parametrize(
    ("images", "forms"),
    [
        (None, {"png": 4, "jpg": 3}),  # as stored
        ("png", {"png": 7}),
        ("jpeg", {"jpg": 7}),
    ],
)
def test_pictures_are_what_the_dataset_holds(bad, exported, images, forms):
    folder, _ = exported(bad, "coco", images=images)
    stored = {scene.id: scene for split in ("train", "test") for scene in bad.scenes(split)}
    found = {ending: len(list(folder.glob(f"images/*/*.{ending}"))) for ending in forms}
    assert found == forms
    for row in map(json.loads, _lines(folder / "scenes.jsonl")):
        data, scene = (folder / row["image"]).read_bytes(), stored[row["scene"]]
        if images is None:
            assert data == scene.image
        elif images == "png":
            assert np.array_equal(decode_image(data), scene.pixels())
        with Image.open(folder / row["image"]) as picture:
            assert picture.format == {"png": "PNG", "jpg": "JPEG"}[row["image"][-3:]]
        assert row["crs"] == "EPSG:2154" and row["transform"][:3] == [0.5, 0, 700_000]
        assert row["provenance"]["licence"] == "ODbL <1.0>"


def test_a_picture_that_asks_to_be_turned_is_written_as_its_pixels_lie(tmp_path, exported):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 250
    scene = Scene(
        "turned", turned_jpeg(pixels), Objects.from_hbb([[0, 0, 30, 40]], ["x"]), GeoGrid.none(60, 40), "train"
    )
    with DatasetWriter(tmp_path / "dataset") as writer:
        writer.write("train", [scene], [])
        dataset = writer.finish("turned")
    folder, _ = exported(dataset, "coco")
    with Image.open(next(folder.glob("images/train/*.jpg"))) as picture:
        assert picture.size == (60, 40) and picture.getexif().get(274, 1) == 1
