"""`georefer dialects`: the list, one tried out, and what is said of input that cannot be used."""

import subprocess
import sys

import pytest

from georefer.cli import main
from georefer.dialects import DIALECTS


def test_the_list_shows_every_dialect_with_an_example(capsys):
    assert main(["dialects", "--sizes", "20"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name}" in out for name in DIALECTS)
    assert "<loc0153><loc0153><loc0307><loc0358> ship" in out and "20 px" in out


def test_show_writes_and_reads_back(capsys):
    shapes = ["--box", "120,90,280,180", "--obb", "300,300,100,50,30", "--polygon", "1,1,50,50,4,90"]
    assert main(["dialects", "show", "georefer", "--image", "800x600", *shapes]) == 0
    out = capsys.readouterr().out
    assert "ship [150, 150, 350, 300] [375, 500, 125, 62 @ 30] [1, 2, 62, 83, 5, 150]" in out
    assert "centre 300.00, 300.00, 100.00 x 49.60, heading 30.00°" in out
    assert "IoU      1.0000, 0.9920, 0.98" in out and "problem" not in out


def test_show_reads_a_given_answer_and_names_its_problems(capsys):
    assert (
        main(["dialects", "show", "qwen2.5-vl", "--image", "800x600", "--text", '[{"bbox_2d": [406, 0, 203, 294]']) == 0
    )
    out = capsys.readouterr().out
    assert "shown at 812 x 588 (smart resize 28)" in out
    assert "read     hbb '' [200.00, 0.00, 400.00, 300.00]" in out
    assert "problem  swapped" in out and "problem  truncated" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "klingon", "--image", "8x6"], "there is no dialect 'klingon'; known: georefer,"),
        (["show", "georefer", "--image", "800"], "'800' is not an image size; write it as 800x600"),
        (["show", "georefer", "--image", "0x5"], "'0x5' is not an image size"),
        (["show", "georefer", "--image", "8x6", "--box", "1,2,3"], "'1,2,3' has 3 numbers, 4 expected"),
        (["show", "georefer", "--image", "8x6", "--box", "1,2,3,nan"], "not a list of numbers"),
        (["show", "georefer", "--image", "8x6", "--polygon", "1,2,3,4"], "an even count of numbers from 6"),
        (["show", "georefer", "--image", "8x6", "--box", "1,2,3,4", "--label", "a;b"], "the label 'a;b' holds"),
        (["show", "molmo", "--image", "8x6", "--box", "1,2,3,4"], "molmo says point, not hbb"),
        (["show", "qwen3-vl", "--image", "900x2", "--box", "1,1,2,2"], "aspect limit of 200"),
        (["--sizes", "0"], "object sizes of 1 to 500 px"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    assert main(["dialects", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error():
    code = "import sys; from georefer.cli import main; sys.exit(main(['dialects', '--markdown']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 141)
