"""What the grid's start is made from: the shipped small model with words for thoughts, and questions with none.

python start.py OUT DATASET [DATASET ...]    OUT/words (a model) and OUT/bare (the first dataset without its thoughts)
"""

import sys
from pathlib import Path

from georefer.dialects import DIALECTS
from georefer.geometry import Frame
from georefer.models import load_model
from georefer.models.tiny import with_words
from georefer.scenes import open_dataset
from georefer.tasks import TASKS
from georefer.training.thoughts import asking_for_thoughts, rewritten, without_thoughts

DIALECT, FRAME = DIALECTS["georefer-think"], Frame.resize((128, 128), (128, 128), 128)


def texts(dataset):
    """Every question with its answer, asked with and without a thought."""
    asked = {}
    for question in dataset.questions("train"):
        asked.setdefault(question.scene_id, []).append(question)
    for scene in dataset.scenes("train"):
        for question in asked.get(scene.id, ()):
            for form in (without_thoughts(question), asking_for_thoughts(question)):
                task = TASKS[form.task]
                yield task.prompt(form, DIALECT, FRAME)
                yield task.answer(form, scene, DIALECT, FRAME)


out, datasets = Path(sys.argv[1]), [open_dataset(folder) for folder in sys.argv[2:]]
model = with_words(load_model("tiny-synthetic"), (text for dataset in datasets for text in texts(dataset)), DIALECT.name)
(out / "words").mkdir(parents=True)
model.save(out / "words")
rewritten(datasets[0], out / "bare", without_thoughts)
