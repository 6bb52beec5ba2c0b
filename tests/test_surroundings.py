"""What is switched on around a call changes nothing of it: torch.compile, another default device, autocast."""

import pytest
import torch

import torchtangents as tt

from .cases import NETS, inputs
from .tolerances import FLOAT32

CASES = {
    "tt.kernels": lambda net, x: tt.kernels(net, x).ntk,
    "tt.nngp": lambda net, x: tt.nngp(net, x, x[:2]),
    "tt.ntk, diagonal": lambda net, x: tt.ntk(net, x, diagonal=True),
    "tt.ntk, devices": lambda net, x: tt.ntk(net, x, devices="cpu"),
    "tt.trace": lambda net, x: x * len(str(tt.trace(net, x))),
    "tt.linearize": lambda net, x: tt.linearize(net)(x),
    "ensemble": lambda net, x: tt.predict.Ensemble(net, x, x[:, :1], kernel="ntk", diag_reg=1e-3).at(t=3.0, x_test=x[:2])[0],
    "gp": lambda net, x: tt.gp.InfiniteWidthKernel(net, "ntk").double()(x).to_dense(),
    "posterior": lambda net, x: tt.predict.Posterior(tt.nngp(net, x), x[:, :1], diag_reg=1e-3).at(tt.nngp(net, x[:2], x)).mean,
    "scale.features": lambda net, x: tt.scale.features(
        torch.nn.Sequential(net[0], tt.nn.ReLU(), net[2]), dim=16, generator=torch.Generator().manual_seed(0)
    )(x),
    "scale.nystrom": lambda net, x: tt.scale.nystrom(net, x[:2])(x),
    "scale.landmarks": lambda net, x: x[tt.scale.landmarks(net, x.detach(), 2, method="random", generator=torch.Generator())],
    "scale.solve": lambda net, x: tt.scale.solve(tt.ntk(net, x).detach().numpy(), x.detach()[:, :1], diag_reg=1e-2).alpha,
    "empirical.ntk": lambda net, x: tt.empirical.ntk(net, x),
    "empirical.nngp": lambda net, x: tt.empirical.nngp(net, x),
    "empirical.kernels": lambda net, x: tt.empirical.kernels(net, x).ntk,
    "empirical.ntk_vp": lambda net, x: tt.empirical.ntk_vp(net, x)(x[:, :1]),
    "empirical.diagonal": lambda net, x: tt.empirical.diagonal(net, x),
    "empirical.trace": lambda net, x: tt.empirical.trace(net, x) * x.new_ones(()),
    "empirical.trace_estimate": lambda net, x: tt.empirical.trace_estimate(net, x, n_samples=4)[0] * x.new_ones(()),
    "empirical.top_eigenpairs": lambda net, x: tt.empirical.top_eigenpairs(net, x, 2)[0],
    "empirical.operator": lambda net, x: tt.empirical.operator(net, x) @ x,
    "empirical.pseudo_ntk": lambda net, x: tt.empirical.pseudo_ntk(net, x),
    "empirical.features": lambda net, x: tt.empirical.features(net, x, dim=16),
}

TRACED_BY_TORCH = (
    "tt.linearize",
    "ensemble",
    "scale.features",
    "scale.nystrom",
    "scale.landmarks",
    "scale.solve",
)  # what is around
ON_THE_DEFAULT_DEVICE = ("gp",)  # parameters, as those of any module
TENSORS_OF_THEIR_OWN = ("product-with-numbers", "sequence-matrix-left")  # made by forward, where torch puts them


def net_and_inputs():
    torch.manual_seed(0)
    net = torch.nn.Sequential(tt.nn.Linear(3, 8), tt.nn.Erf(), tt.nn.Linear(8, 1)).double()
    return net, torch.randn(5, 3, dtype=torch.float64)


@pytest.mark.parametrize("name", [name for name in CASES if name not in TRACED_BY_TORCH])
@pytest.mark.filterwarnings("ignore")  # of the compiler's about what it cannot trace
def test_verbs_under_the_compiler(name):
    torch._dynamo.reset()
    net, x = net_and_inputs()
    x.requires_grad_(not name.startswith("empirical"))

    def f(x):
        return CASES[name](net, x.sin()) + 1

    found = []
    for run in (f, torch.compile(f, backend="eager")):
        torch.manual_seed(1)  # estimates draw
        value = run(x)
        found.append((value, torch.autograd.grad(value.sum(), x)[0] if x.requires_grad else value))
    torch.testing.assert_close(found[1], found[0])
    assert all(t.abs().max() > 0 for t in found[0])


@pytest.mark.parametrize("name", [name for name in CASES if name not in ON_THE_DEFAULT_DEVICE])
def test_verbs_beside_another_default_device(name):
    net, x = net_and_inputs()
    torch.manual_seed(1)
    usual = CASES[name](net, x)
    torch.manual_seed(1)
    with torch.device("meta"):  # where tensors have no numbers
        found = CASES[name](net, x)
    torch.testing.assert_close(found, usual, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in NETS if name not in TENSORS_OF_THEIR_OWN])
def test_networks_beside_another_default_device(name):
    net, x = NETS[name](), inputs(name, 2)
    usual = (*tt.kernels(net, x), tt.nngp(net, x, diagonal=True))
    with torch.device("meta"):
        found = (*tt.kernels(net, x), tt.nngp(net, x, diagonal=True))
    torch.testing.assert_close(found, usual, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in CASES if name != "tt.linearize"])  # a module: its forward is the caller's
def test_verbs_under_autocast(name):
    """It rounds what is multiplied to bfloat16."""
    net, x = net_and_inputs()
    net, x = net.float(), x.float()
    if name.startswith("empirical"):
        with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(TypeError, match=r"outside of autocast|without autocast"):
            CASES[name](net, x)
        return
    usual = CASES[name](net, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = CASES[name](net, x)
    torch.testing.assert_close(found, usual, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("name", NETS)
def test_networks_under_autocast(name):
    net, x = NETS[name](), inputs(name, 2)
    x = x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
    usual = (*tt.kernels(net, x), tt.nngp(net, x, diagonal=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = (*tt.kernels(net, x), tt.nngp(net, x, diagonal=True))
    torch.testing.assert_close(found, usual, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("made", [tt.empirical.operator, tt.empirical.ntk_vp], ids=["operator", "ntk_vp"])
def test_products_that_were_made_before_autocast(made):
    """The last layer's outputs are of single precision there too."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 4), torch.nn.LayerNorm(4))
    x = torch.randn(5, 3)
    products, v = made(net, x), torch.ones(5, 1) if made is tt.empirical.operator else torch.ones(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(TypeError, match="outside of autocast"):
        products @ v if made is tt.empirical.operator else products(v)
