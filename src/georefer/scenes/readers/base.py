"""What a published dataset is once it was read: images with objects, the questions asked of them, and what was lost.

Files come from anywhere, as in `georefer.scenes.interchange`, whose helpers serve here too: sizes are bounded before
anything is parsed, names that lead out of a folder are refused, a bad row is dropped and counted with its reason, and
only a file that is wrong as a whole raises `InputError`. Shapes are in continuous pixels of the image: (0, 0) is its
outer top-left corner, x right, y down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account, LabelledImage

ASKS = (
    "rec", "obb-rec", "res", "detection", "phrase", "segment", "presence", "vqa", "choice", "classification",
    "multilabel", "caption", "region-caption", "relation", "relation-reasoning", "object-reasoning", "region-graph",
    "image-graph", "chat",
)  # fmt: skip
"""What questions ask for: "rec" a box for an expression, "obb-rec" an oriented box, "res" a mask; "detection" all
objects of a class and "segment" their outlines; "phrase" objects of several classes; "presence" yes or no; "vqa" a
short answer; "choice" one of options; "classification" one class (of the image, or of a region in `params`),
"multilabel" several; captions of image or region; FIT's relations and graphs; "chat" anything else."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One question as a file has it.

    `asks` is one of `ASKS`. `text` and `answer` are in the file's own words, None where it has none. `object_ids`
    are objects of the image that answer. `params` are what the question is about, in plain JSON values: "expression",
    "class", "classes", "options", "region" (an object's id), "category" and whatever else the file says.
    """

    id: str
    image: str
    asks: str
    text: str | None = None
    answer: str | None = None
    object_ids: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None


@dataclass(frozen=True, eq=False)
class Published:
    """A published dataset, or one file of it: `images` by file name, and the questions about them.

    An image's size is None where neither the file, nor the image, nor the dataset's description tells it; shapes are
    in pixels all the same, or the row was dropped.
    """

    name: str
    images: Mapping[str, LabelledImage]
    questions: tuple[Asked, ...]
    account: Account

    def __iter__(self) -> Iterator[Asked]:
        return iter(self.questions)

    def __len__(self) -> int:
        return len(self.questions)


@dataclass(frozen=True)
class Source:
    """One published dataset in the table: how it is read and written.

    `read(path, images=None, split=None, **options)` takes what `reads` describes; `images` is the folder of the
    pictures, looked into for sizes only. `write(published, path, **options)` gives files that `read` and the
    original's own tools read, and an account of what they cannot hold; None where writing makes no sense.
    `licence` is what the publisher says of the data. `holds_pictures`: they lie in the dataset's own folder.
    """

    name: str
    reads: str
    licence: str
    read: Callable[..., Published]
    write: Callable[..., Account] | None = None
    holds_pictures: bool = False


def opened(path: Path | str, *names: str) -> Path:
    """`path` itself if it is a file, else the first of `names` (glob patterns) that lies in the folder."""
    path = Path(path)
    if path.is_file():
        return path
    for name in names:
        if found := sorted(path.glob(name)):
            return found[0]
    raise InputError(f"{path} holds none of {', '.join(names)}; give the dataset's folder or one of these files")
