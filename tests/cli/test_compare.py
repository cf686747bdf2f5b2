"""`georefer compare`: what it prints, writes and refuses. The verb is run through its module."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pytest
from tests.data.small import small_dataset

from georefer.cli import compare
from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, ask, score_answers, truth_from
from georefer.models.fake import FakeModel


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    dataset = small_dataset(folder / "dataset", scenes=3)
    model = FakeModel(truth_from(dataset, "test"))
    for name, miss in (("a", 0.5), ("b", 0.0)):
        score_answers(ask(replace(model, miss=miss), dataset, EvaluateSettings(), folder / name), dataset)
    return folder


def options(*arguments):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_it_prints_the_table_and_writes_json(runs, tmp_path, capsys):
    out = tmp_path / "difference.json"
    assert compare.run(options(runs / "a", runs / "b", "--json", out)) == 0
    said = capsys.readouterr().out
    assert "acc@0.5" in said and "p (Holm)" in said and f"wrote {out}" in said
    assert set(json.loads(out.read_text())["tasks"]) == {"rec", "detection", "presence"}


def test_a_dataset_scores_both_anew(runs, capsys):
    (runs / "b" / "rows.jsonl").unlink()
    assert compare.run(options(runs / "a", runs / "b", "--dataset", runs / "dataset")) == 0
    assert (runs / "b" / "rows.jsonl").exists()


def test_a_folder_that_is_no_run_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match=r"run\.json"):
        compare.run(options(runs / "a", tmp_path))
