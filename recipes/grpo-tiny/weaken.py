"""A weaker start: the shipped small model with noise on its weights. python weaken.py OUT [SHARE]"""

import sys
from pathlib import Path

import torch

from georefer.models import load_model

out, share = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.2
model = load_model("tiny-synthetic")
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    for parameter in model.family.model.parameters():
        if parameter.ndim > 1:
            parameter += share * parameter.std() * torch.randn(parameter.shape, generator=generator)
out.mkdir(parents=True, exist_ok=True)
model.save(out)
