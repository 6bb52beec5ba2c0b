"""A trained ResNet on handwritten digits, trained further in three ways: itself, linearised, and in closed form.

    python examples/linearised_resnet.py [--quick]

A small residual network with BatchNorm learns scikit-learn's digits. Its statistics are then fixed (evaluation mode), and
full-batch gradient descent on the squared error fits a few digits turned by a quarter, (a) in the network itself, (b) in its
linearisation `tt.linearize`, and (c) as `tt.predict.GradientFlow` with its empirical NTK at the start. (b) and (c) differ by the
step size of (b) alone; (a) and (b) by how far the network leaves its tangent plane. The table shows both distances, root mean
squares over the outputs on turned test images, with the squared errors of all three on the images that they fit.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import torchtangents as tt


class Block(nn.Module):
    """x + conv(relu(norm(x))), twice."""

    def __init__(self, width: int):
        super().__init__()
        parts = (nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.parts = nn.Sequential(*parts, *copy.deepcopy(parts[:2]), nn.Conv2d(width, width, 3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x)


def resnet(width: int) -> nn.Module:
    """Two residual blocks between a strided convolution and global pooling: images (N, 1, 8, 8) to (N, 10)."""
    start = (nn.Conv2d(1, width, 3, stride=2, padding=1), Block(width), Block(width))
    return nn.Sequential(
        *start, nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    ).double()


class Images(NamedTuple):
    """Standardised images (N, 1, 8, 8) and one-hot targets (N, 10)."""

    x: Tensor
    y: Tensor


def digits(n_old: int, n_new: int, n_test: int) -> tuple[Images, Images, Images]:
    """Images to learn from first, then some turned by a quarter to fit, and some turned to test."""
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    x = torch.as_tensor(found.images, dtype=torch.float64)[order, None] / 16
    x, labels = (x - x[:n_old].mean()) / x[:n_old].std(), torch.as_tensor(found.target)[order]
    parts, start = [], 0
    for count, turns in ((n_old, 0), (n_new, 1), (n_test, 1)):
        rows = slice(start, start + count)
        parts.append(Images(x[rows].rot90(turns, (2, 3)), nn.functional.one_hot(labels[rows], 10).double()))
        start += count
    return parts[0], parts[1], parts[2]


def learn(net: nn.Module, images: Images, epochs: int) -> None:
    """Ordinary training in batches, which also sets the statistics of BatchNorm; evaluation mode afterwards."""
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images.x)).split(50):
            optimizer.zero_grad()
            (net(images.x[rows]) - images.y[rows]).square().mean().backward()
            optimizer.step()
    net.eval()


def descend(net: nn.Module, images: Images, x_test: Tensor, rate: float, times: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs on the images to fit and to test at `times`, in steps of full-batch descent on 1/2 mean((f - y)^2)."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for step in range(times[-1] + 1):
        if step in times:
            with torch.no_grad():
                outputs = net(images.x), net(x_test)
            yield outputs
        optimizer.zero_grad()
        (0.5 * (net(images.x) - images.y).square().mean()).backward()
        optimizer.step()


class Row(NamedTuple):
    """One line of the table: at a time, squared errors on the images to fit, accuracy on the test images, and distances."""

    step: int
    network: float
    linear: float
    flow: float
    accuracy: float
    accuracy_linear: float
    linear_to_flow: float
    network_to_linear: float


def compare(width: int, n_old: int, n_new: int, n_test: int, epochs: int, times: list[int]) -> list[Row]:
    """Train, expand, train in three ways."""
    old, new, test = digits(n_old, n_new, n_test)
    net = resnet(width)
    learn(net, old, epochs)
    with torch.no_grad():
        accuracy = (net(old.x).argmax(1) == old.y.argmax(1)).double().mean()
    parameters = sum(p.numel() for p in net.parameters())
    print(f"A ResNet of {parameters:,} parameters, trained on {n_old} upright digits, {accuracy:.1%} of them right.")

    k_train = tt.empirical.operator(net, new.x, trace_axes=()).to_dense()  # (10 N, 10 N)
    k_test = tt.empirical.operator(net, test.x, new.x, trace_axes=()).to_dense()  # (10 M, 10 N)
    rate = 0.1 * tt.predict.max_learning_rate(k_train)
    print(f"Its NTK on {n_new} turned digits is {tuple(k_train.shape)}; the learning rate is {rate:.3g}.")
    flow = tt.predict.GradientFlow(k_train, new.y.flatten(), learning_rate=rate)
    with torch.no_grad():
        start = net(new.x).flatten(), net(test.x).flatten()
    law = flow.at(torch.tensor(times, dtype=torch.float64), *start, k_test_train=k_test)

    rows, linear = [], tt.linearize(net)
    walks = (descend(each, new, test.x, rate, times) for each in (net, linear))
    for i, ((f, f_test), (g, g_test)) in enumerate(zip(*walks, strict=True)):
        h, h_test = law.train[i].reshape(f.shape), law.test[i].reshape(f_test.shape)
        errors = ((out - new.y).square().mean().item() for out in (f, g, h))
        right = ((out.argmax(1) == test.y.argmax(1)).double().mean().item() for out in (f_test, g_test))
        apart = ((a - b).square().mean().sqrt().item() for a, b in ((g_test, h_test), (f_test, g_test)))
        rows.append(Row(times[i], *errors, *right, *apart))
    return rows


def main(arguments: list[str] | None = None) -> list[Row]:
    """Print the table."""
    parser = argparse.ArgumentParser(description="A ResNet, its linearisation, and gradient flow with its NTK.")
    parser.add_argument("--quick", action="store_true", help="fewer images and steps: seconds in place of minutes")
    quick = parser.parse_args(arguments).quick
    torch.manual_seed(0)
    times = [0, *(round(10**e) for e in range(3 if quick else 4))]
    rows = compare(8, 300, 10, 50, 10, times) if quick else compare(16, 1000, 40, 300, 10, times)
    groups = ("squared error on images to fit", 31), ("accuracy on turned test images", 30), ("distance on test images", 27)
    print(f"{'':>6}" + "".join(f"  {title:^{size}}" for title, size in groups))
    columns = (
        ("network", 11),
        ("linear", 9),
        ("flow", 9),
        ("network", 17),
        ("linear", 14),
        ("linear-flow", 14),
        ("net.-linear", 14),
    )
    print(f"{'step':>6}" + "".join(f" {name:>{size}}" for name, size in columns))
    for r in rows:
        errors = f"{r.network:>12.2e}{r.linear:>10.2e}{r.flow:>10.2e}"
        accuracies = f"{r.accuracy:>18.1%}{r.accuracy_linear:>15.1%}"
        print(f"{r.step:>6}{errors}{accuracies}{r.linear_to_flow:>15.2e}{r.network_to_linear:>15.2e}")
    return rows


if __name__ == "__main__":
    main()
