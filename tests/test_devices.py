"""Kernels on several devices: their shares cover every pair once, and make the same kernel as one device."""

import pytest
import torch

import torchtangents as tt
from torchtangents.devices import pieces

from .cases import NETS, inputs
from .tolerances import SAME

TWO = [torch.device("cpu"), torch.device("meta")]


@pytest.mark.parametrize("n1", [0, 1, 2, 5, 16])
@pytest.mark.parametrize("n2", [None, 0, 3])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_cover_every_pair_once(n1, n2, count):
    devices = [torch.device("cuda", i) for i in range(count)]
    held = torch.zeros(n1, n1 if n2 is None else n2, dtype=torch.long)
    for piece in pieces(devices, n1, n2):
        columns = piece.rows if piece.columns is None else piece.columns
        held[piece.rows, columns] += 1
        if n2 is None and piece.columns is not None:
            held[columns, piece.rows] += 1
    assert (held == 1).all()


def test_devices_get_as_much_of_a_triangle():
    work = dict.fromkeys(TWO, 0.0)
    for piece in pieces(TWO, 16, None):
        n = piece.rows.stop - piece.rows.start
        work[piece.device] += n * (n + 1) / 2 if piece.columns is None else n * (piece.columns.stop - piece.columns.start)
    assert len(set(work.values())) == 1


@pytest.mark.parametrize("name", ["fc-relu", "two-pools", "positions", "dropout", "attention-relu"])
@pytest.mark.parametrize("crossed", [False, True])
def test_several_devices_make_the_kernel_of_one(name, crossed):
    net, x, y = NETS[name](), inputs(name, 5, seed=1), inputs(name, 3, seed=2) if crossed else None
    for mine, whole in zip(tt.kernels(net, x, y, devices=["cpu", "cpu"]), tt.kernels(net, x, y), strict=True):
        torch.testing.assert_close(mine, whole, rtol=SAME, atol=SAME)
    assert torch.equal(tt.nngp(net, x, y, devices="cpu"), tt.nngp(net, x, y))
    if not crossed:
        torch.testing.assert_close(
            tt.ntk(net, x, diagonal=True, devices=["cpu"] * 2), tt.ntk(net, x, diagonal=True), rtol=SAME, atol=SAME
        )


def test_masks_and_arguments_are_cut_along():
    net = torch.nn.Sequential(tt.nn.Conv1d(2, 4, 3, padding=1), tt.nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(4, 1))
    x, mask = torch.randn(4, 2, 6, dtype=torch.float64), torch.arange(6) < torch.tensor([2, 6, 4, 3])[:, None]
    mine, whole = (tt.ntk(net, x, mask1=mask, devices=d) for d in (["cpu", "cpu"], None))
    torch.testing.assert_close(mine, whole, rtol=SAME, atol=SAME)


@pytest.mark.parametrize("crossed", [False, True])
def test_derivatives_pass_through(crossed):
    slopes = []
    for devices in (["cpu", "cpu"], None):
        x = inputs("fc-erf", 4, seed=1).requires_grad_()
        y = inputs("fc-erf", 2, seed=2).requires_grad_() if crossed else None
        k = tt.kernels(NETS["fc-erf"](), x, y, devices=devices)
        slopes.append(torch.autograd.grad((k.nngp.sin() + k.ntk.cos()).sum(), [x, y] if crossed else [x]))
    for mine, whole in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("devices", "says"),
    [([], "got none"), (["gpu0"], "names of devices"), (3.5, "names of devices"), ("cuda:99", r"CUDA devices .* 'cuda:99'")],
)
def test_what_is_no_device_is_refused(devices, says):
    with pytest.raises(ValueError, match=says):
        tt.ntk(NETS["fc-relu"](), inputs("fc-relu", 2), devices=devices)


def test_what_fails_on_a_device_is_raised():
    with pytest.raises(tt.UnsupportedError, match="triton"):
        tt.ntk(NETS["attention-relu"](), inputs("attention-relu", 4), devices=["cpu", "cpu"], backend="triton")
