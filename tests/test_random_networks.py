"""What holds for every network, on random ones: tests/fuzz_composition.py draws them."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torchtangents as tt
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from .fuzz_composition import composed

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
    exact = (1e-4 if signs else 1e-7) if program.smooth else 1e-12  # smooth functions leave the root of a rounding to a kink
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
