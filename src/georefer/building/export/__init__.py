"""Exports: any dataset in the files of other trainers. One file a family, one line in the table a format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georefer.building.export import chat, expressions, fit_rs, geo_r1, groundset, labels, refgeo, shards, swift, tables
from georefer.building.export.base import ExportSettings, Format
from georefer.building.export.run import export as _export
from georefer.errors import InputError
from georefer.scenes import Dataset

FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        # tables and shards with the pictures inside
        tables.HF,
        tables.TRL,
        shards.WEBDATASET,
        # chats
        chat.LLAVA,
        chat.OPENAI,
        swift.SWIFT,
        chat.LLAMA_FACTORY,
        # objects alone
        labels.COCO,
        labels.DOTA,
        labels.YOLO_OBB,
        # the seeds of this field
        groundset.GROUNDSET,
        refgeo.REFGEO,
        fit_rs.FIT_RS,
        geo_r1.GEO_R1,
        expressions.RSVG,
        expressions.EARTHREASON,
    )
}


def export(
    dataset: Dataset | Path | str, out: Path | str, settings: ExportSettings, *, overwrite: bool = False
) -> dict[str, Any]:
    """Writes a dataset to the folder `out` in the format that `settings` name; returns its manifest."""
    if settings.format not in FORMATS:
        raise InputError(f"there is no format '{settings.format[:80]}'; choose among {', '.join(FORMATS)}")
    form = FORMATS[settings.format]
    if settings.link is not None and form.embeds != "unless linked":
        raise InputError(f"link was given for {form.name}, whose files do not name pictures by it; leave it out")
    return _export(dataset, out, form, settings, overwrite=overwrite)


__all__ = ["FORMATS", "ExportSettings", "Format", "export"]
