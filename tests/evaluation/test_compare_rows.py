"""Two answer files as a published scorer took them, row against row."""

import json
import math

import pytest

from georefer.cli import main
from georefer.errors import InputError
from georefer.evaluation.compare_rows import compare_rows, published_and_strict, rows_table
from georefer.evaluation.protocols import Row


def write(path, values, part="x/rec", **more):
    rows = [
        {"part": part, "id": i, "published": v, "strict": None, "reasons": [], **more} for i, v in enumerate(values)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_better_file_is_seen_to_be_better(tmp_path):
    a = write(tmp_path / "a.jsonl", [0.0] * 20 + [1.0] * 20)
    b = write(tmp_path / "b.jsonl", [0.0] * 8 + [1.0] * 32)
    found = compare_rows(a, b).parts["x/rec"]
    assert (found.first, found.second, found.wins, found.losses, found.ties) == (0.5, 0.8, 12, 0, 28)
    assert found.difference.low > 0.1 and found.p == pytest.approx(2**-11, rel=1e-6)
    same = compare_rows(a, a).parts["x/rec"]
    assert same.difference.value == 0 and same.ties == 40


def test_models_of_one_task_are_matched_whatever_they_are_called(tmp_path):
    a, b = write(tmp_path / "a.jsonl", [0, 1], "llava/rec"), write(tmp_path / "b.jsonl", [1, 1], "finetune/rec")
    assert list(compare_rows(a, b).parts) == ["rec"]


def test_rows_of_one_image_go_together(tmp_path):
    alone = [write(tmp_path / f"{n}.jsonl", [0.0] * (20 - n) + [1.0] * (20 + n)) for n in (0, 8)]
    together = [write(tmp_path / f"i{n}.jsonl", [0.0] * (20 - n) + [1.0] * (20 + n), image="one.png") for n in (0, 8)]
    assert compare_rows(*alone).parts["x/rec"].images == 8
    assert compare_rows(*together).parts["x/rec"].images == 1


def test_published_and_strict_values_of_one_file_are_paired():
    rows = [Row("x", i, float(i < 30), float(i < 20), image=i // 2) for i in range(40)]
    (pair,) = published_and_strict(rows).values()
    assert (pair.first, pair.second, pair.losses, pair.images) == (0.75, 0.5, 10, 5)
    assert pair.difference.low < -0.25 < pair.difference.high < 0


def test_a_row_that_is_passed_over_does_not_count(tmp_path):
    a, b = write(tmp_path / "a.jsonl", [1, None, 0]), write(tmp_path / "b.jsonl", [1, 1, None])
    found = compare_rows(a, b).parts["x/rec"]
    assert (found.first, found.second) == (0.5, 1.0)
    none = compare_rows(write(tmp_path / "c.jsonl", [None]), write(tmp_path / "d.jsonl", [None])).parts["x/rec"]
    assert math.isnan(none.first) and "–" in rows_table(compare_rows(tmp_path / "c.jsonl", tmp_path / "d.jsonl"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no rows"),
        ("{}\n", "is no file of rows"),
        ("[1]\n", "is no file of rows"),
        ("x\n", "is no file of rows"),
        ('{"part": "p", "id": 1, "published": 1}\n' * 2, "twice"),
        ('{"part": "p", "id": 1, "published": "much"}\n', "is no file of rows"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    good, bad = write(tmp_path / "good.jsonl", [1]), tmp_path / "bad.jsonl"
    bad.write_text(content)
    with pytest.raises(InputError, match=message):
        compare_rows(good, bad)


def test_the_command_line(tmp_path, capsys):
    a, b = write(tmp_path / "a.jsonl", [0, 1, 1]), write(tmp_path / "b.jsonl", [1, 1])
    assert main(["compare", str(a), str(b)]) == 2
    assert "1 rows are in" in capsys.readouterr().err
    assert main(["compare", str(a), str(b), "--common", "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "x/rec" in said and "Left out: 1 rows" in said
    assert json.loads((tmp_path / "out.json").read_text())["parts"]["x/rec"]["first"] == 0.5
    assert main(["compare", str(a), str(b), "--common", "--by", "strict"]) == 2
    assert "holds no strict values" in capsys.readouterr().err
