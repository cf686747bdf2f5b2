"""WebDataset: tar files of a picture and a JSON file for every scene.

    <split>-000000.tar   <key>.png, <key>.json; <key>.png, <key>.json; ...

Source: github.com/webdataset/webdataset, its description of the format: files of one sample follow each other and
share their name up to the first dot. A scene is one sample, so that its picture is stored once; `questions` in the
JSON are independent of each other: [{"id", "task", "prompt", "answer", "boxes", "labels"}, ...], boxes in pixels of
the picture. Members carry no time and no owner, so that the same dataset gives the same bytes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from georefer.building.export.base import Format, Job, Shown
from georefer.scenes.interchange.files import storable
from georefer.scenes.readers.common import dumped

SCENES_A_SHARD = 1_000
BYTES_A_SHARD = 512 << 20


class _Shards:
    """The tar files of one split, begun anew when one is full."""

    def __init__(self, folder: Path, split: str):
        self.folder, self.split = folder, split
        self.number = self.scenes = self.bytes = 0
        self.tar: tarfile.TarFile | None = None

    def add(self, members: list[tuple[str, bytes]]) -> None:
        size = sum(len(data) for _, data in members)
        if self.tar is not None and (self.scenes >= SCENES_A_SHARD or self.bytes + size > BYTES_A_SHARD):
            self.close()
        if self.tar is None:
            path = self.folder / f"{self.split}-{self.number:06d}.tar"
            self.tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self.number += 1
        for name, data in members:
            # a fresh TarInfo has time 0, owner 0 and no names
            info = tarfile.TarInfo(name)
            info.size = len(data)
            self.tar.addfile(info, io.BytesIO(data))
        self.scenes, self.bytes = self.scenes + 1, self.bytes + size

    def close(self) -> None:
        if self.tar is not None:
            self.tar.close()
        self.tar, self.scenes, self.bytes = None, 0, 0


def _write(shown: Iterable[Shown], job: Job) -> None:
    shards = {split: _Shards(job.out, split) for split in job.splits}
    try:
        for one in shown:
            picture = one.picture
            text = dumped(_described(one, job)).encode()
            ending = "jpg" if picture.form == "jpeg" else "png"
            shards[one.split].add([(f"{picture.stem}.{ending}", picture.data), (f"{picture.stem}.json", text)])
    finally:
        for shard in shards.values():
            shard.close()


def _described(one: Shown, job: Job) -> dict[str, Any]:
    assert one.frame is not None and job.dialect is not None
    width, height = one.scene.size
    return {
        "id": one.scene.id,
        "width": width,
        "height": height,
        "dialect": job.dialect.name,
        "frame": one.frame.describe(),
        "questions": [
            {
                "id": sample.question.id,
                "task": sample.question.task,
                "prompt": sample.prompt,
                "answer": sample.answer,
                "boxes": sample.objects.hbb_N4.round(3).tolist(),
                "labels": sample.objects.labels_N.tolist(),
            }
            for sample in one.samples
        ],
        "provenance": {key: value for key, value in one.scene.provenance.items() if storable(value)},
    }


WEBDATASET = Format(
    "webdataset",
    "WebDataset shards, one sample a scene: <split>-000000.tar with <key>.png (or .jpg) and <key>.json",
    _write,
    embeds="yes",
)
