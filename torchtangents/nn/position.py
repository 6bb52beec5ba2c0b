"""Positional embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..covariance.layout import CHANNEL
from ..covariance.position import square_root
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .law import Law, RandomLayer, Scalar, plain
from .layer import Layer

MODES = ("add", "cat")


class PositionalEmbedding(RandomLayer, Layer):
    """Trained Gaussian values at positions, the same for every input, added to it or put beside its channels.

    K' = K + std^2 R(p, q),  Theta' = Theta + std^2 R(p, q)  ("ntk"; "standard": Theta' = Theta + R(p, q)),

    with R(p, q) = 1 where p = q and 0 elsewhere, or decay(|p - q|). Beside C channels, E channels of embedding weigh
    E / (C + E) in the next layer.

    Args:
        shape: of the embedding: that of the input without the batch, e.g. (T, C); an axis of positions may be 1, and then its
            positions share their values. With mode="cat" the number of channels is that of the embedding.
        std: standard deviation of every value; float or 0-dim tensor.
        mode: "add", or "cat" for channels beside those of the input.
        decay: a covariance as a function of a tensor of Euclidean distances between positions, with decay(0) = 1, e.g.
            lambda d: torch.exp(-d); None for independent positions.
        channel_dim: which axis holds channels if the layer is the first to meet data: -1, or 1 for images.
        device, dtype: as in torch.nn.
        parameterization: "ntk" or "standard".

    Raises:
        ValueError: a shape that does not fit the input, a decay that is no covariance.

    Hron, Bahri, Sohl-Dickstein and Novak 2020 (arXiv 2006.10540), section 4.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nngp(tt.nn.PositionalEmbedding((2, 3), std=2.), torch.zeros(1, 2, 3))[0, 0]
        tensor([[4., 0.],
                [0., 4.]])
    """

    correlation: Tensor | None
    root: Tensor | None

    def __init__(
        self,
        shape: Sequence[int],
        std: Scalar = 1.0,
        *,
        mode: str = "add",
        decay: Callable[[Tensor], Tensor] | None = None,
        channel_dim: int = -1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(std, 0.0, parameterization, "PositionalEmbedding", "std"))
        super().__init__()
        if mode not in MODES or channel_dim not in (-1, 1):
            raise ValueError(
                f"PositionalEmbedding: expected mode in {MODES} and channel_dim -1 or 1, got {mode!r}, {channel_dim}"
            )
        self.shape, self.mode, self.decay, self.channel_dim = tuple(shape), mode, decay, channel_dim
        self.weight = torch.nn.Parameter(torch.empty(self.shape, device=device, dtype=dtype))
        correlation = None if decay is None else self._correlation(decay)
        self.register_buffer("correlation", correlation, persistent=False)
        self.register_buffer("root", None if correlation is None else square_root(correlation), persistent=False)
        self.reset_parameters()

    @property
    def std(self) -> Scalar:
        """Standard deviation of every value."""
        return self.law.w_std

    @property
    def _positions(self) -> tuple[int, ...]:
        return self.shape[:-1] if self.channel_dim == -1 else self.shape[1:]

    def _correlation(self, decay: Callable[[Tensor], Tensor]) -> Tensor:
        """decay(|p - q|) for all pairs of positions, (T, T)."""
        axes = [torch.arange(s, dtype=torch.float64) for s in self._positions]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
        r = decay((points[:, None] - points[None]).square().sum(-1).sqrt())
        if r.shape != (len(points), len(points)) or not bool(torch.isfinite(r).all()):
            raise ValueError("PositionalEmbedding: expected decay to return a finite covariance for every distance")
        return r

    def reset_parameters(self) -> None:
        """Draw the embedding from its law."""
        self.law.draw(self.weight, None, 1)

    def forward(self, input: Tensor) -> Tensor:
        weight, _ = self.law.effective(self.weight, None, 1)
        if self.root is not None:
            dim = self.channel_dim if self.channel_dim == -1 else 0
            table = weight.movedim(dim, -1)
            weight = (self.root.to(weight) @ table.reshape(-1, table.shape[-1])).reshape(table.shape).movedim(-1, dim)
        self._fit(tuple(input.shape[1:]))
        if self.mode == "add":
            return input + weight
        channel = input.ndim - 1 if self.channel_dim == -1 else 1
        sizes = [w if i == channel else x for i, (x, w) in enumerate(zip(input.shape, (1, *weight.shape), strict=True))]
        return torch.cat([input, weight.expand(sizes)], channel)

    def _fit(self, shape: tuple[int, ...]) -> None:
        channel = len(shape) - 1 if self.channel_dim == -1 else 0
        fits = len(shape) == len(self.shape) and all(
            (a == b or self.mode == "cat") if i == channel else (a == b or (b == 1 and self.decay is None))
            for i, (a, b) in enumerate(zip(shape, self.shape, strict=True))
        )
        if not fits:
            expected = (-1, *self.shape)
            raise ValueError(placed(f"expected an input of shape {expected} for mode={self.mode!r}, got {(-1, *shape)}"))

    def propagate(self, k: State) -> State:
        channel = len(k.layout) - 1 if self.channel_dim == -1 else 0
        groups = [g for i, g in enumerate(k.layout) if i != channel]
        if k.layout[channel] != (CHANNEL,) or any(CHANNEL in g for g in groups):
            refuse(f"expected channels on axis {self.channel_dim} and positions on the others, got {(-1, *k.shape)}")
        self._fit(k.shape)
        tags = [t for g in groups for t in g]  # an axis of the value may hold several, as patches of an image do
        alone = {t for g, length in zip(groups, self._positions, strict=True) for t in g if length == 1}
        shared = [t in alone for t in range(len(tags))]
        matrix = self.correlation
        if matrix is not None:  # from the order of the tags to that of the axes
            sizes = [k.size[t] for t in tags]
            order = torch.arange(len(matrix)).reshape(sizes).permute([tags.index(t) for t in range(len(tags))]).flatten()
            matrix = matrix[order][:, order]
        power = self.std * self.std
        channels = self.shape[-1] if self.channel_dim == -1 else self.shape[0]
        embedding = k.positional(power, power if self.parameterization == "ntk" else 1.0, shared, channels, matrix)
        return k + embedding if self.mode == "add" else State.cat([k, embedding])

    def extra_repr(self) -> str:
        return f"{self.shape}, std={plain(self.std):g}, mode={self.mode!r}, parameterization={self.parameterization!r}"
