"""`torchtangents::pairs` as an operator of torch: schema, fake kernel, derivatives, torch.compile, bounded memory."""

import pytest
import torch

import torchtangents as tt
from torchtangents import native
from torchtangents.engine.backward import gradients
from torchtangents.engine.needs import output_planes
from torchtangents.engine.operator import Task
from torchtangents.graph.program import record

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")


def network():
    n = tt.nn
    layers = [
        n.Conv2d(2, 4, 3, padding=1, b_std=0.1),
        torch.nn.ReLU(),
        n.AvgPool2d(2),
        n.Conv2d(4, 4, 3, padding=1),
        torch.nn.ReLU(),
    ]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), n.Linear(16, 1))


def data(count, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 4, 4, generator=generator, dtype=dtype).requires_grad_()


def task(shared, ntk=True):
    net = network()
    first = record(net, (data(3, 0),))
    second = first if shared else record(net, (data(2, 1),))
    return Task(first, second, output_planes(first, second), ntk)


@pytest.fixture(params=[True, False], ids=["shared", "cross"])
def work(request):
    return task(request.param)


def test_operator_checks(work):
    torch.library.opcheck(torch.ops.torchtangents.pairs, (work.leaves, work.number))
    outer = [torch.ones(work.shape, dtype=torch.float64)] * 2
    asked = [i for i, t in enumerate(work.leaves) if t.requires_grad]
    eager = ("test_schema", "test_autograd_registration", "test_faketensor")  # second derivatives are not traced
    torch.library.opcheck(torch.ops.torchtangents.pairs_backward, (work.leaves, *outer, asked, work.number), test_utils=eager)


def test_first_and_second_derivatives(work):
    def kernels(*given):
        return torch.ops.torchtangents.pairs(list(given), work.number)

    given = tuple(work.leaves)
    assert torch.autograd.gradcheck(kernels, given)
    assert torch.autograd.gradgradcheck(kernels, given, fast_mode=True)


def test_compiled_into_one_graph(work):
    def kernels(given):
        nngp, ntk = torch.ops.torchtangents.pairs(given, work.number)
        return (nngp * ntk).sum()

    given = work.leaves
    eager, compiled = kernels(given), torch.compile(kernels, fullgraph=True)(given)
    torch.testing.assert_close(compiled, eager)
    asked = [t for t in given if t.requires_grad]
    for mine, other in zip(torch.autograd.grad(compiled, asked), torch.autograd.grad(eager, asked), strict=True):
        torch.testing.assert_close(mine, other)


def test_third_derivatives_are_those_of_the_reference():
    net, x = torch.nn.Sequential(tt.nn.Linear(2, 4), tt.nn.Erf(), tt.nn.Linear(4, 1)), torch.randn(3, 2, dtype=torch.float64)

    def third(backend):
        z = x.clone().requires_grad_()
        value = tt.ntk(net, z, backend=backend).square().sum()
        for _ in range(3):
            (value,) = torch.autograd.grad(value, z, create_graph=True)
            value = value.square().sum()
        return value

    torch.testing.assert_close(third("cpu"), third("reference"))


def test_data_that_changed_in_place_count():
    work = task(True)
    before = work.run()[1]
    with torch.no_grad():
        work.leaves[0].mul_(2)
    assert not torch.allclose(work.run()[1], before)


def test_hyperparameters_get_derivatives_through_csrc():
    w = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    x = data(4, 2).detach().flatten(1)

    def total(backend):
        net = torch.nn.Sequential(tt.nn.Linear(32, 8, w_std=w), torch.nn.ReLU(), tt.nn.Linear(8, 1, w_std=w))
        return tt.ntk(net, x, backend=backend).sum()

    (mine,), (other,) = (torch.autograd.grad(total(b), w) for b in ("cpu", "reference"))
    torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("tile", [1, 2, None])
def test_derivatives_do_not_depend_on_tiles(tile, shared):
    work = task(shared)
    outer = tuple(torch.randn(work.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) for _ in range(2))
    whole = gradients(work.first, work.second, work.wanted, True, work.leaves, outer, 100)
    for mine, other in zip(gradients(work.first, work.second, work.wanted, True, work.leaves, outer, tile), whole, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            torch.testing.assert_close(mine, other)


def test_transforms_go_by_the_reference():
    net, x = network(), data(2, 4).detach()
    tangent = torch.ones_like(x)
    _, forward = torch.func.jvp(lambda z: tt.ntk(net, z).sum(), (x,), (tangent,))
    z = x.clone().requires_grad_()
    (backward,) = torch.autograd.grad(tt.ntk(net, z).sum(), z)
    torch.testing.assert_close(forward, (backward * tangent).sum())
    with pytest.raises(tt.UnsupportedError, match=r"torch\.func"):
        torch.func.jvp(lambda z: tt.ntk(net, z, backend="cpu").sum(), (x,), (tangent,))


def test_a_task_that_is_gone_is_named():
    with pytest.raises(RuntimeError, match="number of a task"):
        torch.ops.torchtangents.pairs([torch.ones(1)], "none")
