"""What a run tells people and leaves behind: progress, metrics, and files that are whole or absent.

The only place that prints progress. Results go to standard output (the verbs do that), everything said on
the way to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")

REPORTED_PACKAGES = ("georefer", "torch", "transformers", "peft", "rasterio", "shapely", "numpy")


def say(text: str) -> None:
    """A line for the person who waits; of several processes of one run the first speaks."""
    if is_first_process():
        print(text, file=sys.stderr, flush=True)


def is_first_process() -> bool:
    """Whether this is the first of the processes that a launcher started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def progress(
    items: Iterable[Item],
    label: str,
    total: int | None = None,
    unit: str = "it",
    *,
    done: int = 0,
    is_shown: bool = True,
    note: Callable[[], str] = str,
) -> Iterator[Item]:
    """The items, with a progress bar; a line every ten seconds where there is no terminal.

    `done` of `total` came before these items; `note()` is what stands behind the bar.
    """
    from tqdm import tqdm

    is_terminal = sys.stderr.isatty()
    bar = tqdm(
        items, desc=f"{label:<10}", total=total, unit=unit, file=sys.stderr, dynamic_ncols=is_terminal, initial=done,
        mininterval=0.2 if is_terminal else 10.0, ascii=not is_terminal, leave=True,
        disable=not (is_shown and is_first_process()),
    )  # fmt: skip
    for item in bar:
        yield item
        bar.set_postfix_str(note(), refresh=False)


class JsonLines:
    """A file of one JSON value per line that survives a kill: read what is whole, go on from there."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; a cut last line (the process died while writing) is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        # what follows the last line feed was cut off
        return [json.loads(line) for line in lines[:-1] if line]

    def cut_tail(self) -> None:
        """Removes a half-written last line, so that appending is safe."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)

    def cut_from(self, key: str, value: float) -> None:
        """Removes rows whose `key` is `value` or more: what a run that goes on from there will write again."""
        rows = self.read()
        kept = [row for row in rows if row[key] < value]
        if len(kept) != len(rows):
            with written_beside(self.path) as partial:
                JsonLines(partial).append(kept)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@contextmanager
def written_beside(path: Path | str) -> Iterator[Path]:
    """A path to write to; it takes the final name only when the block ends without an exception."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def swap_folder(partial: Path, final: Path) -> None:
    """Puts a finished folder in the place of another; a kill in between leaves the old one as NAME.old."""
    old = final.with_name(f"{final.name}.old")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    partial.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path | str, value: Any) -> None:
    """JSON with a stable layout, whole or absent; NaN becomes null, which JSON can hold."""
    with written_beside(path) as partial:
        partial.write_text(
            json.dumps(_finite(value), indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
        )


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {}
    for name in REPORTED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value
