"""What a kernel can learn: its eigenvalues, its effective dimension, and its alignment with the targets."""

from __future__ import annotations

import torch
from torch import Tensor

from .check import require_square, require_targets
from .gram import Gram, symmetric


def spectrum(k: Tensor) -> Tensor:
    """Eigenvalues (N,) of a kernel matrix, largest first; differentiable.

    Divided by N they estimate those of the kernel's operator (Koltchinskii and Gine 2000).

    Args:
        k: (N, N) symmetric.

    Raises:
        TypeError, ValueError: not a symmetric matrix of finite numbers.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.predict.spectrum(torch.tensor([[2., 1.], [1., 2.]]))
        tensor([3., 1.])
    """
    k = require_square("k", k)
    return torch.linalg.eigvalsh(symmetric(k.double())).flip(0).to(k.dtype)


def effective_dimension(k: Tensor, diag_reg: float | Tensor) -> Tensor:
    """Number of directions that ridge regression fits: tr K (K + lambda I)^-1 with lambda = diag_reg tr(K)/N; differentiable.

    Also called the degrees of freedom of the smoother; between 0 and N.

    Args:
        k: (N, N) kernel of the training points with themselves.
        diag_reg: regulariser relative to the mean of k's diagonal, a number or 0-dim tensor.

    Raises:
        SingularKernelError: K + lambda I has no inverse; names a `diag_reg` that works.
        TypeError, ValueError: not a symmetric matrix of finite numbers, a negative diag_reg.

    Zhang 2005, Learning bounds for kernel regression using effective data dimensionality.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.predict.effective_dimension(torch.eye(4), diag_reg=1.)
        tensor(2.)
    """
    gram = Gram(k, diag_reg, "k")
    return gram.solve(gram.plain).diagonal().sum().to(gram.dtype)


def alignment(k: Tensor, y: Tensor, *, centered: bool = True) -> Tensor:
    """Cosine between a kernel and that of the targets, <K, y y^T> / (|K| |y y^T|) in Frobenius' inner product; differentiable.

    Args:
        k: (N, N) kernel of the training points with themselves.
        y: (N,) or (N, O) targets, of the kernel's dtype; one-hot for labels.
        centered: both kernels in feature space, H K H with H = I - 1/N, as Cortes et al.; False as Cristianini et al.

    Raises:
        ValueError: the kernel or the targets vanish (when centered: are constant), so that there is no angle.
        TypeError, ValueError: sizes, dtypes or devices that do not fit, NaN, a matrix that is not symmetric.

    Cristianini, Shawe-Taylor, Elisseeff and Kandola 2001; Cortes, Mohri and Rostamizadeh 2012 (arXiv 1203.0550).

    Example:
        >>> import torch, torchtangents as tt
        >>> y = torch.tensor([1., -1.])
        >>> tt.predict.alignment(torch.outer(y, y) + 5, y), tt.predict.alignment(torch.eye(2), y, centered=False)
        (tensor(1.), tensor(0.7071))
    """
    k = require_square("k", k)
    outputs = require_targets(y, k, "y", "k").double().reshape(len(k), -1)  # (N, O)
    plain = symmetric(k.double())
    size, target_size = plain.detach().norm(), outputs.detach().norm()
    if centered:
        plain = plain - plain.mean(0) - plain.mean(1)[:, None] + plain.mean()
        outputs = outputs - outputs.mean(0)
    target = outputs.mT @ outputs  # (O, O), of the norm of y y^T
    for name, left, whole in (("k", plain.detach().norm(), size), ("y", outputs.detach().norm(), target_size)):
        if left <= len(k) * torch.finfo(k.dtype).eps * whole:
            kind = "one that is not constant" if centered else "one that is not zero"
            raise ValueError(f"{name}: expected {kind}, got {name} of norm {left.item():.3g}; its alignment is not defined.")
    return ((outputs * (plain @ outputs)).sum() / (plain.norm() * target.norm())).to(k.dtype)
