"""What holds for every network, on random ones: tests/fuzz_composition.py draws them."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torchtangents as tt
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from .fuzz_composition import composed, widened

FINITE = [
    "m1",
    "m2",
    "m6",
    "m12",
    "m13",
    "m17",
    "m18",
    "m19",
    "m24",
    "m30",
    "m34",
    "m36",
    "m42",
    "m50",
]  # small enough for many draws, every composition among them
SHORT, LONG = 60, 10_000
ORACLE = 1e-7  # the oracle carries no distances, so it loses nearly equal positions before a kink
VANISHING = 1e-12  # of what the first layer gives: sums that cancel leave roundings


def scale(k):
    return float(k.abs().max()) + VANISHING


def close(mine, other, tolerance):
    return float((mine - other).abs().max()) <= tolerance * scale(other)


def matrix(k):
    """(N, N, *S, *S) -> (N S, N S)."""
    axes = (k.ndim - 2) // 2
    order = [0, *range(2, 2 + axes), 1, *range(2 + axes, k.ndim)]
    rows = k.permute(order)
    return rows.reshape(len(k) * torch.Size(k.shape[2 : 2 + axes]).numel(), -1)


def check(seed):
    for tries in range(20):
        net, x, tile = composed(f"{seed}.{tries}")
        with torch.backends.mkldnn.flags(enabled=False):  # which crashes in dilated convolutions of one position (torch 2.13)
            assert len(net(x.float())) == len(x)
        try:
            k = tt.kernels(net, x, backend="reference")
        except tt.UnsupportedError:
            continue
        break
    else:
        pytest.fail("twenty networks in a row have no rule")
    label = f"seed {seed}.{tries}: {tuple(x.shape)}\n{net}"
    program = record(net, (x,))
    signs = any(isinstance(m, tt.nn.Sign) for m in net.modules())
    exact = (1e-4 if signs else 1e-7) if program.delicate else 1e-12  # smooth functions leave the root of a rounding to a kink
    for mine, oracle in zip(k, dense_kernels(program, program), strict=True):
        assert mine.isfinite().all(), label
        assert close(mine, oracle, 1e-3 if signs else ORACLE), label
    for mine, tiled in zip(k, tt.kernels(net, x, tile=tile, backend="reference"), strict=True):
        assert close(tiled, mine, exact), label
    for mine, other in zip(k, tt.kernels(net, x), strict=True):
        assert close(other, mine, 1e-7), label
    for mine in k:
        flat = matrix(mine)
        assert torch.equal(flat, flat.T) if mine.ndim == 2 else close(flat, flat.T, exact), label
        assert float(torch.linalg.eigvalsh(flat)[0]) >= -1e-9 * scale(flat), label
    net.eval()
    k = tt.kernels(net, x, backend="reference")
    for mine, pair in zip(k, tt.kernels(net, x, x.clone(), backend="reference"), strict=True):
        assert close(pair, mine, exact), label


@settings(max_examples=SHORT, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_random_networks(seed):
    check(seed)


@pytest.mark.long
@settings(max_examples=LONG, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_many_random_networks(seed):
    check(seed)


WIDER, DRAWS = 48, 40


def finite(net, x):
    """One draw of the network: the second moments over its channels, and the NTK of the first."""
    for module in net.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    out = net(x)
    parameters = [p for p in net.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(f, parameters, retain_graph=True, allow_unused=True, materialize_grads=True) for f in out[:, 0]]
    jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    return torch.stack([out @ out.T / out.shape[1], jacobian @ jacobian.T]).detach()


@pytest.mark.slow
@pytest.mark.parametrize("seed", FINITE)
def test_a_fixed_subset_against_finite_networks(seed):
    """Within 4 standard errors, and 4 / WIDER of the kernel's size for the finite width."""
    net, x, _ = composed(seed)
    with torch.backends.mkldnn.flags(enabled=False):
        net = widened(net.eval(), x.float(), WIDER).double()
        exact = torch.stack(tuple(tt.kernels(net, x)))
        drawn = torch.stack([finite(net, x) for _ in range(DRAWS)])
    error = drawn.std(0) / DRAWS**0.5
    allowed = 4 * error + 4 / WIDER * exact.abs().amax((1, 2), keepdim=True)
    assert ((drawn.mean(0) - exact).abs() < allowed).all(), (net, drawn.mean(0), exact, error)
