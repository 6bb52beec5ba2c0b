"""What torch's own functions do differently from version to version at the ends of their domains."""

import torch

from torchtangents.covariance.pair import floored, safe_sqrt

ENDS = [-2.0, -1e-300, 0.0, 1e-300, 3.0]


def test_values_below_zero_are_zero():
    x = torch.tensor([*ENDS, float("inf"), float("nan")], dtype=torch.float64)
    for given in (x, x.clone().requires_grad_()):
        torch.testing.assert_close(floored(given).detach(), x.clamp_min(0), rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(safe_sqrt(given[:-1]).detach(), x[:-1].clamp_min(0).sqrt(), rtol=0, atol=0)


def test_zero_itself_has_the_derivative_from_above():
    x = torch.tensor(ENDS, dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(torch.autograd.grad(floored(x).sum(), x)[0], wanted)
    torch.testing.assert_close(torch.func.grad(lambda z: floored(z).sum())(x.detach()), wanted)
    torch.testing.assert_close(torch.func.jvp(floored, (x.detach(),), (torch.ones_like(x),))[1].detach(), wanted)
