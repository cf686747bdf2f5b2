"""The dataset card: a README that people read and that tells the `datasets` library where the tables lie."""

from __future__ import annotations

from collections.abc import Mapping

HEADER = """---
configs:
- config_name: scenes
  default: true
  data_files:
  - split: train
    path: scenes/train-*.parquet
  - split: test
    path: scenes/test-*.parquet
- config_name: questions
  data_files:
  - split: train
    path: questions/train-*.parquet
  - split: test
    path: questions/test-*.parquet
---
"""


def dataset_card(source, counts: Mapping[str, int]) -> str:
    """Markdown with YAML header; `source` has `name`, `licence` and `attribution`."""
    rows = "\n".join(f"| {key} | {value:,} |" for key, value in sorted(counts.items()))
    attribution = f"\n{source.attribution}\n" if source.attribution else ""
    return f"""{HEADER}
# {source.name}

Scenes (images with their objects) and questions that refer to those objects by id, built by georefer.
Imagery and labels: licence {source.licence}.
{attribution}
Training and test scenes come from separate blocks on the ground. Geometry is WKB in image pixels (origin
top-left, y down); `transform` and `crs` of each scene take it to the map. The recipe stands in manifest.json.

| count | |
|---|---|
{rows}
"""
