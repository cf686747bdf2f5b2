"""Small made-up files in the formats of published datasets (GroundSet to Geo-R1), and what was read in plain values."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from PIL import Image

from georefer.geometry import Mask
from georefer.scenes.readers.base import Published


def picture(path: Path, size: tuple[int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 100, 80)).save(path)
    return path


def mask_file(path: Path, size: tuple[int, int], box: tuple[int, int, int, int] | None) -> Path:
    """A mask's PNG, grey, set within x1, y1, x2, y2."""
    grey_HW = np.zeros((size[1], size[0]), dtype=np.uint8)
    if box is not None:
        grey_HW[box[1] : box[3], box[0] : box[2]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey_HW).save(path)
    return path


def lines(path: Path, *rows: object) -> Path:
    """JSON lines; a text is written as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def whole(path: Path, value: object, indent: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent), "utf-8")
    return path


def parquet(path: Path, rows: dict[str, object], **options) -> Path:
    """GroundSet's columns; `rows` are file names and what their json cell holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [value if isinstance(value, str) or value is None else json.dumps(value) for value in rows.values()]
    table = pa.table({"image": [b"\x89PNG"] * len(rows), "file_name": list(rows), "json": pa.array(cells, pa.string())})
    pq.write_table(table, path, **options)
    return path


def voc_object(name: str, box: tuple[float, ...], description: str | None, swapped: bool = False) -> str:
    edges = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    parts = [f"<name>{name}</name>", "<pose>Unspecified</pose>", f"<bndbox>{edges}</bndbox>"]
    parts += [] if description is None else [f"<description>{description}</description>"]
    return f"<object>{''.join(reversed(parts) if swapped else parts)}</object>"


def voc_file(path: Path, *objects: str, name: str | None = None, size: int = 800) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"<filename>{name or path.stem + '.jpg'}</filename><size><width>{size}</width><height>{size}</height></size>"
    path.write_text(f"<annotation>{head}{''.join(objects)}</annotation>")
    return path


def rle(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> dict[str, object]:
    """COCO's compressed mask of boxes x1, y1, x2, y2 in an image of (width, height)."""
    shape = shapely.union_all([shapely.box(*box) for box in boxes])
    return Mask.of_geometry(shape, (size[1], size[0])).to_coco()


def reference(number: int, *sentences: str, split: str = "train", ann: int | None = None, image: int | None = None):
    """One entry of RRSIS-D's pickle."""
    said = [
        {"raw": s, "sent": s.lower(), "tokens": s.lower().split(), "sent_id": 100 * number + n}
        for n, s in enumerate(sentences)
    ]
    return {
        "ref_id": number, "ann_id": number if ann is None else ann, "image_id": number if image is None else image,
        "category_id": 1, "split": split, "sentences": said, "sent_ids": [one["sent_id"] for one in said],
    }  # fmt: skip


def rrsis_d(folder: Path, refs: object, annotations: list, images: list, protocol: int = 2) -> Path:
    whole(folder / "instances.json", {
        "images": images, "annotations": annotations,
        "categories": [{"id": 1, "name": "airport"}, {"id": 2, "name": "ship"}],
    })  # fmt: skip
    (folder / "refs(unc).p").write_bytes(refs if isinstance(refs, bytes) else pickle.dumps(refs, protocol))
    return folder


def what(published: Published) -> dict[str, object]:
    """All that was read, as plain values that compare."""
    images = {
        key: (
            image.width, image.height, dict(image.attributes),
            [(o.id, o.label, o.kind, shapely.normalize(o.geometry).wkt, dict(o.attributes)) for o in image.objects],
        )
        for key, image in published.images.items()
    }  # fmt: skip
    questions = [
        (q.id, q.image, q.asks, q.text, q.answer, q.object_ids, dict(q.params), q.split) for q in published.questions
    ]
    return {"images": images, "questions": questions}
