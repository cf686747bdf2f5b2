"""Objects without questions, in annotation formats: COCO, DOTA and YOLO's oriented boxes, through `interchange`.

    coco       annotations/<split>.json      file_name starts at images/; one numbering of classes for all splits
    dota       labelTxt/<split>/<name>.txt
    yolo-obb   labels/<split>/<name>.txt and data.yaml, whose train and val are the splits train and test

What each format cannot hold stands in its module there and, counted, in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from georefer.building.export.base import Format, Job, Shown
from georefer.scenes.interchange import LabelledImage, write
from georefer.scenes.interchange.base import Account
from georefer.scenes.readers.common import escape_separators


def count_account(job: Job, account: Account, kept: str = "objects") -> None:
    """Adds what a writer kept, and what it could not hold, to what the manifest will say."""
    job.counts[kept] += account.kept
    for ours, theirs in ((job.account.dropped, account.dropped), (job.account.changed, account.changed)):
        for reason, count in theirs.counts.items():
            first, *others = theirs.examples[reason]
            ours.add(reason, first, count)
            for example in others:
                ours.add(reason, example, 0)


def labelled(shown: Iterable[Shown]) -> Iterator[tuple[str, LabelledImage]]:
    """(split, image) of every scene; names start at images/."""
    for one in shown:
        gsd_m = one.scene.grid.gsd_m
        said = {} if gsd_m is None else {"gsd": round(float(gsd_m), 6)}
        name = one.picture.path.removeprefix("images/")
        yield one.split, replace(LabelledImage.of_scene(one.scene), file_name=name, attributes=said)


def _coco(shown: Iterable[Shown], job: Job) -> None:
    images = list(labelled(shown))
    names = sorted({label for _, image in images for label in image.objects.labels_N})
    classes = {label: number for number, label in enumerate(names, 1)}
    for split in job.splits:
        chosen = [image for its_split, image in images if its_split == split]
        count_account(job, write("coco", chosen, job.out / "annotations" / f"{split}.json", classes=classes))


def _dota(shown: Iterable[Shown], job: Job) -> None:
    count_account(job, write("dota", [image for _, image in labelled(shown)], job.out / "labelTxt"))


def _yolo_obb(shown: Iterable[Shown], job: Job) -> None:
    images = [image for _, image in labelled(shown)]
    count_account(job, write("yolo-obb", images, job.out))
    keys = {"train": ("train",), "test": ("val", "test")}
    named = [f"{key}: images/{split}\n" for split in job.splits for key in keys.get(split, (split,))]
    path = job.out / "data.yaml"
    # YAML breaks lines at Unicode's separators, also between quotes
    text = escape_separators(path.read_text(encoding="utf-8"))
    path.write_text(text + "".join(named), encoding="utf-8", newline="\n")


COCO = Format("coco", "COCO annotations: annotations/<split>.json", _coco, dialect=None)
DOTA = Format("dota", "DOTA labels: labelTxt/<split>/<name>.txt", _dota, dialect=None)
YOLO_OBB = Format("yolo-obb", "YOLO's oriented boxes: labels/<split>/<name>.txt and data.yaml", _yolo_obb, dialect=None)
