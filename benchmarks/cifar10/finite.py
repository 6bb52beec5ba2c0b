"""A convolutional network of ordinary width, trained on the same images.

Myrtle-5's layers (Shankar et al. 2020, arXiv 2003.02237) with widths 32, 32, 64, 128, BatchNorm before every ReLU, and a
linear read-out of the mean over positions. The recipe is the common one: cross-entropy, SGD with Nesterov momentum 0.9 and
weight decay 5e-4, a learning rate that rises to 0.05 over a fifth of the steps and falls to 0 as a cosine, 20 epochs (at
least 200 steps) in batches of 32, random horizontal flips and shifts by up to 4 pixels (padded with zeros), which the kernels
do not get. A tenth of the training images is held out, for the temperature of the softmax alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchtangents.predict import temperature

from .data import CLASSES
from .evaluate import Prediction

BATCH, EPOCHS, LEAST_STEPS, PEAK = 32, 20, 200, 0.05
CHOSEN_BY = "temperature on a tenth of the images, held out of training"


def network() -> nn.Module:
    """The network, with torch's default initialisation."""

    def stage(wide: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(wide, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    layers = [*stage(3, 32), *stage(32, 32), nn.AvgPool2d(2), *stage(32, 64), nn.AvgPool2d(2), *stage(64, 128)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))


def augmented(x: Tensor, generator: torch.Generator, shift: int = 4) -> Tensor:
    """Images (N, C, H, W), each flipped with probability 1/2 and shifted by up to `shift` pixels along each axis."""
    n, _, height, width = x.shape
    x = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.5, x.flip(3), x)
    down, right = torch.randint(2 * shift + 1, (2, n, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)  # (N, H), (N, W) in the padded image
    padded = functional.pad(x, (shift,) * 4).permute(0, 2, 3, 1)  # (N, H + 2 shift, W + 2 shift, C)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def train(x: Tensor, labels: Tensor, x_test: Tensor, seed: int, steps: int | None = None) -> Prediction:
    """Train on images (N, 3, H, W) and labels (N,), predict test images (M, 3, H, W); `steps` None is the recipe's."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    held, kept = order[: max(len(x) // 10, 1)], order[max(len(x) // 10, 1) :]
    steps = steps or max(EPOCHS * len(kept) // BATCH, LEAST_STEPS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = network().to(memory_format=torch.channels_last)  # twice as fast on a CPU
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rising = max(steps // 5, 1)
    up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / rising, total_iters=rising)
    down = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps - rising, 1))
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [up, down], [rising])
    queue = kept[:0]
    for _ in range(steps):
        size = min(BATCH, len(kept))
        if len(queue) < size:
            queue = kept[torch.randperm(len(kept), generator=generator)]
        batch, queue = queue[:size], queue[size:]
        optimizer.zero_grad()
        functional.cross_entropy(model(augmented(x[batch], generator)), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        scores = torch.cat([model(part) for part in torch.cat([x[held], x_test]).split(256)]).double()
    warmth = temperature(scores[: len(held)], labels[held])
    return Prediction((scores[len(held) :] / warmth).log_softmax(1), float("nan"), warmth)
