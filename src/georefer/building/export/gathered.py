"""What files of published datasets share: images with what answers, and questions, for a reader's own writer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from georefer.building.export.base import Job, Shown
from georefer.building.export.labels import count_account
from georefer.geometry import Object, Objects
from georefer.scenes.interchange import LabelledImage
from georefer.scenes.interchange.base import Account
from georefer.scenes.readers import SOURCES, Asked, Published


@dataclass
class _Picture:
    """One image and the objects that answer, each in the forms in which it is written, by their ids."""

    size: tuple[int, int]
    things: dict[str, Object] = field(default_factory=dict)

    def labelled(self, name: str) -> LabelledImage:
        things = list(self.things.values())
        objects = Objects.of(
            [one.geometry for one in things], [one.label for one in things],
            kind=[one.kind for one in things], ids=[one.id for one in things],
        )  # fmt: skip
        return LabelledImage(name, *self.size, objects)


@dataclass
class Gathered:
    """Images and questions of one file or folder."""

    pictures: dict[str, _Picture] = field(default_factory=dict)
    questions: list[Asked] = field(default_factory=list)

    def image(self, one: Shown, objects: Objects) -> str:
        """The name of a scene's image, with these objects added to those that it has."""
        name = one.picture.path.removeprefix("images/")
        picture = self.pictures.setdefault(name, _Picture(one.scene.size))
        picture.things.update({thing.id: thing for thing in objects})
        return name

    def write(self, source: str, path: Path, job: Job, kept: str = "records") -> None:
        """A file or folder of that source; what it holds is counted under `kept`."""
        images = {name: picture.labelled(name) for name, picture in self.pictures.items()}
        writer = SOURCES[source].write
        assert writer is not None
        count_account(job, writer(Published(source, images, tuple(self.questions), Account()), path), kept)


def formed(objects: Objects, kind: str) -> Objects:
    """Objects under ids that say their form, without what no seed's file holds."""
    return Objects.of(
        objects.geometries_N, objects.labels_N.tolist(), kind=objects.kinds_N.tolist(),
        ids=[f"{kind}:{id_}" for id_ in objects.ids_N],
    )  # fmt: skip
