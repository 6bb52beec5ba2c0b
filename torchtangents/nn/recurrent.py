"""Recurrent layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.dual import Dual
from ..covariance.kinked import ABReLU
from ..covariance.named import by_quadrature
from ..covariance.recurrent import Rates
from ..covariance.refusal import placed, refuse
from ..covariance.smooth import Erf
from ..covariance.state import State
from .law import Law, RandomLayer, Scalar
from .layer import Layer

FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "erf": torch.erf}


class Finals(tuple):
    """h_n while recording, one value (N, H) for each layer and direction: torch's tensor has its batch on axis 1."""

    def squeeze(self, dim: int = 0) -> object:
        """The only layer's."""
        if dim or len(self) != 1:
            refuse("expected h_n[-1], the last layer's state")
        return self[0]

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return refuse(f"h_n.{name} has no rule, as h_n has its batch on axis 1; expected h_n[-1], the last layer's state (N, H)")


def _reversed(k: State) -> State:
    """From the last time to the first."""
    return k.gather(0, reversed(range(k.size[0]))) if k.size else k


class RNN(RandomLayer, Layer, torch.nn.RNN):
    """A recurrent layer over times (N, T, C), with weights shared over time.

        h(t) = f(g(t)),
        g(t) = w_std / sqrt(C) W_x x(t) + hidden_std / sqrt(H) W_h h(t - 1) + b_std (b_x + b_h),   h(-1) = 0;
        K(t, t') = w_std^2 K_x(t, t') + hidden_std^2 E f f'(t - 1, t' - 1) + 2 b_std^2,
        Theta(t, t') = K(t, t') + w_std^2 Theta_x(t, t') + hidden_std^2 (E f' f' Theta)(t - 1, t' - 1).

    "standard" parametrisation: Theta counts K_x by C, E f f' by H and the biases by 1 each in place of K. Both kernels read equal
    times only if the read-out does, so the last state costs one plane.

    Args:
        input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout, bidirectional, device, dtype: as in
            `torch.nn.RNN`, but batch_first is True by default, the only order there is; nonlinearity may also be "erf".
            Dropout acts between layers; bidirectional puts the states of two layers, of which one reads backwards, side by side.
        w_std: standard deviation of the weights of inputs, times the root of their number; float or 0-dim tensor.
        hidden_std: the same of the weights of states.
        b_std: standard deviation of each of the two biases.
        parameterization: "ntk" or "standard".

    forward(input, hx=None) returns (output (N, T, H), h_n (num_layers, N, H)) as torch's. A network that is asked for its kernel
    reads h_n[-1] (and h_n[-2], the forward direction, if bidirectional), or output, e.g. output.mean(1); hx has no rule.

    Raises:
        UnsupportedError: when a kernel is asked for: an initial state, bidirectional=True with masks.
        ValueError: batch_first=False, an unknown nonlinearity.

    Yang 2019 (arXiv 1910.12478); Alemohammad, Wang, Balestriero and Baraniuk 2020 (arXiv 2006.10246).

    Example:
        >>> import torch, torchtangents as tt
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.rnn, self.read = tt.nn.RNN(3, 16, nonlinearity="relu"), tt.nn.Linear(16, 1)
        ...     def forward(self, x):
        ...         output, last = self.rnn(x)
        ...         return self.read(last[-1])
        >>> tt.ntk(Net(), torch.randn(2, 5, 3)).shape
        torch.Size([2, 2])
    """

    channel_dim = -1
    hidden_law: Law

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        hidden_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        if not batch_first:
            raise ValueError("RNN: expected batch_first=True, inputs are (N, T, C)")
        if nonlinearity not in FUNCTIONS:
            raise ValueError(f"RNN: expected nonlinearity in {tuple(FUNCTIONS)}, got {nonlinearity!r}")
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "RNN"))
        object.__setattr__(self, "hidden_law", Law(hidden_std, b_std, parameterization, "RNN", "hidden_std"))
        known = "tanh" if nonlinearity == "erf" else nonlinearity
        torch.nn.RNN.__init__(
            self, input_size, hidden_size, num_layers, known, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    @property
    def hidden_std(self) -> Scalar:
        """Standard deviation of the weights of states, times the root of their number."""
        return self.hidden_law.w_std

    def reset_parameters(self) -> None:
        """Draw weights and biases from their laws."""
        for name, weight in self.named_parameters():
            if name.startswith("weight"):
                law = self.hidden_law if "_hh_" in name else self.law
                law.draw(weight, getattr(self, name.replace("weight", "bias")) if self.bias else None, weight.shape[1])

    def _weights(self, layer: int, backward: str = "") -> tuple[Tensor, Tensor, Tensor | None]:
        """The weights of inputs and of states, and the sum of both biases, as they multiply."""
        parts = []
        for law, kind in ((self.law, "ih"), (self.hidden_law, "hh")):
            weight = getattr(self, f"weight_{kind}_l{layer}{backward}")
            bias = getattr(self, f"bias_{kind}_l{layer}{backward}") if self.bias else None
            parts.append(law.effective(weight, bias, weight.shape[1]))
        (w, b), (u, c) = parts
        return w, u, None if b is None or c is None else b + c

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        function, ways = FUNCTIONS[self.nonlinearity], ("", "_reverse")[: 1 + self.bidirectional]
        finals = []
        for layer in range(self.num_layers):
            if layer:
                input = F.dropout(input, self.dropout, self.training)
            outputs = []
            for way in ways:
                w, u, b = self._weights(layer, way)
                h = input.new_zeros(input.shape[0], self.hidden_size) if hx is None else hx[len(finals)]
                states = []
                for x in F.linear(input.flip(1) if way else input, w, b).unbind(1):
                    h = function(x + F.linear(h, u))
                    states.append(h)
                finals.append(h)
                outputs.append(torch.stack(states[::-1] if way else states, 1))
            input = torch.cat(outputs, 2)
        return input, torch.stack(finals)

    def _dual(self) -> Dual:
        if self.nonlinearity == "relu":
            return ABReLU(0.0, 1.0)
        return Erf() if self.nonlinearity == "erf" else by_quadrature(torch.tanh, (), "Tanh")

    def propagate(self, k: State, hx: Tensor | None = None) -> tuple[State, Finals]:  # type: ignore[override]
        if hx is not None:
            refuse("an initial state hx has no rule; expected none, which is zeros")
        if k.shape[-1:] != (self.input_size,) or len(k.shape) != 2:
            raise ValueError(placed(f"expected (N, T, {self.input_size}), got {(-1, *k.shape)}"))
        dual, finals = self._dual(), []
        biases = 2.0 if self.bias else 0.0
        power = Rates(self.w_std * self.w_std, self.hidden_std * self.hidden_std, biases * (self.b_std * self.b_std))
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout:
                k = k.dropout(1 - self.dropout)
            grow = power if self.parameterization == "ntk" else Rates(float(k.channels), float(self.hidden_size), biases)
            ways = []
            for backward in range(1 + self.bidirectional):
                h = (_reversed(k) if backward else k).recur(dual, power, grow, self.hidden_size).apply(dual)
                finals.append(h.last(0))
                ways.append(_reversed(h) if backward else h)
            k = State.cat(ways)
        return k, Finals(finals)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, nonlinearity={self.nonlinearity!r}, {self.law.describe()}"
