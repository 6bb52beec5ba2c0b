"""Only the planes that the read-out asks for."""

import torch
from torch.nn import AvgPool2d, Flatten, ReLU, Sequential

import torchtangents as tt
from torchtangents.engine.memory import pair_bytes, rows_that_fit
from torchtangents.engine.needs import output_planes, pair_needs
from torchtangents.engine.tiles import tiles
from torchtangents.graph.program import record

n = tt.nn


class Block(torch.nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.a = n.Conv2d(inputs, outputs, 3, stride, 1)
        self.b = n.Conv2d(outputs, outputs, 3, padding=1)
        self.short = n.Conv2d(inputs, outputs, 3, stride, 1) if stride > 1 else torch.nn.Identity()

    def forward(self, x):
        return self.short(x) + self.b(torch.relu(self.a(torch.relu(x))))


def wide_resnet():
    groups = (Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2))
    return Sequential(n.Conv2d(3, 8, 3, padding=1), *groups, AvgPool2d(8), Flatten(), n.Linear(32, 10))


def planes(net):
    trace = tt.trace(net, (1, 3, 32, 32))
    return trace, trace.needs.planes[trace.needs.steps1[0]]


def test_a_21_layer_cnn_with_flatten_computes_one_plane():
    layers, width = [], 3
    for _ in range(21):
        layers += [n.Conv2d(width, 8, 3, padding=1), ReLU()]
        width = 8
    trace, _ = planes(Sequential(*layers, Flatten(), n.Linear(8 * 1024, 10)))
    assert set(trace.planes.values()) == {1}


def test_two_pools_before_flatten_need_49():
    body = (n.Conv2d(3, 8, 3, padding=1), ReLU(), AvgPool2d(2), n.Conv2d(8, 8, 3, padding=1), ReLU(), AvgPool2d(2))
    trace, first = planes(Sequential(*body, Flatten(), n.Linear(512, 10)))
    assert max(trace.planes.values()) == 49
    assert first == (tuple(range(-3, 4)),) * 2
    both = (n.Conv2d(3, 8, 3, padding=1), ReLU(), n.Conv2d(8, 8, 3, padding=1), ReLU(), AvgPool2d(2), AvgPool2d(2))
    assert max(planes(Sequential(*both, Flatten(), n.Linear(512, 10)))[0].planes.values()) == 49


def test_a_wide_resnet_with_two_strided_groups_needs_multiples_of_four():
    trace, first = planes(wide_resnet())
    assert first == (tuple(range(-28, 29, 4)),) * 2
    assert "-28..28 by 4 x -28..28 by 4" in str(trace)


def test_global_pooling_needs_every_plane():
    assert planes(Sequential(n.Conv2d(3, 8, 3, padding=1), ReLU(), n.GlobalAvgPool()))[0].planes["0 (Conv2d)"] == 63**2


def test_a_trace_names_layers_shapes_planes_and_costs():
    lines = str(planes(wide_resnet())[0]).splitlines()
    assert lines[0].split() == ["layer", "step", "positions", "planes", "which", "cost", "a", "pair"]
    assert any(line.startswith("2.short (Conv2d)") and "16x16" in line for line in lines)
    assert lines[-1].startswith("total: ")
    assert len(lines) == 2 + len(planes(wide_resnet())[0].needs.steps1)


def test_tiles_cover_each_pair_once():
    for symmetric in (False, True):
        seen = torch.zeros(7, 7)
        for rows, columns in tiles(7, 7, 3, symmetric):
            seen[rows, columns] += 1
            if symmetric and rows != columns:
                seen[columns, rows] += 1
        assert (seen == 1).all()


def test_tiles_shrink_with_the_memory_of_a_pair():
    device = torch.device("cpu")
    small, large = (torch.zeros(1, 3, s, s) for s in (8, 32))
    sizes = []
    for x in (small, large):
        program = record(Sequential(n.Conv2d(3, 8, 3), ReLU(), n.GlobalAvgPool()), (x,))
        needs = pair_needs(program, program, output_planes(program, program))
        sizes.append(pair_bytes(needs, True, torch.float32))
    assert sizes[1][0] > 100 * sizes[0][0]
    assert rows_that_fit(sizes[1], device) < rows_that_fit(sizes[0], device)
    assert rows_that_fit((1 << 60, 1), device) == 1
