"""`georefer export`: what is printed, what is written, and what is said of wrong input."""

import json

import pytest
from tests.data.small import small_dataset

from georefer.cli import _run


@pytest.fixture
def dataset(tmp_path):
    return small_dataset(tmp_path / "dataset")


def export(*arguments):
    return _run("export", [str(argument) for argument in arguments])


def test_a_dataset_goes_out_and_the_counts_are_printed(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    assert export(dataset.folder, out, "--format", "llava", "--dialect", "qwen2.5-vl", "--images", "jpeg") == 0
    said = capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    assert f"{manifest['counts']['test: questions']:,}  test: questions" in said
    assert f"wrote {out} (llava, dialect: qwen2.5-vl)" in said
    rows = json.loads((out / "test.json").read_text())
    assert len(rows) == manifest["counts"]["test: questions"] and rows[0]["image"].endswith(".jpg")


def test_what_is_left_out_is_printed(dataset, tmp_path, capsys):
    assert export(dataset.folder, tmp_path / "out", "--format", "llava", "--dialect", "fit-rs") == 0
    assert "left out: the dialect fit-rs cannot say a question of rec (as in scene-0/rec/0" in capsys.readouterr().out


def test_the_formats_are_listed(capsys):
    assert export("--list") == 0
    said = capsys.readouterr().out
    assert all(f"{name:<14}" in said for name in ("hf", "webdataset", "ms-swift", "groundset"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out", "--format", "docx"], "there is no format 'docx'"),
        (["out"], "format was left out"),
        (["out", "--format", "coco", "--dialect", "georefer"], "coco holds no text"),
        (["out", "--format", "llava", "--split", "train"], "has no split 'train'; it has test"),
    ],
)
def test_wrong_input_is_one_sentence(dataset, tmp_path, capsys, arguments, said):
    out, *rest = arguments
    assert export(dataset.folder, tmp_path / out, *rest) == 2
    assert said in capsys.readouterr().err


def test_an_export_is_replaced_only_when_told_to(dataset, tmp_path, capsys):
    arguments = (dataset.folder, tmp_path / "out", "--format", "coco")
    assert export(*arguments) == 0
    assert export(*arguments) == 2
    assert "say --overwrite" in capsys.readouterr().err
    assert export(*arguments, "--overwrite") == 0
