"""Every verb within a function under torch.compile: the graph breaks there, values and derivatives are the same."""

import pytest
import torch

import torchtangents as tt

CASES = {
    "tt.kernels": lambda net, x: tt.kernels(net, x).ntk,
    "tt.nngp": lambda net, x: tt.nngp(net, x, x[:2]),
    "tt.ntk, diagonal": lambda net, x: tt.ntk(net, x, diagonal=True),
    "tt.ntk, devices": lambda net, x: tt.ntk(net, x, devices="cpu"),
    "tt.trace": lambda net, x: x * len(str(tt.trace(net, x))),
    "gp": lambda net, x: tt.gp.InfiniteWidthKernel(net, "ntk").double()(x).to_dense(),
    "posterior": lambda net, x: tt.predict.Posterior(tt.nngp(net, x), x[:, :1], diag_reg=1e-3).at(tt.nngp(net, x[:2], x)).mean,
    "empirical.ntk": lambda net, x: tt.empirical.ntk(net, x),
    "empirical.nngp": lambda net, x: tt.empirical.nngp(net, x),
    "empirical.kernels": lambda net, x: tt.empirical.kernels(net, x).ntk,
    "empirical.ntk_vp": lambda net, x: tt.empirical.ntk_vp(net, x)(x[:, :1]),
    "empirical.diagonal": lambda net, x: tt.empirical.diagonal(net, x),
    "empirical.trace": lambda net, x: torch.as_tensor(tt.empirical.trace(net, x)),
    "empirical.trace_estimate": lambda net, x: torch.as_tensor(tt.empirical.trace_estimate(net, x, n_samples=4)[0]),
    "empirical.top_eigenpairs": lambda net, x: tt.empirical.top_eigenpairs(net, x, 2)[0],
    "empirical.operator": lambda net, x: tt.empirical.operator(net, x) @ x,
    "empirical.pseudo_ntk": lambda net, x: tt.empirical.pseudo_ntk(net, x),
    "empirical.features": lambda net, x: tt.empirical.features(net, x, dim=16),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")  # of the compiler's about what it cannot trace
def test_verbs_under_the_compiler(name):
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = torch.nn.Sequential(tt.nn.Linear(3, 8), tt.nn.Erf(), tt.nn.Linear(8, 1)).double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=not name.startswith("empirical"))

    def f(x):
        return CASES[name](net, x.sin()) + 1

    found = []
    for run in (f, torch.compile(f, backend="eager")):
        torch.manual_seed(1)  # estimates draw
        value = run(x)
        found.append((value, torch.autograd.grad(value.sum(), x)[0] if x.requires_grad else value))
    torch.testing.assert_close(found[1], found[0])
    assert all(t.abs().max() > 0 for t in found[0])
