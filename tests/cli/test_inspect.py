"""`georefer inspect`: what is printed and written, and what is said of wrong input."""

import re
import subprocess
import sys
import urllib.request

import pytest
from tests.data.small import small_dataset

from georefer.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("inspect") / "data", 3).folder


def test_a_page_beside_the_dataset(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["inspect", ".", "--split", "test", "--scenes", "2"]) == 0
    said = capsys.readouterr().out
    page = folder.with_name("data-inspect.html")
    assert f"wrote {page}" in said and re.search(r"^0 of \d+ answers differ from the truth, in 2 scenes$", said, re.M)
    assert "token ids are not shown" not in page.read_text().lower() and "what the model sees, 128" in page.read_text()


def test_a_dialect_and_a_task(folder, tmp_path, capsys):
    out = tmp_path / "page.html"
    options = ["--split", "test", "--dialect", "molmo", "--task", "rec", "--task", "presence", "--out", str(out)]
    assert main(["inspect", str(folder), *options]) == 0
    assert "questions cannot be put in the dialect molmo" in capsys.readouterr().out
    assert set(re.findall(r'data-task="(.*?)"', out.read_text())) == {"rec", "presence"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--split", "train"], "no split 'train'"),
        (["--split", "test", "--task", "boxes"], "no task 'boxes'"),
        (["--split", "test", "--dialect", "klingon"], "no dialect 'klingon'"),
        (["--split", "test", "--model", "no/model"], "does not give its files"),
        (["--split", "test", "--model", "tiny-synthetic", "--dialect", "georefer"], "both given"),
    ],
)
def test_wrong_input_is_one_line(folder, options, says, capsys):
    assert main(["inspect", str(folder), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error


def test_serving_until_interrupted(folder):
    command = [sys.executable, "-m", "georefer", "inspect", str(folder), "--split", "test", "--dialect", "georefer",
               "--serve"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(line for line in process.stdout if line.startswith("http")).split()[0]
            with urllib.request.urlopen(address, timeout=20) as answer:
                assert b"What is learned" in answer.read()
        finally:
            process.send_signal(2)
        said, error = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in error and "wrote" not in said
