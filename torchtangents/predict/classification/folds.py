"""Parts of the training data, each predicted from all the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_FOLDS = 5


def folds(labels: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices (kept, left out) of five folds, drawn by the seed, that share out every class evenly; fewer of fewer samples."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed), device="cpu").to(labels.device)
    order = order[labels[order].argsort(stable=True)]  # class by class, at random within each
    count = min(_FOLDS, len(labels))
    for i in range(count):
        kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        kept[order[i::count]] = False
        yield kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]
