"""`georefer evaluate` with what only its options say: calibration, grammar, models behind an address."""

import json

import pytest
from tests.data.small import small_dataset

from georefer.cli import main
from georefer.cli.options import asked_model
from georefer.models import FakeModel
from georefer.serving import running

SHIPPED = "tiny-synthetic"
ASKED = ["--set", "blind=false", "--set", 'tasks=["rec", "presence"]', "--set", "max_new_tokens=40", "--set", "limit=2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return str(small_dataset(tmp_path_factory.mktemp("small") / "dataset").folder)


def test_a_shipped_model_tells_its_confidence_and_is_calibrated(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    code = main(["evaluate", SHIPPED, dataset, str(out), "--calibrate", *ASKED])
    said = capsys.readouterr()
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    right = [hit for row in rows for hit in row["right"]]
    assert len(right) == sum(len(row["confidences"]) for row in rows) > 0
    assert 0 < sum(right) < len(right), said.out  # it finds some of the made-up rectangles, or nothing can be learned
    assert code == 0 and f"on the {len(right)} objects" in said.out and "(not calibrated)" in said.out
    assert main(["evaluate", SHIPPED, dataset, str(out), "--calibration", str(out / "calibration.json"), *ASKED]) == 0
    assert "(calibrated)" in capsys.readouterr().out


def test_a_model_without_confidences_cannot_be_calibrated_or_held(dataset, tmp_path, capsys):
    assert main(["evaluate", "fake", dataset, str(tmp_path / "a"), "--calibrate", *ASKED]) == 2
    assert "hold no confidences" in capsys.readouterr().err
    assert main(["evaluate", "fake", dataset, str(tmp_path / "b"), "--grammar", *ASKED]) == 2
    assert "cannot be held to a grammar" in capsys.readouterr().err
    assert main(["evaluate", "fake", dataset, str(tmp_path / "c"), "--calibration", "nowhere.json", *ASKED]) == 2
    assert "is no calibration" in capsys.readouterr().err


def test_what_a_server_says_is_kept_at_once(tmp_path):
    address = "http://127.0.0.1:9/v1#m,dialect=georefer,max_requests=3"
    assert asked_model(address, tmp_path / "out").settings.cache == tmp_path / "out" / "requests.jsonl"
    own = asked_model(f"{address},cache={tmp_path / 'mine.jsonl'}", tmp_path / "out")
    assert own.settings.cache == tmp_path / "mine.jsonl"


def test_a_spent_budget_ends_a_run_that_goes_on_with_a_new_one(dataset, tmp_path, capsys):
    asked = []
    with running(FakeModel(lambda ask: asked.append(ask.prompt) or "[1, 2, 30, 40]"), alias="served") as url:
        command = ["evaluate", "{}", dataset, str(tmp_path), *ASKED]
        assert main([part.format(f"{url}#served,max_requests=6") for part in command]) == 2
        assert "run the same again to go on" in capsys.readouterr().err
        kept = (tmp_path / "requests.jsonl").read_text().splitlines()
        assert len(kept) == len(asked) > 0 and not (tmp_path / "answers.jsonl").exists()  # within its first batch
        assert main([part.format(f"{url}#served,max_requests=100") for part in command]) == 0
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(asked) == len(rows) > 5 and not any("scores" in row for row in rows)  # nothing was asked twice


def test_only_models_behind_an_address_have_a_cache():
    assert asked_model(SHIPPED, None).name.startswith("tiny-")
