"""The card of an export: what lies in the folder, in which words, from where and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from georefer.building.export.base import Format


def card(form: Format, manifest: Mapping[str, Any]) -> str:
    """Markdown, after the YAML that tells the datasets library where tables lie."""
    files = "".join(f"  - split: {split}\n    path: {form.table.format(split=split)}\n" for split in manifest["splits"])
    head = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n" if form.table else ""
    spoken = manifest["dialect"]
    said = "" if spoken is None else f" Prompts and answers are in the dialect {spoken}, frame: {_frame(manifest)}."
    sources = "\n".join(
        f"- {_plain(row['source'])}: licence {_plain(row['licence'])}, {row['scenes']:,} scenes"
        for row in manifest["sources"]
    )
    attribution = f"\n{_plain(manifest['attribution'])}\n" if manifest["attribution"] else ""
    counts = "\n".join(f"| {key} | {value:,} |" for key, value in manifest["counts"].items())
    left = "".join(
        f"| {word}: {_plain(reason)} | {entry['count']:,} |\n"
        for word, key in (("left out", "left_out"), ("changed", "changed"))
        for reason, entry in manifest[key].items()
    )
    return f"""{head}# {form.name}

{form.line}.{said}
Made by georefer from the dataset {manifest["dataset"]}; manifest.json lists counts, reasons and files, scenes.jsonl
says of every picture where it lies on the ground and where it comes from.

{sources}
{attribution}
| count | |
|---|---|
{counts}
{left}"""


def _frame(manifest: Mapping[str, Any]) -> str:
    made = list(manifest["frame"]["made"])
    return ", ".join(made[:3]) + (f" and {len(made) - 3} more" if len(made) > 3 else "")


def _plain(text: object) -> str:
    """A text of the dataset on one line, of which Markdown makes nothing else."""
    words = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in words)
