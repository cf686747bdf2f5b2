"""EarthReason: questions that have to be thought about, each answered by a mask; 5,434 images of 0.5 to 153 m.

Source: github.com/earth-insights/SegEarth-R1 (loaders, docs/Preparation.md); arXiv 2504.09644. Licence: not stated.

    {train,val,test}/images/*.{jpg,jpeg,png}   labels/*.png (not 0: target)   QAs/*.{json,txt}: {questions, answer}

- `questions` and `answer` are lists. All questions of an image have the same mask; the published loaders ask the first
  one only, and answer with the first answer. Here every question is asked, `params["number"]` is its place, and the
  answer is the first one; `params["answers"]` are all.
- No answer at all means that nothing is there, and so does a mask without pixels.
- The loaders pair the sorted listings of the three folders, so that one missing file shifts all that follow; here
  files are paired by name, and what has no partner is counted.
- No file names the object's class: labels are "object".
"""

from __future__ import annotations

from pathlib import Path

from georefer.errors import InputError
from georefer.scenes.interchange.base import IMAGE_ENDINGS
from georefer.scenes.interchange.files import read_text
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.common import UNNAMED, Gathering, need_split, parsed, text_of
from georefer.scenes.readers.pictures import inside, read_mask

SPLITS = ("train", "val", "test")
MAX_TEXTS = 1_000
"""Questions, and answers, of one image."""


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """The folder that holds the splits, or the one of a split. Pictures are measured where they lie. See the module."""
    path = Path(path)
    folders = {name: path / name for name in SPLITS if (path / name / "QAs").is_dir()}
    if not folders and (path / "QAs").is_dir():
        folders = {path.name: path}
    if not folders:
        raise InputError(f"{path} holds no <split>/QAs where EarthReason is expected; name the folder of the splits")
    need_split(split, folders, path)
    gathered = Gathering("earthreason", images if images is not None else path)
    for name, folder in folders.items():
        if split in (None, name):
            _read_split(folder, "" if folder == path else name, name, gathered)
    return gathered.published(path)


def _read_split(folder: Path, place: str, split: str, gathered: Gathering) -> None:
    files = sorted(file for file in (folder / "QAs").iterdir() if file.suffix in (".json", ".txt") and file.is_file())
    pictures = {}
    if (folder / "images").is_dir():
        pictures = {file.stem: file.name for file in sorted((folder / "images").iterdir()) if _is_picture(file)}
    for file in files:
        where = f"{split}/{file.name}"
        if inside(folder / "QAs", file.name) is None:
            gathered.account.dropped.add("link out of the folder, not followed", where)
            continue
        if pictures and file.stem not in pictures:
            gathered.account.dropped.add("questions without a picture", where)
            continue
        name = pictures.pop(file.stem, f"{file.stem}.jpg")
        _read_image(file, folder, name, f"{place}/images" if place else "images", split, where, gathered)
    for stem in pictures:
        gathered.account.dropped.add("picture without questions", f"{split}/{stem}")


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_ENDINGS and not file.name.startswith(".")


def _read_image(file: Path, folder: Path, name: str, place: str, split: str, where: str, gathered: Gathering) -> None:
    try:
        row = parsed(read_text(file))
    except (InputError, ValueError):
        return gathered.account.dropped.add("file that is no JSON", where)
    row = row if isinstance(row, dict) else {}
    questions, answers = (_texts(row.get(key)) for key in ("questions", "answer"))
    key = gathered.image(name, where, subfolders=(place,))
    if key is None or not questions:
        return None if key is None else gathered.account.dropped.add("no questions", where)
    shape, reason = read_mask(inside(folder / "labels", f"{file.stem}.png"), gathered.size(key))
    if shape is None and reason:
        return gathered.account.dropped.add(reason, where)
    if shape is not None and not answers:
        gathered.account.changed.add("mask with pixels, but no answer", where)
    ids = () if shape is None else (gathered.add(key, shape, UNNAMED, "mask"),)
    answer = answers[0] if answers else None
    for number, question in enumerate(questions):
        gathered.ask(
            f"{file.stem}_{number}", key, "res", text=question, answer=answer, object_ids=ids, split=split,
            params={"number": number, "answers": answers},
        )  # fmt: skip
    return None


def _texts(value: object) -> list[str]:
    rows = value if isinstance(value, list) else [value]
    return [text for text in map(text_of, rows[:MAX_TEXTS]) if text is not None]


SOURCE = Source(
    "earthreason",
    "the folder with train/, val/ and test/, each with images/, labels/ and QAs/; or one of these",
    "not stated",
    read,
    holds_pictures=True,
)
