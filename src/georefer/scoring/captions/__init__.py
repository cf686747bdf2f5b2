"""Scores of captions: agreement with reference texts, and with the objects that are there."""

from georefer.scoring.captions.bleu import bleu
from georefer.scoring.captions.cider import DocumentFrequencies, cider
from georefer.scoring.captions.grounded import grounded_row
from georefer.scoring.captions.ptb import ptb_tokenize
from georefer.scoring.captions.rouge import rouge_l

__all__ = ["DocumentFrequencies", "bleu", "cider", "grounded_row", "ptb_tokenize", "rouge_l"]
