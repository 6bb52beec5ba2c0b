"""What holds for every network: swept over the whole table of cases, and over random architectures."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torchtangents as tt
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from .cases import BY_QUADRATURE, NETS, each, inputs
from .tolerances import QUADRATURE


def close(name):
    """The spacing of a quadrature follows the variances in a tile, within its tolerance."""
    relative = QUADRATURE if name in BY_QUADRATURE else 1e-12
    return {"rtol": relative, "atol": relative / 100}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_symmetric_positive_and_tiled(name):
    net, x = NETS[name](), inputs(name, 5)
    k = tt.kernels(net, x)
    for whole, tiled in zip(k, tt.kernels(net, x, tile=2, progress=True), strict=True):
        torch.testing.assert_close(tiled, whole, **close(name))
    for part in k:
        if part.ndim == 2:
            assert torch.equal(part, part.T)
            assert float(torch.linalg.eigvalsh(part)[0]) > -1e-12 * float(part.diagonal().max())
    torch.testing.assert_close(tt.nngp(net, x), k.nngp, rtol=0, atol=0)
    torch.testing.assert_close(tt.ntk(net, x), k.ntk, rtol=0, atol=0)


@pytest.mark.parametrize("name", NETS)
def test_x2_none_is_x2_equal_to_x1(name):
    net, x = NETS[name](), inputs(name, 3)
    mine, pair = tt.kernels(net, x), tt.kernels(net, x, each(torch.clone, x))
    if name == "dropout":  # only x2=None shares masks
        net.eval()
        mine, pair = tt.kernels(net, x), tt.kernels(net, x, each(torch.clone, x))
    for a, b in zip(mine, pair, strict=True):
        torch.testing.assert_close(a, b, **close(name))


@pytest.mark.parametrize("name", NETS)
def test_the_diagonal_alone(name):
    net, x = NETS[name](), inputs(name, 3)
    k, own = tt.kernels(net, x), tt.kernels(net, x, diagonal=True, tile=2)
    for whole, diagonal in zip(k, own, strict=True):
        assert diagonal.shape[0] == 3
        expected = torch.stack([whole[i, i] for i in range(3)])
        torch.testing.assert_close(diagonal, expected, **close(name))


def test_dropout_shares_masks_on_the_diagonal_only():
    net, x = NETS["dropout"](), inputs("dropout", 3)
    shared, apart = tt.nngp(net, x), tt.nngp(net, x, x.clone())
    off = ~torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(shared[off], apart[off])
    assert (shared.diagonal() > apart.diagonal()).all()


@pytest.mark.parametrize("name", ["stride-2", "fc-erf", "fc-tanh", "fc-elu", "layernorm-all"])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_without_gradients(name, mode):
    expected = tt.kernels(NETS[name](), inputs(name))
    with mode():
        mine = tt.kernels(NETS[name](), inputs(name))
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NETS)
def test_empty_and_non_contiguous_inputs(name):
    net, x = NETS[name](), inputs(name, 4)
    empty = each(lambda t: t[:0], x)
    assert tt.ntk(net, x, empty).shape[:2] == (4, 0)
    assert tt.ntk(net, empty).shape[:2] == (0, 0)
    assert tt.ntk(net, empty, diagonal=True).shape[0] == 0
    strided = each(lambda t: torch.stack([t, t], -1)[::2, ..., 0], x)
    assert each(lambda t: t.is_contiguous(), strided) in (False, (False, False))
    torch.testing.assert_close(tt.kernels(net, strided), tt.kernels(net, each(lambda t: t[::2].clone(), x)), **close(name))


def test_gradients_after_inference_mode():
    from torchtangents.covariance import grid, panels

    for cached in (grid._partner, grid._inside, panels._legendre):
        cached.cache_clear()
    for name in ("overlap-3-2", "fc-elu"):
        with torch.inference_mode():
            tt.ntk(NETS[name](), inputs(name))
        x = inputs(name).requires_grad_()
        tt.ntk(NETS[name](), x).sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("count", [12, 40, 64])
def test_many_channels(count):
    """Products of more than 8 channels: the first layer is the mean over them, whatever the number of inputs."""
    x, y = torch.randn(count, 40), torch.randn(7, 40)
    y[0] = x[0]
    layer = tt.nn.Linear(40, 8, b_std=0.0)
    torch.testing.assert_close(tt.nngp(layer, x, y), x @ y.T / 40, rtol=1e-5, atol=1e-6)
    net = torch.nn.Sequential(layer, tt.nn.ReLU(), tt.nn.Linear(8, 1))
    torch.testing.assert_close(tt.ntk(net, x, y).double(), tt.ntk(net, x.double(), y.double()), rtol=1e-5, atol=1e-6)
    assert tt.ntk(net, x, y)[0, 0] == tt.ntk(net, x)[0, 0]


def test_dropping_everything_leaves_the_bias():
    net = torch.nn.Sequential(tt.nn.Linear(3, 8), tt.nn.Dropout(1.0), tt.nn.Linear(8, 1, b_std=0.5))
    torch.testing.assert_close(tt.nngp(net, torch.randn(2, 3)), torch.full((2, 2), 0.25))


def test_tuples_of_sizes_and_dtypes():
    x = inputs("stride-2", 2, torch.float32)
    k = tt.kernels(NETS["stride-2"](), x)
    assert k.nngp.dtype == torch.float32
    assert k._fields == ("nngp", "ntk")


@st.composite
def architectures(draw):
    layers, channels, size = [], 2, 6
    for _ in range(draw(st.integers(1, 3))):
        k, s, d = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
        pad = draw(st.integers(0, 2))
        mode = draw(st.sampled_from(["zeros", "circular"]))
        if (size + 2 * pad - d * (k - 1) - 1) // s < 1 or (mode == "circular" and pad > size):
            continue
        layers.append(
            tt.nn.Conv2d(channels, 4, k, s, pad, d, padding_mode=mode, w_std=1.3, b_std=draw(st.sampled_from([0.0, 0.2])))
        )
        channels, size = 4, (size + 2 * pad - d * (k - 1) - 1) // s + 1
        layers.append(draw(st.sampled_from([torch.nn.ReLU(), tt.nn.Abs(), tt.nn.Erf(), tt.nn.LeakyReLU(0.3)])))
        if size >= 3 and draw(st.booleans()):
            w, s = draw(st.integers(2, 3)), draw(st.integers(1, 2))
            layers.append(tt.nn.AvgPool2d(w, s))
            size = (size - w) // s + 1
    if not layers:
        layers.append(tt.nn.Conv2d(2, 4, 3))
        channels, size = 4, 4
    if draw(st.booleans()):
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), tt.nn.Linear(channels * size * size, 1))
    return torch.nn.Sequential(*layers, tt.nn.GlobalAvgPool(), tt.nn.Linear(channels, 1))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(architectures())
def test_random_architectures_match_dense(net):
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    assert net(x.float()).shape[0] == 2
    program = record(net, (x,))
    for mine, oracle in zip(tt.kernels(net, x), dense_kernels(program, program), strict=True):
        error = float((mine - oracle).abs().max() / oracle.abs().max())
        assert error < 1e-9  # the oracle carries no distances, so it loses nearly equal positions before a kink
