"""GroundSet's files: tables of answers in folders named after models, and the taxonomy that groups its classes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas

from georefer.errors import InputError

TASKS = ("detection", "rec", "phrase", "segment", "vqa", "classification", "caption")

COLUMNS = ("ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE")


def read_table(path: Path, task: str) -> pandas.DataFrame:
    """A part `<task>_<n>.csv`, or all of a folder by number, plain or .gz, as pandas reads them by default.

    "None", "NA", "nan" and the like become blank, as in the original. InputError where there is no part, or one
    that is no such table.
    """
    parts = [Path(path)] if Path(path).is_file() else parts_of(Path(path)).get(task, [])
    if not parts:
        raise InputError(f"{path} holds no {task}_<number>.csv; give the folder into which the answers were written")
    tables = []
    for part in parts:
        try:
            table = pandas.read_csv(part, sep="\t")
        except (ValueError, OSError, EOFError) as error:
            raise InputError(f"{part} is no table separated by tabs ({str(error).splitlines()[0]})") from error
        if missing := [name for name in COLUMNS if name not in table]:
            raise InputError(f"{part} has no column {', '.join(missing)}; the header is {' '.join(COLUMNS)}")
        tables.append(table)
    return pandas.concat(tables, ignore_index=True)


def tables_of(path: Path, settings: Mapping[str, str], models: Collection[str]) -> Iterator[tuple[Path, str, str]]:
    """(file or folder, model, task) of what the path holds."""
    if path.is_file():
        match = re.match(r"([a-z]+)(_\d+)?\.csv", path.name)
        yield path, settings.get("model", path.resolve().parent.name), settings.get("task", match[1] if match else "")
        return
    if not path.is_dir():
        raise InputError(f"{path} was not found, where a table or a folder of tables is expected")
    named = settings.get("model", path.resolve().name)
    folders = {named: path} if parts_of(path) else {p.name: p for p in sorted(path.iterdir()) if p.name in models}
    for model, folder in folders.items():
        for task in parts_of(folder):
            if settings.get("task", task) == task:
                yield folder, model, task


def parts_of(folder: Path) -> dict[str, list[Path]]:
    """The parts of each task's table in a folder, by number."""
    parts: dict[str, list[tuple[int, Path]]] = {task: [] for task in TASKS}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = re.fullmatch(r"([a-z]+)_(\d{1,9})\.csv(\.gz)?", path.name)
        if match and match[1] in parts:
            parts[match[1]].append((int(match[2]), path))
    return {task: [path for _, path in sorted(found)] for task, found in parts.items() if found}


@cache
def groundset_groups() -> dict[str, str]:
    """Class to group, both in lower case, by GroundSet's own taxonomy."""
    return groups_of_tree(groundset_tree())


def groundset_tree() -> dict[str, Any]:
    """GroundSet's taxonomy: kinds of kinds of classes, from src/resources/tree.json of the same commit."""
    text = files("georefer.scenes").joinpath("taxonomies/groundset.toml").read_text(encoding="utf-8")
    return {"elements": tomllib.loads(text)}


def groups_of_tree(tree: Mapping[str, Any]) -> dict[str, str]:
    """Class in lower case to group in lower case, from GroundSet's `tree.json`.

    Groups are the nodes two levels below the root. A class with two parents belongs to the one that comes first.
    """
    groups: dict[str, str] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        names = node.items() if isinstance(node, Mapping) else [(name, None) for name in node or ()]
        for name, below in names:
            here = (*path, str(name).lower())
            if len(here) >= 3:
                groups.setdefault(here[-1], here[2])
            walk(below, here)

    walk(tree, ())
    return groups
