"""GroundSet's whole layout: scenes come back exactly from Parquet, questions from JSON, and gold answers score full."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from georefer.cli import main
from georefer.imagery.encode import decode_image
from georefer.scenes import open_dataset, readers

TASKS = ("caption", "classification", "detection", "phrase", "rec", "segment", "vqa")


def all_scenes(dataset):
    dataset = open_dataset(dataset.folder)
    return {scene.id: scene for split in ("train", "test") for scene in dataset.scenes(split)}


def same_numbers(one, other):
    """Shapes, point by point: boxes may begin at another corner."""
    if one.kind == "hbb":
        return one.geometry.bounds == other.geometry.bounds
    return one.geometry.normalize().equals_exact(other.geometry.normalize(), 1e-9)


# --- Parquet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "related", "bad"])
def test_scenes_come_back_from_parquet(name, exported, request):
    dataset = request.getfixturevalue(name)
    folder, manifest = exported(dataset, "groundset")
    count = 0
    for half in ("train", "test"):
        (path,) = folder.glob(f"finetuning/{half}-*.parquet")
        assert path.name == f"{half}-00000-of-00001.parquet"
        # without the pictures' folder: the json tells the size
        found = readers.SOURCES["groundset"].read(path)
        assert not found.account.dropped.counts and not found.account.changed.counts
        wanted = {id_: scene for id_, scene in all_scenes(dataset).items() if scene.split == half}
        assert {image.attributes["scene"] for image in found.images.values()} == set(wanted)
        for image in found.images.values():
            scene = wanted[image.attributes["scene"]]
            assert (image.width, image.height) == scene.size
            assert list(image.objects.ids_N) == list(scene.objects.ids_N)
            assert list(image.objects.labels_N) == list(scene.objects.labels_N)
            assert list(image.objects.kinds_N) == list(scene.objects.kinds_N)
            assert all(same_numbers(a, b) for a, b in zip(image.objects, scene.objects, strict=True))
            assert list(image.objects.attributes_N) == list(scene.objects.attributes_N)
            assert image.attributes["provenance"] == scene.provenance
            if scene.grid.crs is not None:
                assert image.attributes["crs"] == f"EPSG:{scene.grid.crs.to_epsg()}"
                assert image.attributes["transform"] == list(scene.grid.transform)[:6]
            said = [(r.subject, r.predicate, r.object) for r in scene.relations]
            assert list(map(tuple, image.attributes.get("relations", []))) == said
            count += len(scene.objects)
    assert count == manifest["counts"]["objects"] > 10


def test_parquet_loads_with_the_datasets_library(bad, exported, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, _ = exported(bad, "groundset")
    files = {half: str(folder / "finetuning" / f"{half}-*.parquet") for half in ("train", "test")}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    known = all_scenes(bad)
    assert {half: len(loaded[half]) for half in files} == {"train": 4, "test": 3}
    for row in (row for half in files for row in loaded[half]):
        told = json.loads(row["json"])
        scene = known[told["scene"]]
        assert set(row) == {"image", "file_name", "json"}
        assert np.array_equal(np.asarray(row["image"].convert("RGB")), scene.pixels())
        assert np.array_equal(decode_image((folder / "images" / row["file_name"]).read_bytes()), scene.pixels())
        assert [thing["class"] for thing in told["objects"]] == list(scene.objects.labels_N)
        assert np.allclose([thing["hbb"] for thing in told["objects"]], scene.objects.hbb_N4, atol=1e-9)


def test_files_and_groups_are_bounded_and_each_picture_lies_there_once(plain, exported, monkeypatch):
    monkeypatch.setattr("georefer.building.export.groundset.ROWS_A_FILE", 2)
    monkeypatch.setattr("georefer.building.export.tables.BYTES_A_GROUP", 1)
    folder, _ = exported(plain, "groundset")
    names = sorted(path.name for path in folder.glob("finetuning/train-*"))
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    files = [pq.ParquetFile(folder / "finetuning" / name) for name in names]
    assert [file.metadata.num_row_groups for file in files] == [2, 1]
    pictures = [row["image"]["bytes"] for file in files for row in file.read().to_pylist()]
    assert sorted(pictures) == sorted(scene.image for scene in all_scenes(plain).values() if scene.split == "train")


def test_scenes_that_nobody_asks_about_lie_in_parquet(plain, tmp_path, exported):
    from georefer.scenes import DatasetWriter

    with DatasetWriter(tmp_path / "quiet") as writer:
        writer.write("train", [scene for scene in all_scenes(plain).values() if scene.split == "train"], [])
        quiet = writer.finish("quiet")
    folder, manifest = exported(quiet, "groundset")
    assert manifest["counts"]["train: scenes"] == 3 and not (folder / "instructions").exists()
    assert pq.read_metadata(folder / "finetuning" / "train-00000-of-00001.parquet").num_rows == 3


# --- questions ------------------------------------------------------------------------------------------------


def test_instructions_have_the_published_keys(related, exported):
    folder, manifest = exported(related, "groundset")
    train = json.loads((folder / "instructions" / "train" / "GroundSet_TRAIN_it.json").read_text())
    assert all(set(row) == {"image", "human", "gpt"} for row in train)
    count = len(train)
    assert {path.name for path in folder.glob("instructions/test/*")} == {
        f"GroundSet_EVAL_{task}.jsonl" for task in TASKS
    }
    for path in folder.glob("instructions/test/*"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert all({"id", "image", "question", "answer"} <= set(row) for row in rows)
        assert all(set(row) <= {"id", "image", "question", "answer", "class"} for row in rows)
        assert all(isinstance(row["id"], int) and (folder / "images" / row["image"]).is_file() for row in rows)
        count += len(rows)
    assert count == manifest["counts"]["records"]


def test_several_classes_are_asked_in_quotes_and_come_back_with_their_names(related, exported):
    folder, _ = exported(related, "groundset")
    path = folder / "instructions" / "test" / "GroundSet_EVAL_phrase.jsonl"
    published = readers.SOURCES["groundset"].read(path, folder / "images")
    scenes = {scene.id: scene for scene in all_scenes(related).values()}
    assert len(published) and not published.account.changed.counts
    most = 0
    for one in published:
        scene = scenes[one.image.removeprefix("test/").removesuffix(".png")]
        found = published.images[one.image].objects.with_ids(one.object_ids)
        wanted = [(o.label, o.geometry.bounds) for o in scene.objects if o.label in one.params["classes"]]
        said = [(o.label, o.geometry.bounds) for o in found]
        assert len(said) == len(wanted)
        most = max(most, len({label for label, _ in said}))
        for label, bounds in wanted:
            assert min(np.abs(np.subtract(b, bounds)).max() for name, b in said if name == label) <= 0.05
    assert most > 1


def test_gold_answers_get_full_marks_from_the_scorers(related, exported, tmp_path):
    folder, _ = exported(related, "groundset")
    answers = tmp_path / "answers" / "gemma"  # the model whose numbers are parts of the side
    answers.mkdir(parents=True)
    for task in TASKS:
        rows = (folder / "instructions" / "test" / f"GroundSet_EVAL_{task}.jsonl").read_text().splitlines()
        with (answers / f"{task}_0.csv").open("w", newline="") as file:
            table = csv.writer(file, delimiter="\t")
            table.writerow(["ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE"])
            for row in map(json.loads, rows):
                table.writerow([row["id"], row["answer"], row["answer"], row.get("class", ""), False])
    out = tmp_path / "scores.json"
    assert main(["score", str(answers), "--protocol", "groundset", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    for task in ("detection", "phrase", "rec", "segment", "vqa", "classification"):
        numbers = found[f"gemma/{task}"]["default"]["ALL"]
        assert numbers and all(value == pytest.approx(100) for value in numbers.values()), task
    assert found["gemma/caption"]["bleu4_preserve_line_tokens_x100"] == pytest.approx(100)
    assert found["gemma/caption"]["cider_reported_x100"] == pytest.approx(1000)
