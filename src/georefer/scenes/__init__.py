"""Scenes and questions, and the datasets that hold them."""

from georefer.scenes.schema import SPLITS, Question, Scene, SceneRelation
from georefer.scenes.store import Dataset, DatasetWriter, open_dataset

__all__ = ["SPLITS", "Dataset", "DatasetWriter", "Question", "Scene", "SceneRelation", "open_dataset"]
