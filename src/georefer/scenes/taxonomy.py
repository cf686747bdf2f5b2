"""Taxonomies as files: which class is a kind of which, from GroundSet's `tree.json` or our TOML and back.

Both formats are a tree written down: a table holds kinds of what it is named after, a list names classes without
kinds of their own. A class that stands in several places has several parents, which makes the tree a DAG. Source of
the JSON form: github.com/rogerferrod/GroundSet at 84aeed1, src/resources/tree.json; its one root says nothing and is
left out here, as in `scoring.labels.Taxonomy`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.scoring.labels import Taxonomy

ROOT = "elements"
"""Name of the root in GroundSet's file."""

MAX_BYTES, MAX_DEPTH = 4_000_000, 50

Parents = Mapping[str, tuple[str, ...]]
"""Class to what it is a kind of; every class has an entry, those at the top an empty one."""


def load_taxonomy(source: str | Path) -> Taxonomy:
    """The taxonomy of a file (.json or .toml), or a ready one by name such as "groundset"."""
    return Taxonomy(read_parents(source))


def ready_taxonomies() -> list[str]:
    """Names of the taxonomies that come with this package."""
    folder = files("georefer.scenes").joinpath("taxonomies")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def read_parents(source: str | Path) -> Parents:
    """Parents of every class of a file or of a ready taxonomy, classes in the file's order.

    InputError for what is no tree of names, and for a class that is a kind of itself.
    """
    if str(source) in ready_taxonomies():
        packed = files("georefer.scenes").joinpath("taxonomies", f"{source}.toml")
        return tree_to_parents(tomllib.loads(packed.read_text(encoding="utf-8")), str(source))
    return tree_to_parents(_read(Path(source)), str(source))


def tree_to_parents(tree: Any, where: str = "the tree") -> Parents:
    """Parents of every class of a nested tree of tables and lists; a lone root named "elements" is left out."""
    if isinstance(tree, Mapping) and list(tree) == [ROOT] and isinstance(tree[ROOT], Mapping):
        tree = tree[ROOT]
    if not isinstance(tree, Mapping) or not tree:
        raise InputError(f"{where} holds no table of classes where names with lists of their kinds are expected")
    parents: dict[str, dict[str, None]] = {}
    _collect(tree, None, parents, where, 0)
    found = {name: tuple(above) for name, above in parents.items()}
    Taxonomy(found)  # refuses cycles
    return found


def parents_to_tree(parents: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The nested tree of a taxonomy; what lies below a class with several parents stands in its first place only."""
    Taxonomy(parents)  # a cycle would never end
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(name)
    return {name: _branch(name, children, parents, 1) for name in children if not parents.get(name)}


def all_above(parents: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Every class with itself and all that it is a kind of; unlike `Taxonomy.ancestors` also with a single root."""
    found: dict[str, frozenset[str]] = {}
    Taxonomy(parents)  # a cycle would never end
    for start in parents:
        waiting = [start]
        while waiting:
            label = waiting[-1]
            if missing := [parent for parent in parents.get(label, ()) if parent not in found]:
                waiting += missing
                continue
            found[label] = frozenset({label}).union(*(found[parent] for parent in parents.get(label, ())))
            waiting.pop()
    return found


def write_taxonomy(parents: Mapping[str, tuple[str, ...]], path: str | Path) -> None:
    """Writes GroundSet's `tree.json` or our TOML, by the ending of `path`."""
    path = Path(path)
    tree = parents_to_tree(parents)
    if path.suffix == ".json":
        text = json.dumps({ROOT: tree}, ensure_ascii=False, indent=2) + "\n"
    elif path.suffix == ".toml":
        text = "\n".join(_toml(tree, ())) + "\n"
    else:
        raise InputError(f"cannot write a taxonomy to {path.name}; name a file that ends in .json or .toml")
    path.write_text(text, encoding="utf-8")


def _collect(node: Any, above: str | None, parents: dict[str, dict[str, None]], where: str, depth: int) -> None:
    """Adds all of a branch, in the order of the file."""
    if depth > MAX_DEPTH:
        raise InputError(f"{where} nests deeper than {MAX_DEPTH} levels where a tree of classes is expected")
    if not isinstance(node, Mapping | list):
        raise InputError(f"{where} holds {str(node)[:40]!r} where a table or a list of classes is expected")
    for name in node:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{where} holds {str(name)[:40]!r} where the name of a class is expected")
        own = parents.setdefault(name, {})
        if above is not None:
            own[above] = None
        if isinstance(node, Mapping):
            _collect(node[name], name, parents, where, depth + 1)


def _branch(name: str, children: Mapping[str, list[str]], parents: Mapping[str, tuple[str, ...]], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise InputError(f"the taxonomy is deeper than {MAX_DEPTH} levels at '{name}'; leave some out")
    first = {child for child in children[name] if parents[child][0] == name}
    below = {c: _branch(c, children, parents, depth + 1) if c in first else [] for c in children[name]}
    return below if any(below.values()) else list(below)


def _read(path: Path) -> Any:
    if path.suffix not in (".json", ".toml"):
        ready = ", ".join(ready_taxonomies())
        raise InputError(f"'{path}' is no taxonomy; give a ready one ({ready}) or a file that ends in .json or .toml")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES} bytes where a taxonomy is expected; name another file")
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a taxonomy ({str(error)[:80]}); correct it") from error


def _toml(tree: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Lines of a table: lists first, since whatever follows a header of TOML belongs to it."""
    deeper = {name: node for name, node in tree.items() if isinstance(node, Mapping)}
    lines = [f"{_quoted(n)} = [{', '.join(map(_quoted, node))}]" for n, node in tree.items() if n not in deeper]
    if lines:
        lines = [*([f"[{'.'.join(map(_quoted, path))}]"] if path else []), *lines, ""]
    for name, node in deeper.items():
        lines += _toml(node, (*path, name))
    return lines


def _quoted(name: str) -> str:
    # JSON's escapes are TOML's too, but for the one character that JSON leaves as it is
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
