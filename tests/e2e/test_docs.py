"""What the documents show runs as it stands: docs/python.md in one folder, in order, and the how-to pages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)


def test_every_example_runs(tmp_path, monkeypatch, capsys):
    assert len(BLOCKS) == 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for block in BLOCKS:
        # the same code, quicker: fewer steps and smaller blocks of ground
        code = block.replace("loop.steps=100", "loop.steps=2").replace("size=2048", "size=1536")
        exec(compile(code, "docs/python.md", "exec"), {})
    said = capsys.readouterr().out
    assert "merged from" in said and "acc@0.5" in said
    assert (tmp_path / "my" / "map" / "found.gpkg").is_file()


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_stay_short(block):
    assert len([line for line in block.splitlines() if line.strip()]) <= 8


HOW_TO = ROOT / "docs" / "how-to"
STEPS = re.compile(r"```sh\n(.*?)```\n+```text\n(.*?)```", re.S)


@pytest.mark.parametrize(("page", "steps"), [("compare-with-a-paper", 6), ("look-at-a-dataset", 2)])
def test_a_how_to_page_prints_what_it_shows(page, steps, tmp_path):
    """Every command as it stands, in one folder; every line that the page shows is printed."""
    text = (HOW_TO / f"{page}.md").read_text()
    found = STEPS.findall(text)
    assert len(found) == steps == text.count("```sh")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for commands, shown in found:
        environment = {**os.environ, "PATH": paths}
        run = subprocess.run(
            ["bash", "-e"], input=commands, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        said = run.stdout.splitlines()
        for line in shown.splitlines():
            assert line in said, (line, said)
