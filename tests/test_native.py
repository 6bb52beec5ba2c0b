"""The compiled operation against torch, with and without the extension."""

import importlib
import sys

import pytest
import torch
from torch.func import jvp, vmap

from torchtangents import native


@pytest.fixture(params=["built", "torch"])
def code(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(native, "_native", None)
    elif not native.available():
        pytest.skip("the extension was not built here")
    return request.param


def differences(x1, x2, i, j):
    return (x1[i].double() - x2[j].double()).square().sum(-1).to(x1.dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("pairs", [0, 1, 7, 50_000])
@pytest.mark.parametrize("channels", [0, 1, 8, 17])
def test_matches_differences(code, dtype, tolerance, pairs, channels):
    x1, x2 = torch.randn(30, channels, dtype=dtype), torch.randn(20, channels, dtype=dtype)
    i, j = torch.randint(30, (pairs,)), torch.randint(20, (pairs,))
    mine = native.squared_differences(x1, x2, i, j)
    torch.testing.assert_close(mine, differences(x1, x2, i, j), rtol=tolerance, atol=0)


def test_threads_share_the_work(code, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    x = torch.randn(100, 64)
    i, j = torch.randint(100, (2, 40_001))
    torch.testing.assert_close(native.squared_differences(x, x, i, j), differences(x, x, i, j), rtol=1e-6, atol=0)


def test_near_duplicates_in_float32_keep_their_distance(code):
    x = 1000 + torch.rand(1, 500)
    y = x.clone()
    y[0, 3] = torch.nextafter(y[0, 3], torch.tensor(2000.0))
    zero = torch.zeros(1, dtype=torch.long)
    gap = float((x.double() - y.double()).square().sum())
    assert float(native.squared_differences(x, y, zero, zero)) == pytest.approx(gap, rel=1e-6)


def test_any_memory_layout(code):
    x = torch.randn(6, 4, dtype=torch.float64)
    i, j = torch.tensor([0, 1, 2, 3])[::2], torch.arange(4)[1:3]
    for view in (x.t(), x[::2, 1:], x[:, :1], x[:, 2:3].t(), x[:1].expand(5, 4), torch.complex(x, x).conj().imag):
        rows = (i % len(view), j % len(view))
        torch.testing.assert_close(native.squared_differences(view, view, *rows), differences(view, view, *rows))


def test_gradients_flow(code):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    i, j = torch.tensor([0, 1]), torch.tensor([2, 2])
    assert torch.autograd.gradcheck(lambda x: native.squared_differences(x, x, i, j), (x,), check_forward_ad=True)


def test_function_transforms_are_not_dropped(code):
    x, tangent = torch.randn(2, 3, 4, dtype=torch.float64)
    i, j = torch.tensor([0, 1]), torch.tensor([2, 2])

    def op(x):
        return native.squared_differences(x, x, i, j)

    _, change = jvp(op, (x,), (tangent,))
    torch.testing.assert_close(change, 2 * ((x[i] - x[j]) * (tangent[i] - tangent[j])).sum(-1))
    torch.testing.assert_close(vmap(op)(torch.stack([x, tangent])), torch.stack([op(x), op(tangent)]))


def test_bad_arguments_are_refused(code):
    x, i = torch.randn(3, 4), torch.tensor([0])
    with pytest.raises(ValueError, match=r"one C, got \(3, 4\) and \(3, 5\)"):
        native.squared_differences(x, torch.randn(3, 5), i, i)
    with pytest.raises(ValueError, match="one length"):
        native.squared_differences(x, x, i, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="one device, got cpu, meta"):
        native.squared_differences(x, x.to("meta"), i, i)
    with pytest.raises(TypeError, match=r"torch\.float32 and torch\.float64"):
        native.squared_differences(x, x.double(), i, i)
    with pytest.raises(TypeError, match=r"float64, got torch\.float16"):
        native.squared_differences(x.half(), x.half(), i, i)
    with pytest.raises(TypeError, match="int64"):
        native.squared_differences(x, x, i.int(), i.int())


@pytest.mark.parametrize("row", [3, -1])
def test_rows_that_do_not_exist_are_refused(code, row):
    x, i = torch.randn(3, 4), torch.tensor([0, 1])
    with pytest.raises(IndexError, match=f"rows 0 to 2 in j, got {row} at 1"):
        native.squared_differences(x, x, i, torch.tensor([2, row]))


@pytest.mark.skipif(not native.available(), reason="the extension was not built here")
def test_the_extension_checks_for_itself():
    x, i, out = torch.randn(3, 4), torch.tensor([0]), torch.zeros(1)
    call = native._native.squared_differences
    with pytest.raises(IndexError, match="rows below 3 in i, got 3 at 0"):
        call(x, x, i + 3, i, out, 1)
    with pytest.raises(IndexError, match="got -1"):
        call(x, x, i, i - 1, out, 1)
    with pytest.raises(ValueError, match="channels"):
        call(x, x[:, :2].contiguous(), i, i, out, 1)
    with pytest.raises(ValueError, match="length"):
        call(x, x, i, i, torch.zeros(2), 1)
    with pytest.raises(TypeError):
        call(x, x, i, i, out.double(), 1)
    with pytest.raises(TypeError):
        call(x.t(), x.t(), i, i, out, 1)


def test_imports_without_the_extension(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchtangents._native", None)
    try:
        importlib.reload(native)
        assert not native.available()
        assert "not built" in native.why_not()
    finally:
        monkeypatch.undo()
        importlib.reload(native)
