"""Metrics reach every place asked for, once."""

import os
import sqlite3
import subprocess
import sys

import pytest

from georefer.errors import MissingExtra
from georefer.runlog import JsonLines
from georefer.training.tracking import Taken, open_metrics


def test_a_row_is_the_mean_since_the_last(tmp_path):
    metrics = open_metrics(tmp_path, 0, (), {})
    metrics.add(Taken({"a": 1.0, "b": 5.0}, 6.0, {"a": 10, "b": 1}, 2.0))
    metrics.add(Taken({"a": 3.0}, 3.0, {"a": 30}, 4.0))
    metrics.write(2, 0.5, learning_rate=0.1)
    metrics.add(Taken({"a": 7.0}, 7.0, {"a": 1}, 0.0))
    metrics.write(3, 0.6)
    first, second = JsonLines(tmp_path / "metrics.jsonl").read()
    expected = {"step": 2, "minutes": 0.5, "a": 2.0, "b": 5.0, "loss": 4.5, "gradient_norm": 3.0, "learning_rate": 0.1}
    assert expected.items() <= first.items()  # b over the one step that had it
    assert second["a"] == 7.0 and "b" not in second
    speed = first["a_terms_per_second"] * first["seconds_per_step"]
    assert speed == pytest.approx(20, rel=1e-3) and first["b_terms_per_second"] < first["a_terms_per_second"]


def test_going_on_writes_later_rows_anew(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.append({"step": n} for n in (20, 40, 60))
    with lines.path.open("a") as file:
        file.write('{"step": 80, "lo')
    open_metrics(tmp_path, 40, (), {})
    assert lines.read() == [{"step": 20}, {"step": 40}]


def test_tensorboard_has_every_value_without_tensorflow(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start in (0, 2):  # the second time it goes on from step 2
        metrics = open_metrics(tmp_path, start, ("tensorboard",), {})
        for step in range(start + 1, 5):
            metrics.record(step, 0.0, {"loss": step + start, "validation/rec": 0.5})
        metrics.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 5.0), (4, 6.0)]
    assert "validation/rec" in read.Tags()["scalars"] and "tensorflow" not in sys.modules


def test_trackio_goes_on_with_the_same_run(tmp_path):
    code = (
        "import sys; from pathlib import Path; from georefer.training.tracking import open_metrics\n"
        "m = open_metrics(Path(sys.argv[1]), int(sys.argv[2]), ('trackio',), {'steps': 4})\n"
        "m.record(int(sys.argv[2]) + 1, 0.0, {'loss': 1.5}); m.close()\n"
    )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    for start in ("0", "1"):
        command = [sys.executable, "-c", code, str(tmp_path / "run"), start]
        (tmp_path / "run").mkdir(exist_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0 and done.stdout == "", done.stderr
    (database,) = (tmp_path / "trackio").rglob("georefer*.db")
    rows = sqlite3.connect(database).execute("select run_name, step from metrics order by step").fetchall()
    assert rows == [("run", 1), ("run", 2)]


@pytest.mark.parametrize("kind, package", [("tensorboard", "tensorboard"), ("trackio", "trackio")])
def test_an_absent_tracker_is_said(tmp_path, monkeypatch, kind, package):
    for name in [n for n in sys.modules if n.split(".")[0] == package or n.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match="extra 'track'"):
        open_metrics(tmp_path, 0, (kind,), {})
