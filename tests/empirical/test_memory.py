"""How many samples and vectors fit."""

import torch
from torch import nn

from torchtangents.empirical import memory
from torchtangents.empirical.functional import Function


def test_activations_of_one_sample():
    """The input, each hidden layer once (a ReLU keeps what the next layer keeps), and the output; no weights, no other sample."""
    net = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 200), nn.ReLU(), nn.Linear(200, 3))
    for samples in (1, 1000):
        function = Function(net, torch.randn(samples, 10))
        assert memory.activation_bytes(function) == 4 * (10 + 100 + 200 + 3)


def test_what_fits_is_what_the_budget_holds(monkeypatch):
    monkeypatch.setattr(memory, "budget", lambda device: 10**6)
    function = Function(nn.Linear(100, 50), torch.randn(3, 100))
    activations, parameters = 4 * 150, 4 * 50 * 101
    assert memory.samples_at_once(function, copies=3) == 10**6 // (3 * activations)
    assert memory.samples_at_once(function, copies=2, gradients=3) == 10**6 // (2 * activations + 3 * parameters)
    assert memory.vectors_at_once(function) == 10**6 // (2 * parameters)
    monkeypatch.setattr(memory, "budget", lambda device: 1)
    assert memory.samples_at_once(function) == memory.vectors_at_once(function) == 1
