"""The compiled operation against torch, with and without the extension."""

import pytest
import torch

from torchtangents import native


@pytest.fixture(params=["built", "torch"])
def code(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(native, "_native", None)
    elif not native.available():
        pytest.skip("the extension was not built here")
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pairs", [0, 1, 7, 50000])
def test_matches_differences(code, dtype, pairs):
    x1, x2 = torch.randn(30, 17, dtype=dtype), torch.randn(20, 17, dtype=dtype)
    i, j = torch.randint(30, (pairs,)), torch.randint(20, (pairs,))
    expected = (x1[i].double() - x2[j].double()).square().sum(-1).to(dtype)
    torch.testing.assert_close(
        native.squared_differences(x1, x2, i, j), expected, rtol=1e-6 if dtype == torch.float32 else 1e-14, atol=0
    )


def test_near_duplicates_in_float32_keep_their_distance(code):
    x = 1000 + torch.rand(1, 500)
    y = x.clone()
    y[0, 3] = torch.nextafter(y[0, 3], torch.tensor(2000.0))
    gap = (x.double() - y.double()).square().sum()
    zero = torch.zeros(1, dtype=torch.long)
    assert native.squared_differences(x, y, zero, zero).item() == pytest.approx(gap.item(), rel=1e-6)


def test_gradients_flow(code):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    i, j = torch.tensor([0, 1]), torch.tensor([2, 2])
    assert torch.autograd.gradcheck(lambda x: native.squared_differences(x, x, i, j), (x,))


def test_bad_arguments_are_refused(code):
    x, i = torch.randn(3, 4), torch.tensor([0])
    with pytest.raises(ValueError, match="one C"):
        native.squared_differences(x, torch.randn(3, 5), i, i)
    with pytest.raises(ValueError, match="one length"):
        native.squared_differences(x, x, i, torch.tensor([0, 1]))
    with pytest.raises(IndexError):
        native.squared_differences(x, x, torch.tensor([3]), i)
