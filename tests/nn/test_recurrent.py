"""Recurrent layers: against wide networks drawn at random, by hand, and as torch's own."""

import pytest
import torch
from torch.nn import Sequential

import torchtangents as tt

from ..cases_attention import Recurrent
from .test_attention import check

n = tt.nn
T, C, WIDE = 3, 4, 128


class Net(torch.nn.Module):
    def __init__(self, read, nonlinearity, layers=1, width=WIDE, **options):
        super().__init__()
        self.rnn = n.RNN(C, width, layers, nonlinearity, **{"w_std": 1.2, "hidden_std": 1.3, "b_std": 0.3, **options})
        self.how, self.read = read, n.Linear(width * (2 if read == "both" else 1), 1, w_std=1.1)

    def forward(self, x):
        output, last = self.rnn(x)
        if self.how == "both":
            return self.read(torch.cat([last[-2], last[-1]], 1) if self.ends else output.mean(1))
        return self.read(last[-1] if self.how == "last" else output.mean(1))

    ends = False


class Ends(Net):
    ends = True


WIDTHS = {
    "relu-last": lambda: Net("last", "relu"),
    "relu-mean": lambda: Net("mean", "relu"),
    "erf-last": lambda: Net("last", "erf"),
    "tanh-mean": lambda: Net("mean", "tanh"),
    "two-layers": lambda: Net("last", "relu", 2, b_std=0.1),
    "both-ways": lambda: Net("both", "erf", 2, bidirectional=True, hidden_std=1.0),
    "both-ends": lambda: Ends("both", "relu", bidirectional=True),
    "no-bias": lambda: Net("mean", "erf", bias=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDTHS)
def test_expected_kernels_of_wide_networks(name):
    """Weights that are used again make states Gaussian at infinite width only: a bias of a few over the width is allowed."""
    check(WIDTHS[name](), torch.randn(3, T, C), 400, bias=4 / WIDE, chunk=20)


@pytest.mark.slow
def test_the_standard_parametrisation():
    net = Net("mean", "relu", parameterization="standard")
    net.read = n.Linear(WIDE, 1, parameterization="standard")
    check(net, torch.randn(3, T, C), 400, bias=4 / WIDE, chunk=20)


@pytest.mark.slow
def test_of_one_time_it_is_a_linear_layer():
    check(Net("last", "relu", width=8), torch.randn(3, 1, C), 4000)


def relu(q, v1, v2):
    m = (v1 * v2).sqrt()
    angle = torch.acos((q / m).clamp(-1, 1))
    return (m * angle.sin() + (torch.pi - angle) * q) / (2 * torch.pi), (torch.pi - angle) / (2 * torch.pi)


def test_two_times_by_hand():
    x = torch.randn(2, 2, C, dtype=torch.float64)
    w, u, b = 1.2**2, 1.3**2, 2 * 0.3**2

    def k(i, j, t):
        return w * (x[i, t] * x[j, t]).mean() + b

    first = [[k(i, j, 0) for j in range(2)] for i in range(2)]
    f = [[relu(first[i][j], first[i][i], first[j][j]) for j in range(2)] for i in range(2)]
    second = [[k(i, j, 1) + u * f[i][j][0] for j in range(2)] for i in range(2)]
    theta = second[0][1] + u * f[0][1][1] * first[0][1]
    last = relu(second[0][1], second[0][0], second[1][1])
    mine = tt.kernels(Net("last", "relu"), x)
    torch.testing.assert_close(mine.nngp[0, 1], 1.21 * last[0] + 0.01)
    torch.testing.assert_close(mine.ntk[0, 1], 1.21 * (last[0] + last[1] * theta) + 0.01)


def test_the_last_state_needs_one_plane():
    trace = tt.trace(Net("last", "relu"), (1, 20, C))
    assert max(trace.planes.values()) == 1
    assert max(tt.trace(Net("mean", "relu"), (1, 20, C)).planes.values()) == 39


@pytest.mark.parametrize("how", ["last", "mean"])
def test_sequences_of_different_lengths(how):
    net, x = Net(how, "relu", 2), torch.randn(3, 6, C, dtype=torch.float64)
    lengths = [6, 4, 5]
    masked = tt.kernels(net, x, mask1=torch.arange(6) < torch.tensor(lengths)[:, None])
    for i, a in enumerate(lengths):
        for j, b in enumerate(lengths):
            for whole, alone in zip(masked, tt.kernels(net, x[i : i + 1, :a], x[j : j + 1, :b]), strict=True):
                torch.testing.assert_close(whole[i, j], alone[0, 0])


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_finite_network_is_that_of_torch(nonlinearity, bidirectional):
    ours = n.RNN(C, 5, 2, nonlinearity, bidirectional=bidirectional, parameterization="standard")
    theirs = torch.nn.RNN(C, 5, 2, nonlinearity, batch_first=True, bidirectional=bidirectional)
    theirs.load_state_dict(ours.state_dict())
    x, hx = torch.randn(3, T, C), torch.randn(2 * (1 + bidirectional), 3, 5)
    for start in (None, hx):
        for mine, other in zip(ours(x, start), theirs(x, start), strict=True):
            torch.testing.assert_close(mine, other)


def test_weights_follow_their_law():
    layer = n.RNN(200, 300, 2, w_std=1.5, hidden_std=0.7, b_std=0.3, parameterization="standard")
    assert layer.weight_ih_l0.std().item() == pytest.approx(1.5 / 200**0.5, rel=0.02)
    assert layer.weight_hh_l1.std().item() == pytest.approx(0.7 / 300**0.5, rel=0.02)
    assert layer.bias_hh_l0.std().item() == pytest.approx(0.3, rel=0.2)
    assert n.RNN(200, 300).weight_hh_l0.std().item() == pytest.approx(1, rel=0.02)


def test_equal_sequences_in_single_precision():
    net, x = Recurrent("all", "relu", 2), torch.randn(3, 12, C)
    x = torch.cat([x, x[:1], x[1:2] + 1e-6, -x[2:], torch.zeros(1, 12, C)])
    low, high = tt.ntk(net, x), tt.ntk(net, x.double())
    own = high.diagonal(dim1=0, dim2=1).diagonal(dim1=0, dim2=1).sqrt()  # (N, T)
    scale = own[:, None, :, None] * own[None, :, None]
    assert ((low - high).abs() <= 1e-5 * scale).all()


def test_hyperparameters_are_differentiable():
    x = torch.randn(2, T, C, dtype=torch.float64)
    stds = tuple(torch.tensor(s, dtype=torch.float64, requires_grad=True) for s in (1.2, 0.9, 0.3))

    def kernel(w, u, b):
        return tt.kernels(Net("mean", "relu", w_std=w, hidden_std=u, b_std=b), x, x.flip(0) + 1)

    assert torch.autograd.gradcheck(kernel, stds)


def test_dropout_between_layers():
    net, x = Net("last", "relu", 2, dropout=0.4), torch.randn(3, T, C)
    trained = tt.nngp(net, x)
    net.eval()
    off = ~torch.eye(3, dtype=torch.bool)
    plain = tt.nngp(net, x)
    assert (trained.diagonal() > plain.diagonal()).all()
    torch.testing.assert_close(plain, tt.nngp(Net("last", "relu", 2), x))
    assert not torch.equal(trained[off], plain[off])


class Plain(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.rnn, self.read = layer, n.Linear(5, 1)

    def forward(self, x):
        return self.read(self.rnn(x)[0].mean(1))


class Start(Net):
    def forward(self, x):
        return self.read(self.rnn(x, torch.zeros(1, len(x), WIDE))[0].mean(1))


class Moved(Net):
    def forward(self, x):
        return self.read(self.rnn(x)[1].transpose(0, 1).flatten(1))


REFUSED = {
    "plain": (lambda: Plain(torch.nn.RNN(C, 5, batch_first=True)), r"rnn \(RNN\).*rnn_tanh.*tt.nn.RNN"),
    "lstm": (lambda: Plain(torch.nn.LSTM(C, 5, batch_first=True)), r"rnn \(LSTM\).*lstm.*gated"),
    "start": (lambda: Start("last", "relu"), r"rnn \(RNN\).*initial state"),
    "moved": (lambda: Moved("last", "relu"), r"h_n.transpose has no rule.*h_n\[-1\]"),
    "images": (lambda: Sequential(n.Conv1d(T, C, 1), n.RNN(C, 5)), r"1 \(RNN\): expected \(N, positions, channels\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    build, pattern = REFUSED[name]
    with pytest.raises(NotImplementedError, match=f"(?s){pattern}"):
        tt.ntk(build(), torch.randn(2, T, C))


def test_masks_of_both_directions_are_refused():
    with pytest.raises(tt.UnsupportedError, match=r"rnn \(RNN\): .*no rule for masks"):
        tt.ntk(Net("both", "relu", bidirectional=True), torch.randn(2, T, C), mask1=torch.ones(2, T, dtype=torch.bool))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="batch_first=True"):
        n.RNN(C, 5, batch_first=False)
    with pytest.raises(ValueError, match="expected nonlinearity in"):
        n.RNN(C, 5, nonlinearity="gelu")
    with pytest.raises(ValueError, match=r"rnn \(RNN\): expected \(N, T, 4\)"):
        tt.ntk(Net("last", "relu"), torch.randn(2, T, C + 1))


def test_the_only_layers_state_may_be_squeezed():
    class Squeezed(Net):
        def forward(self, x):
            return self.read(self.rnn(x)[1].squeeze(0))

    x = torch.randn(2, T, C)
    torch.testing.assert_close(tt.ntk(Squeezed("last", "relu"), x), tt.ntk(Net("last", "relu"), x))
