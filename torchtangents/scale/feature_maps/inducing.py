"""Nystrom features from landmarks, for every network."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from ...engine.progress import watched
from ...inputs import as_arguments, check_finite
from ...kernels import nngp, ntk
from ...nn.hyperparameters import skeleton
from ...predict.check import require_choice
from ...predict.gram import Gram
from .feature_map import FeatureMap
from .separate import require_separate

_VERBS = {"ntk": ntk, "nngp": nngp}


def nystrom(model: torch.nn.Module, landmarks: Tensor, *, kernel: str | Callable[..., Tensor] = "ntk") -> NystromFeatures:
    """Features from landmarks Z, of any network: phi(x) phi(x')^T = k(x, Z) k(Z, Z)^+ k(Z, x').

    phi(x) = k(x, Z) V lambda^(-1/2), from the eigenvalues lambda and eigenvectors V of k(Z, Z) in float64; those that the
    kernel's precision cannot tell from zero are left out, so landmarks may repeat. Exact wherever one of the two inputs is a
    landmark; elsewhere k - phi phi^T is positive semi-definite and shrinks with every landmark more. Cost: M kernel entries an
    input with M landmarks, and M^3 once.

    For Gaussian processes whose landmarks and hyperparameters are learned, GPyTorch has all that is needed: the kernel of
    `tt.gp` works in `gpytorch.kernels.InducingPointKernel` (Titsias 2009) and in its variational models (SVGP, Hensman et al.
    2013, arXiv 1309.6835), as the second example shows.

    Args:
        model: any network that the kernel takes. A copy is kept, for "ntk" and "nngp" without weights.
        landmarks: (M, ..) inputs, chosen by yourself, or `x[tt.scale.landmarks(model, x, M)]`.
        kernel: "ntk", "nngp", or a function k(model, x1, x2) such as `tt.empirical.ntk`.

    Raises:
        UnsupportedError, TypeError, ValueError: as `tt.ntk`; a kernel that is not symmetric or not positive semi-definite.

    Williams and Seeger 2001 (NeurIPS, "Using the Nystrom method to speed up kernel machines").

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.feature_maps import landmarks, nystrom
        >>> net = torch.nn.Sequential(tt.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(8, 1))
        >>> x = torch.randn(20, 1, 5, 5)
        >>> phi = nystrom(net, x[landmarks(net, x, 15)])
        >>> phi(x).shape
        torch.Size([20, 15])

        GPyTorch's inducing points, learned together with w_std, b_std and the noise:

        >>> import gpytorch
        >>> net = torch.nn.Sequential(tt.nn.Linear(2, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1))
        >>> class Sparse(gpytorch.models.ExactGP):
        ...     def __init__(self, x, y, z, likelihood):
        ...         super().__init__(x, y, likelihood)
        ...         self.mean_module = gpytorch.means.ZeroMean()
        ...         kernel = tt.gp.InfiniteWidthKernel(net, "ntk")
        ...         self.covar_module = gpytorch.kernels.InducingPointKernel(kernel, z, likelihood)
        ...     def forward(self, x):
        ...         return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))
        >>> x = torch.randn(100, 2).double()
        >>> model = Sparse(x, x.prod(1), x[:10].clone(), gpytorch.likelihoods.GaussianLikelihood()).double()
        >>> objective = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
        >>> (-objective(model(x), x.prod(1))).backward()
        >>> model.covar_module.inducing_points.grad.shape
        torch.Size([10, 2])
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if not callable(kernel):
        require_choice("kernel", kernel, tuple(_VERBS))
    as_arguments(landmarks, "landmarks")
    check_finite((landmarks,), "landmarks")
    if not isinstance(landmarks, Tensor) or len(landmarks) == 0:
        raise ValueError(f"landmarks: expected a tensor (M, ..) of at least one input, got {_described(landmarks)}")
    with torch.no_grad():
        return NystromFeatures(copy.deepcopy(model) if callable(kernel) else skeleton(model), landmarks.detach().clone(), kernel)


class NystromFeatures(FeatureMap):
    """The map that `tt.scale.nystrom` makes.

    Attributes:
        dim: the number of features: the rank of k(Z, Z), to the kernel's precision.
        landmarks: (M, ..).
        kernel: as asked for.
    """

    def __init__(self, net: torch.nn.Module, landmarks: Tensor, kernel: str | Callable[..., Tensor]):
        self._set(_net=net, landmarks=landmarks, kernel=kernel)
        values, vectors = Gram(self._between(landmarks, None), name="landmarks").spectrum
        kept = values > 0
        self._set(_root=vectors[:, kept] / values[kept].sqrt(), dim=int(kept.sum()))  # (M, dim)
        if not self.dim:
            raise ValueError("landmarks: expected a kernel that is not zero on all of them, got zeros")

    def _features(self, x: Tensor) -> Tensor:
        if not callable(self.kernel):
            require_separate(self._net, x)
        k = self._between(x, self.landmarks)  # (n, M)
        return (k.double() @ self._root).to(k.dtype)

    def _between(self, x1: Tensor, x2: Tensor | None) -> Tensor:
        if callable(self.kernel):
            given: Tensor = self.kernel(self._net, x1, x2)  # type: ignore[assignment]
            return given
        return _VERBS[self.kernel](self._net, x1, x2, progress=False)


def landmarks(
    model: torch.nn.Module, x: Tensor, count: int, *, kernel: str = "ntk", method: str = "pivoted",
    generator: torch.Generator | None = None, progress: bool | None = None,
) -> Tensor:  # fmt: skip
    """Indices of inputs that serve as landmarks: (count,), or fewer where they explain the kernel already.

    "pivoted": greedily the input whose kernel the landmarks so far explain least, the pivots of a Cholesky factorisation; count
    rows of the kernel, 8 N count bytes. "random": without repetition.

    Args:
        model, x: as in `tt.ntk`.
        count: how many, at most N.
        kernel: "ntk" or "nngp".
        method: "pivoted" or "random".
        generator: source of randomness, on the CPU; None is torch's default.
        progress: as in `tt.ntk`.

    Raises:
        UnsupportedError, TypeError, ValueError: as `tt.ntk`; a count that is not from 1 to N.

    Harbrecht, Peters and Schneider 2012 (Applied Numerical Mathematics 62(4), 428-440).

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.feature_maps import landmarks
        >>> landmarks(tt.nn.Linear(1, 1), torch.tensor([[1.], [-3.], [2.]]), 1)
        tensor([1])
    """
    require_choice("kernel", kernel, tuple(_VERBS))
    require_choice("method", method, ("pivoted", "random"))
    as_arguments(x, "x")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(x):
        raise ValueError(f"count: expected a number of landmarks from 1 to {len(x)}, got {count!r}")
    if method == "random":
        device = "cpu" if generator is None else generator.device
        return torch.randperm(len(x), generator=generator, device=device)[:count].to(x.device)
    with torch.no_grad():
        return _pivots(_VERBS[kernel], skeleton(model), x, count, progress)


def _pivots(verb: Callable[..., Tensor], net: torch.nn.Module, x: Tensor, count: int, progress: bool | None) -> Tensor:
    diagonal = verb(net, x, diagonal=True, progress=False)
    left = diagonal.double()  # (N,) what is not explained yet
    least = 16 * torch.finfo(diagonal.dtype).eps * left.max()
    factor, chosen = left.new_zeros(count, len(left)), []
    for m in watched(list(range(count)), progress, "landmarks", "landmark"):
        i = int(left.argmax())
        if left[i] <= least:
            break
        row = verb(net, x[i : i + 1], x, progress=False)[0].double()
        factor[m] = (row - factor[:m, i] @ factor[:m]) / left[i].sqrt()
        left = left - factor[m].square()
        chosen.append(i)
        left[chosen] = 0.0
    return torch.tensor(chosen, dtype=torch.long, device=x.device)


def _described(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
