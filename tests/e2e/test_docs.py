"""The Python of docs/python.md runs as it stands, in one folder, in order."""

import re
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
