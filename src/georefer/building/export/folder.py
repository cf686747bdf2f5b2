"""The folder of an export: made beside its place, whole or absent, and never in the place of somebody else's."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from georefer.errors import DatasetError
from georefer.runlog import swap_folder, write_json

KEY = "georefer_export"
"""The manifest's key that says: this folder was made by an export. Its value is the version of the layout."""

_MARK = ".georefer-export"


@contextmanager
def new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write to, which takes the place of `out` when the block ends without an exception.

    What an earlier, killed run left is thrown away. DatasetError where `out` is there and `overwrite` is not said, or
    where it or what stands beside it under the names needed was not made by an export.
    """
    partial = out.with_name(out.name + ".partial")
    if out.exists() and not _is_empty(out) and not (overwrite and is_export(out)):
        known = is_export(out)
        raise DatasetError(
            f"{out} exists already; say --overwrite or choose another folder" if known
            else f"{out} exists and was not made by an export, so it is not replaced; choose another folder"
        )  # fmt: skip
    for beside in (partial, out.with_name(out.name + ".old")):
        if beside.exists() and not _is_empty(beside) and not is_export(beside):
            raise DatasetError(f"{beside} is in the way and was not made by an export; move it or choose another name")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / _MARK).touch()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    # the manifest is there by now and says the same
    (partial / _MARK).unlink()
    swap_folder(partial, out)


def is_export(folder: Path) -> bool:
    """Whether an export made this folder, or was about to."""
    if (folder / _MARK).is_file():
        return True
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and KEY in manifest


def finish(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest, which lists every file: pictures and masks as one sum each, others with size and SHA-256."""
    files: dict[str, dict[str, Any]] = {}
    sums = {"images": hashlib.sha256(), "masks": hashlib.sha256()}
    summed: dict[str, dict[str, Any] | None] = {"images": None}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != _MARK):
        name, digest = path.relative_to(folder).as_posix(), _sha256(path)
        if path.suffix in (".png", ".jpg"):
            top, *below = name.split("/")
            key = "masks" if top == "masks" or (top != "images" and "labels" in below) else "images"
            sums[key].update(f"{name} {digest}\n".encode())
            before = summed.get(key) or {"count": 0, "bytes": 0}
            size = before["bytes"] + path.stat().st_size
            summed[key] = {"count": before["count"] + 1, "bytes": size, "sha256": sums[key].hexdigest()}
        else:
            files[name] = {"bytes": path.stat().st_size, "sha256": digest}
    manifest = {KEY: 1, **content, "files": files, **summed}
    write_json(folder / "manifest.json", manifest)
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
