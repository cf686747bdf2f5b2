"""What the documents show runs as it stands: docs/python.md in one folder, in order, and the how-to pages."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from georefer.cli import main
from georefer.config import load_settings
from georefer.training.grpo_settings import GrpoSettings

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


REINFORCE = (HOW_TO / "reinforce-on-your-own-labels.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<'END'\n(.*?)^END\n", re.S | re.M)
DECIMAL = re.compile(r"\d+\.\d+")
REFUSAL = re.compile(r"^\| `(--.*?)` \| `(.*?)` \|", re.M)


def test_reinforcing_goes_as_its_page_says(tmp_path, monkeypatch, capsys):
    """Every command of the page in one folder, trainings shortened to a step; what is shown is printed."""
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    counts = {"sh": 0, "text": 0, "toml": 0, "python": 0, "": 0}
    for kind, block in BLOCK.findall(REINFORCE):
        counts[kind] += 1
        if kind == "sh":
            for name, text in HERE_DOCUMENT.findall(block):
                (tmp_path / name).write_text(text)
            said = _said(HERE_DOCUMENT.sub("", block).splitlines(), capsys)
        elif kind == "python":
            exec(compile(block, "docs/how-to/reinforce-on-your-own-labels.md", "exec"), {})
            said = capsys.readouterr().out.splitlines()
        elif kind == "text":
            for shown in block.splitlines():
                assert any(_alike(shown, line) for line in said), (shown, said)
        elif kind == "toml":
            (tmp_path / "part.toml").write_text(block)
            assert load_settings(GrpoSettings, tmp_path / "part.toml").rewards
        else:
            # long runs: their trainings begin, from the start that the page begins with, and write a model
            trainings = [line for line in block.splitlines() if line.startswith(("georefer sft", "georefer grpo"))]
            _said([f"{line} --set loop.steps=1" for line in trainings], capsys)
    assert min(counts.values()) >= 1 and counts["sh"] >= 5

    refusals = REFUSAL.findall(REINFORCE)
    assert len(refusals) >= 8
    for options, shown in refusals:
        assert main(["grpo", "grpo.toml", "refused", *shlex.split(options)]) == 2, options
        error = capsys.readouterr().err
        assert all(part in error for part in shown.split(" ... ")), (options, error)
    assert not (tmp_path / "refused" / "metrics.jsonl").exists()


def _alike(shown: str, line: str) -> bool:
    """The same words and whole numbers; measured ones nearly so, as a model answers otherwise on another processor."""
    if DECIMAL.sub("", shown).split() != DECIMAL.sub("", line).split():
        return False
    pairs = zip(*(map(float, DECIMAL.findall(text)) for text in (shown, line)), strict=True)
    return all(abs(a - b) <= 0.02 + 0.1 * max(a, b) for a, b in pairs)


def _said(commands: list[str], capsys) -> list[str]:
    """The lines that commands print; each must be done without an error."""
    capsys.readouterr()
    for command in filter(None, commands):
        program, *arguments = shlex.split(command, comments=True)
        assert program == "georefer" and main(arguments) == 0, (command, capsys.readouterr().err)
    output = capsys.readouterr()
    return [*output.out.splitlines(), *output.err.splitlines()]
