"""Every algorithm against whole Jacobians, over the table of architectures."""

import pytest
import torch
from torch.utils import _pytree as pytree

from torchtangents import empirical

from .architectures import ARCHITECTURES, made
from .jacobians import jacobians, kernel, outputs

pytestmark = pytest.mark.slow

EXACT = 1e-10  # relative to the largest entry, float64
ALGORITHMS = ("structured", "jacobian", "vector_products", "auto")
AXES = (((-1,), ()), ((), ()), ((), (-1,)))


def agree(found, wanted):
    found = pytree.tree_leaves(found)
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        assert f.shape == w.shape
        assert (f - w).abs().max() <= EXACT * w.abs().max()
        assert w.abs().max() > 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_algorithms_agree_with_whole_jacobians(name):
    net, x1, x2 = made(name)
    j1, j2 = jacobians(net, x1), jacobians(net, x2)
    for trace, diagonal in AXES:
        for algorithm in ALGORITHMS:
            options = {"implementation": algorithm, "trace_axes": trace, "diagonal_axes": diagonal}
            if algorithm == "auto" and not trace:
                continue
            if any(j.ndim == 2 for j in j1) and diagonal:  # the only axis is that of the samples
                continue
            agree(empirical.ntk(net, x1, x2, **options), [kernel(a, b, trace, diagonal) for a, b in zip(j1, j2, strict=True)])
            agree(empirical.ntk(net, x1, **options), [kernel(a, a, trace, diagonal) for a in j1])


@pytest.mark.parametrize("name", ["mlp", "unet", "tuple", "dict", "keywords", "sequence", "one-output"])
def test_nngp_and_both(name):
    net, x1, x2 = made(name)
    f1, f2 = outputs(net, x1), outputs(net, x2)
    agree(empirical.nngp(net, x1, x2), [kernel(a, b, (-1,), ()) for a, b in zip(f1, f2, strict=True)])
    both = empirical.kernels(net, x1, trace_axes=())
    agree(both.nngp, [kernel(a, a, (), ()) for a in f1])
    agree(both.ntk, [kernel(a, a, (), ()) for a in jacobians(net, x1)])


SEQUENCE_AXES = [
    ((1,), ()), ((1, 2), ()), ((), (1,)), ((), (1, 2)), ((1,), (2,)), ((2,), (1,)), ((0,), ()), ((), (0,)), ((0, -1), (1,)),
    ((2,), (0,)), ((1,), (0, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("trace", "diagonal"), SEQUENCE_AXES)
@pytest.mark.parametrize("algorithm", ALGORITHMS[:3])
def test_axes_of_an_output_with_positions(trace, diagonal, algorithm):
    net, x1, _ = made("sequence", 3)
    x2 = torch.randn_like(x1)
    j1, j2 = jacobians(net, x1)[0], jacobians(net, x2)[0]
    options = {"implementation": algorithm, "trace_axes": trace, "diagonal_axes": diagonal}
    agree(empirical.ntk(net, x1, x2, **options), [kernel(j1, j2, trace, diagonal)])
    agree(empirical.ntk(net, x1, **options), [kernel(j1, j1, trace, diagonal)])
    f1, f2 = outputs(net, x1)[0], outputs(net, x2)[0]
    agree(empirical.nngp(net, x1, x2, trace_axes=trace, diagonal_axes=diagonal), [kernel(f1, f2, trace, diagonal)])


@pytest.mark.parametrize("name", ["gpt-tied", "grouped", "lstm", "transposed"])
@pytest.mark.parametrize("algorithm", ALGORITHMS[:3])
def test_tiles_change_nothing(name, algorithm):
    net, x1, x2 = made(name, 5, 4)
    for axes in ((-1,), ()):
        for other in (None, x2):
            whole = empirical.ntk(net, x1, other, trace_axes=axes, implementation="jacobian")
            for tile in (1, 2, 3):
                agree(empirical.ntk(net, x1, other, trace_axes=axes, implementation=algorithm, tile=tile), [whole])


def test_little_memory_changes_nothing(monkeypatch, capsys):
    net, x1, x2 = made("resnet", 5, 4)
    wanted = [empirical.ntk(net, x1, other, trace_axes=()) for other in (None, x2)]
    traced = [empirical.ntk(net, x1, other) for other in (None, x2)]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("torchtangents.empirical.plan.budget", lambda device, most: 60_000)
    monkeypatch.setattr("torchtangents.empirical.contract._WORK", 100)
    monkeypatch.setattr("torchtangents.empirical.contract._GRADIENTS", 100)
    for other, w, t in zip((None, x2), wanted, traced, strict=True):
        agree(empirical.ntk(net, x1, other, trace_axes=()), [w])
        agree(empirical.ntk(net, x1, other), [t])
        agree(empirical.ntk(net, x1, other, diagonal_axes=(-1,), trace_axes=()).mean(-1), [t])
    assert "does not fit; computing in tiles" in capsys.readouterr().err


def test_both_contractions_are_met(monkeypatch):
    for name in ("grouped", "vit", "gpt-tied", "transposed", "tied", "embedding"):
        net, x1, x2 = made(name)
        wanted = [kernel(a, b, (), ()) for a, b in zip(jacobians(net, x1), jacobians(net, x2), strict=True)]
        for way in (True, False):
            monkeypatch.setattr("torchtangents.empirical.contract.Sizes.by_products", lambda *_, way=way: way)
            agree(empirical.ntk(net, x1, x2, trace_axes=(), implementation="structured"), wanted)


def test_symmetric_exactly():
    for algorithm in ALGORITHMS:
        net, x1, _ = made("vit", 4)
        k = empirical.ntk(net, x1, implementation=algorithm, trace_axes=(), tile=3)
        assert torch.equal(k, k.permute(1, 0, 3, 2))


def test_parameters_are_chosen():
    net, x, _ = made("gpt-tied")
    whole = empirical.ntk(net, x)
    parts = [empirical.ntk(net, x, parameters=[name]) for name, _ in net.named_parameters()]
    agree(sum(parts), [whole])
    agree(empirical.ntk(net, x, parameters=["head.weight"]), [parts[0]])  # the embedding by its other name
    biases = empirical.ntk(net, x, parameters=lambda name, p: p.ndim == 1)
    j = jacobians(net, x, [n for n, p in net.named_parameters() if p.ndim == 1])[0]
    agree(biases, [kernel(j, j, (-1,), ())])


def test_frozen_parameters_are_not_counted_and_flags_stay():
    net, x, _ = made("mlp")
    net[0].weight.requires_grad_(False)
    flags = [p.requires_grad for p in net.parameters()]
    j = jacobians(net, x)[0]
    for algorithm in ALGORITHMS:
        agree(empirical.ntk(net, x, implementation=algorithm), [kernel(j, j, (-1,), ())])
    assert flags == [p.requires_grad for p in net.parameters()]
    assert all(p.grad is None for p in net.parameters())


def test_every_use_is_met():
    """Structured and mixed uses of one parameter: the number of probes says that rules, not Jacobians, were used."""
    from torchtangents.empirical.passes import Network
    from torchtangents.empirical.rules import RULES
    from torchtangents.empirical.samples import Samples

    for name in ("mlp", "grouped", "resnet", "vit", "norms", "encoder", "unet", "ours-standard"):
        net, x, _ = made(name)
        network = Network(net, dict(net.named_parameters()), RULES, Samples(x, "x1"), 0)
        whole = [s for s in network.sites for use, feature in s.uses if feature is None and use.known.parameter.ndim > 3]
        assert not network.looped
        assert len(whole) == (name == "ours-standard")  # LocalConv1d has no rule


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(dtype):
    net, x, _ = made("mlp")
    wanted = empirical.ntk(net, x)
    found = empirical.ntk(net.to(dtype), x.to(dtype))
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() < {torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype] * wanted.abs().max()
