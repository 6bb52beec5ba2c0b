"""What empirical kernels refuse, by name."""

import pytest
import torch
from torch import nn

from torchtangents import empirical


class Counter(nn.Module):
    """Changes a buffer in forward: in place, or by assignment."""

    def __init__(self, assign):
        super().__init__()
        self.lin, self.assign = nn.Linear(2, 2), assign
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.assign:
            self.calls = self.calls + 1
        else:
            self.calls += 1
        return self.lin(x) * self.calls


class Wrapped(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.lin, self.function = nn.Linear(2, 2), function

    def forward(self, x):
        return self.function(self.lin(x))


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.calls = nn.Linear(2, 2), 0

    def forward(self, x):
        self.calls += 1
        return self.lin(x) * self.calls


class Twice(nn.Module):
    """Changes a layer's input after the layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        x = self.one(x)
        y = self.two(x)
        x += 1
        return x + y


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, (g * x).sum(0)


class Custom(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return Scale.apply(x, self.w)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.one, self.two, self.reentrant = nn.Linear(2, 2), nn.Linear(2, 2), reentrant

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(lambda x: torch.tanh(self.two(x)), self.one(x), use_reentrant=self.reentrant)


def frozen():
    return nn.Linear(2, 2).requires_grad_(False)


X = torch.randn(3, 2)
LIN = nn.Linear(2, 2)
CASES = {
    "no parameters": (lambda: empirical.ntk(nn.ReLU(), X), ValueError, "no trainable parameters"),
    "all frozen": (lambda: empirical.ntk(frozen(), X), ValueError, "no trainable parameters"),
    "no module": (lambda: empirical.ntk(torch.sin, X), TypeError, r"expected a torch.nn.Module"),
    "nngp of no module": (lambda: empirical.nngp(torch.sin, X), TypeError, r"expected a torch.nn.Module"),
    "lazy": (lambda: empirical.ntk(nn.LazyLinear(2), X), TypeError, "call the model once"),
    "batchnorm": (lambda: empirical.ntk(nn.Sequential(LIN, nn.BatchNorm1d(2)), X), ValueError, r"1 \(BatchNorm1d\).*samples interact"),
    "batchnorm nngp": (lambda: empirical.nngp(nn.Sequential(LIN, nn.BatchNorm1d(2)), X), ValueError, r"1 \(BatchNorm1d\)"),
    "batchnorm without statistics": (lambda: empirical.ntk(nn.Sequential(LIN, nn.BatchNorm1d(2, track_running_stats=False)).eval(), X), ValueError, "running statistics"),
    "instancenorm": (lambda: empirical.ntk(nn.Sequential(nn.Conv1d(2, 2, 1), nn.InstanceNorm1d(2, track_running_stats=True)), torch.randn(2, 2, 3)), ValueError, "running statistics"),
    "dropout": (lambda: empirical.ntk(nn.Sequential(LIN, nn.Dropout(0.3)), X), ValueError, r"1 \(Dropout\).*random"),
    "attention dropout": (lambda: empirical.ntk(nn.TransformerEncoderLayer(2, 1, 2), torch.randn(2, 3, 2)), ValueError, "random"),
    "random forward": (lambda: empirical.ntk(Wrapped(lambda x: x + torch.randn_like(x)), X), ValueError, "draws random numbers"),
    "functional dropout": (lambda: empirical.ntk(Wrapped(lambda x: nn.functional.dropout(x, 0.5)), X), ValueError, "draws random numbers"),
    "buffer in place": (lambda: empirical.ntk(Counter(False), X), ValueError, "changes the buffer 'calls'"),
    "buffer assigned": (lambda: empirical.ntk(Counter(True), X), ValueError, "changes the buffer 'calls'"),
    "state": (lambda: empirical.ntk(Stateful(), X), ValueError, "keeps a state"),
    "interaction": (lambda: empirical.ntk(Wrapped(lambda x: x - x.mean(0)), X), ValueError, "samples interact"),
    "input in place": (lambda: empirical.ntk(nn.Sequential(nn.ReLU(inplace=True), LIN), X.clone()), ValueError, "changes x1 in place"),
    "feature in place": (lambda: empirical.ntk(Twice(), X), ValueError, "input of linear is changed in place"),
    "integers out": (lambda: empirical.ntk(Wrapped(lambda x: x.argmax(-1)), X), TypeError, "floating-point"),
    "no tensor out": (lambda: empirical.ntk(Wrapped(lambda x: {"a": x, "b": "text"}), X), TypeError, r"output\['b'\]"),
    "no samples out": (lambda: empirical.ntk(Wrapped(lambda x: x.sum()), X), ValueError, "samples on axis 0"),
    "scripted": (lambda: empirical.ntk(torch.jit.trace(LIN, X), X), ValueError, "cannot be seen"),
    "custom function": (lambda: empirical.ntk(Custom(), X), ValueError, "w: forward uses it where"),
    "checkpoint": (lambda: empirical.ntk(Checkpointed(False), X), ValueError, "activation checkpointing"),
    "checkpoint, reentrant": (lambda: empirical.ntk(Checkpointed(True), X), ValueError, "activation checkpointing"),
    "implementation": (lambda: empirical.ntk(LIN, X, implementation="fast"), ValueError, "implementation: expected one of"),
    "tile": (lambda: empirical.ntk(LIN, X, tile=0), ValueError, "positive number"),
    "axes range": (lambda: empirical.ntk(LIN, X, trace_axes=(2,)), ValueError, "trace_axes"),
    "axes twice": (lambda: empirical.ntk(LIN, X, diagonal_axes=(1,)), ValueError, "twice"),
    "axes repeated": (lambda: empirical.ntk(LIN, X, trace_axes=(1, -1)), ValueError, "twice"),
    "paired": (lambda: empirical.ntk(LIN, X, X[:2], diagonal_axes=(0,)), ValueError, "as many samples"),
    "unknown parameter": (lambda: empirical.ntk(LIN, X, parameters=["wieght"]), ValueError, "'wieght' is no parameter"),
    "frozen parameter": (lambda: empirical.ntk(nn.Sequential(frozen(), LIN), X, parameters=["0.bias"]), ValueError, "frozen"),
    "none chosen": (lambda: empirical.ntk(LIN, X, parameters=lambda n, p: False), ValueError, "none of the"),
    "no tensor in": (lambda: empirical.ntk(LIN, 3), TypeError, "expected x1 as a tensor"),
    "lengths": (lambda: empirical.ntk(LIN, (X, X[:2])), ValueError, "samples on axis 0"),
    "empty": (lambda: empirical.ntk(LIN, X[:0]), ValueError, "at least one sample"),
    "not finite": (lambda: empirical.ntk(LIN, X, X / 0), ValueError, "expected finite numbers in x2"),
    "structures": (lambda: empirical.ntk(LIN, X, (X, 1)), ValueError, "two structures"),
    "dtypes": (lambda: empirical.ntk(LIN, X, X.double()), TypeError, "one dtype"),
    "shapes": (lambda: empirical.ntk(nn.Conv1d(2, 2, 1), torch.randn(2, 2, 3), torch.randn(2, 2, 4)), ValueError, "one shape"),
    "overflow": (lambda: empirical.ntk(LIN, X * 1e30), OverflowError, "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(name):
    call, kind, words = CASES[name]
    with pytest.raises(kind, match=words):
        call()


def test_a_refused_buffer_is_put_back():
    for assign in (False, True):
        net = Counter(assign)
        buffer = net.calls
        with pytest.raises(ValueError, match="calls"):
            empirical.ntk(net, X)
        assert net.calls is buffer
        assert net.calls == 0


def test_explain_says_how(capsys):
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    empirical.ntk(net, X, explain=True)
    said = capsys.readouterr().out
    assert "the Jacobian would take" in said
    assert all(name in said for name, _ in net.named_parameters())
    assert "products of positions" in said


@pytest.mark.parametrize("verb", ["ntk", "nngp", "diagonal", "trace", "ntk_vp", "pseudo_ntk"])
def test_tensors_that_are_not_dense(verb):
    x = torch.zeros(2, 3)
    with pytest.raises(TypeError, match=r"dense tensor, got torch\.sparse_coo"):
        getattr(empirical, verb)(nn.Linear(3, 2), x.to_sparse())
    with pytest.raises(TypeError, match="nested one; pad it"):
        getattr(empirical, verb)(nn.Linear(3, 2), torch.nested.nested_tensor([x[0], x[1, :2]]))
