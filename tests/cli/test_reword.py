"""`georefer reword`: what is printed, where answers are kept, and what is said of wrong input."""

import json

import pytest
from tests.building.test_reword import dataset, good
from tests.data.endpoint import server

from georefer.cli import _run
from georefer.scenes import open_dataset


def run(*arguments):
    return _run("reword", [str(argument) for argument in arguments])


def test_a_dataset_is_reworded_and_the_counts_are_printed(tmp_path, capsys):
    dataset(tmp_path / "given")
    with server(good) as (url, seen):
        assert run(tmp_path / "given", tmp_path / "made", "--url", url, "--model", "m") == 0
        said = capsys.readouterr().out
        assert "4  taken" in said and "2  refused: position is missing or changed" in said
        assert f"wrote {tmp_path / 'made'}" in said
        kept = (tmp_path / "made.rewordings.jsonl").read_text().splitlines()
        assert [json.loads(line)["phrase"] for line in kept] == ["the leftmost pool", "all pools"]
        # the same command again needs no server
        assert run(tmp_path / "given", tmp_path / "made", "--url", url, "--model", "m", "--overwrite") == 0
        assert len(seen) == 1
        both = ("--split", "train", "--split", "test", "--per-phrase", "1")
        assert run(tmp_path / "given", tmp_path / "more", "--url", url, "--model", "m", *both) == 0
    assert len(open_dataset(tmp_path / "more").questions("test")) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "file:///etc/passwd"), "expected the http or https address"),
        (("--url", "http://localhost:9/v1", "--batch", "0"), "must be above 0"),
        (("--url", "http://localhost:9/v1", "--split", "validation"), "has no split ['validation']"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, capsys, arguments, said):
    dataset(tmp_path / "given")
    assert run(tmp_path / "given", tmp_path / "made", "--model", "m", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_folder_that_is_no_dataset_is_refused(tmp_path, capsys):
    assert run(tmp_path, tmp_path / "made", "--url", "http://localhost:9/v1", "--model", "m") == 2
    assert "no finished dataset" in capsys.readouterr().err
