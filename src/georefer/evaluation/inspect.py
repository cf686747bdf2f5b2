"""A page of scenes as they will be learned: picture, objects, and every question with its exact answer text."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from georefer.dialects import DIALECTS
from georefer.geometry import Frame
from georefer.imagery.encode import encode_image
from georefer.imagery.render import draw_objects
from georefer.runlog import written_beside
from georefer.scenes import Dataset, Question, Scene
from georefer.tasks import TASKS

OUTLINE = (255, 210, 0)

PICTURE_PX = 384


def write_inspection(dataset: Dataset, split: str, scenes: int, out: Path | str) -> Path:
    """Writes one self-contained page about at most `scenes` scenes, spread over the split.

    Answers are written in the project's own dialect at 0-1000; a model's own frame may speak other numbers.
    """
    asked: dict[str, list[Question]] = {}
    for question in dataset.questions(split):
        asked.setdefault(question.scene_id, []).append(question)
    total = dataset.manifest["splits"][split]["scenes"]
    wanted = set(np.linspace(0, total - 1, min(scenes, total)).astype(int).tolist())
    shown = [_card(s, asked.get(s.id, [])) for i, s in enumerate(dataset.scenes(split)) if i in wanted]
    template = jinja2.Environment(autoescape=True).from_string(
        files("georefer.evaluation").joinpath("inspect.html").read_text(encoding="utf-8")
    )
    page = template.render(
        folder=str(dataset.folder), split=split, total=total, scenes=shown, counts=dataset.manifest.get("counts", {}),
        features=dataset.manifest.get("features", {}), labels=dataset.manifest.get("labels", []),
    )  # fmt: skip
    with written_beside(out) as partial:
        partial.write_text(page, encoding="utf-8")
    return Path(out)


def _card(scene: Scene, questions: list[Question]) -> dict[str, Any]:
    frame = Frame.resize(scene.size, scene.size)
    scale = max(1, PICTURE_PX // max(scene.size))
    picture = draw_objects(scene.pixels(), scene.objects, OUTLINE, 1, labels=True, scale=scale)
    encoded = base64.b64encode(encode_image(picture, "JPEG")).decode()
    lines = [
        (
            q.task,
            TASKS[q.task].prompt(q, DIALECTS["georefer"], frame),
            TASKS[q.task].answer(q, scene, DIALECTS["georefer"], frame),
        )
        for q in questions
    ]
    gsd = scene.grid.gsd_m
    return {
        "id": scene.id,
        "picture": f"data:image/jpeg;base64,{encoded}",
        "about": f"{scene.size[0]} x {scene.size[1]} px" + (f", {gsd:.2f} m a pixel" if gsd else ", no georeference"),
        "objects": len(scene.objects),
        "lines": lines,
    }
