"""Both methods against `tt.predict` and torch.linalg, on every kernel and from everything that may hold it."""

import pytest
import torch

import torchtangents as tt
from torchtangents.scale.solution import Solution
from torchtangents.scale.solve import solve

from .solve_kernels import HOLDERS, KERNELS, TILE, handle, random

ROUNDING = 1e-12  # relative to the targets, on the training points: K (K + c I)^-1 is a contraction
DIAG_REGS = (1e-3, 0.3)


@pytest.fixture(params=KERNELS)
def problem(request):
    return KERNELS[request.param]()


def regularised(k, diag_reg):
    k = (k.double() + k.double().mT) / 2
    return k + diag_reg * k.diagonal().mean() * torch.eye(len(k), dtype=torch.float64)


def relative(residual, y):
    return residual.norm(dim=0) / y.double().norm(dim=0)


@pytest.mark.parametrize("diag_reg", DIAG_REGS)
@pytest.mark.parametrize("tile", [None, 64, 50, 1])
def test_cholesky_is_the_posterior(problem, diag_reg, tile):
    k, k_test, y = problem if tile != 1 else random(torch.float32, 30)
    solution = solve(k, y, diag_reg=diag_reg, method="cholesky", tile=tile)
    posterior = tt.predict.Posterior(k, y, diag_reg=diag_reg)
    exact = torch.linalg.solve(regularised(k, diag_reg), y.double())
    assert relative(k.double() @ (solution.alpha - exact), y).max() < ROUNDING
    torch.testing.assert_close(solution.predict(k_test), posterior.at(k_test).mean)
    assert (solution.method, solution.iterations, solution.residuals.max() < ROUNDING) == ("cholesky", 0, True)


@pytest.mark.parametrize("diag_reg", DIAG_REGS)
@pytest.mark.parametrize("tolerance", [1e-4, 1e-10])
@pytest.mark.parametrize("rank", [0, 20])
def test_cg_is_as_good_as_its_tolerance(problem, diag_reg, tolerance, rank):
    """|K (alpha - exact)| = |K Q^-1 r| <= |r|: the residual bounds the error of the predictions on the training points."""
    k, _, y = problem
    options = {"tolerance": tolerance, "preconditioner_rank": rank, "tile": TILE}
    solution = solve(k, y, diag_reg=diag_reg, method="cg", **options)
    q = regularised(k, diag_reg)
    residual = relative(y.double() - q @ solution.alpha, y)
    torch.testing.assert_close(solution.residuals, residual, rtol=1e-3, atol=ROUNDING)
    assert residual.max() <= tolerance
    exact = torch.linalg.solve(q, y.double())
    assert relative(k.double() @ (solution.alpha - exact), y).max() <= tolerance * (1 + 1e-3)
    assert solution.iterations > 0


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("method", ["cholesky", "cg"])
@pytest.mark.parametrize("kernel", ["skewed float32", "random float64"])
def test_whatever_holds_the_kernel(holder, method, kernel, tmp_path):
    k, _, y = KERNELS[kernel]()
    whole = solve(k, y, diag_reg=0.01, method=method, tolerance=1e-11)
    tile = None if "dask" in holder else TILE
    parts = solve(HOLDERS[holder](k, tmp_path), y, diag_reg=0.01, method=method, tolerance=1e-11, tile=tile)
    assert relative(k.double() @ (parts.alpha - whole.alpha), y).max() < (3e-11 if method == "cg" else ROUNDING)
    assert parts.dtype == k.dtype


@pytest.mark.parametrize("method", ["cholesky", "cg"])
def test_a_stored_kernel(method, tmp_path):
    k, k_test, y = random(torch.float32)
    other = (k + torch.eye(len(k))).contiguous()
    stored = handle(k, tmp_path / "k.zarr", nngp=other, kinds=("nngp", "ntk"))
    posterior = tt.predict.Posterior(k, y, diag_reg=0.01)
    solution = solve(stored, y, diag_reg=0.01, method=method, tolerance=1e-9)
    torch.testing.assert_close(solution.predict(handle(k_test, tmp_path / "t.zarr")), posterior.at(k_test).mean)
    nngp = solve(stored, y, diag_reg=0.01, method=method, kind="nngp", tolerance=1e-9)
    torch.testing.assert_close(nngp.predict(k_test), tt.predict.Posterior(other, y, diag_reg=0.01).at(k_test).mean)
    assert (solution.kind, nngp.kind) == ("ntk", "nngp")


def test_it_is_the_ensemble_at_infinite_time():
    draw = torch.Generator().manual_seed(3)
    x, x_test, y = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((40, 6), (9, 6), (40, 2)))
    net = torch.nn.Sequential(tt.nn.Linear(6, 8), torch.nn.ReLU(), tt.nn.Linear(8, 2))
    ensemble = tt.predict.Ensemble(net, x, y, diag_reg=1e-3)
    solution = solve(tt.ntk(net, x), y, diag_reg=1e-3, method="cg", tolerance=1e-12, tile=16)
    torch.testing.assert_close(solution.predict(tt.ntk(net, x_test, x)), ensemble.at(x_test=x_test).mean, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["cholesky", "cg"])
def test_shape_and_type_of_what_comes_back(dtype, method):
    k, k_test, y = (part.to(dtype) for part in random(torch.float64, 20))
    for targets in (y, y[:, 0], y.double().numpy(), y[:, 0].numpy()):
        solution = solve(k, targets, diag_reg=0.5, method=method)
        assert solution.alpha.shape == (20, 1 if targets.ndim == 1 else 3)
        assert (solution.alpha.dtype, solution.residuals.shape) == (torch.float64, solution.alpha.shape[1:])
        mean = solution.predict(k_test)
        assert (mean.dtype, tuple(mean.shape)) == (dtype, (len(k_test), *targets.shape[1:]))


@pytest.mark.parametrize("method", ["cholesky", "cg"])
def test_targets_of_any_scale(method):
    """Lengths are taken out first: squares of 1e200 overflow, those of 1e-200 vanish; zeros have the solution zero."""
    k, _, y = random(torch.float64, 60)
    scales = torch.tensor([1e200, 1e-200, 0.0], dtype=torch.float64)
    plain = solve(k, y, diag_reg=0.01, method=method, tolerance=1e-9)
    scaled = solve(k, y * scales, diag_reg=0.01, method=method, tolerance=1e-9)
    back = scaled.alpha / torch.where(scales > 0, scales, 1.0)
    torch.testing.assert_close(back, plain.alpha * (scales > 0), rtol=1e-6, atol=1e-8)
    assert scaled.residuals[2] == 0


def test_diag_reg_is_relative_to_the_trace():
    k, k_test, y = random(torch.float64)
    one, other = (solve(scale * k, y, diag_reg=0.1, method="cholesky") for scale in (1.0, 1e4))
    torch.testing.assert_close(one.predict(k_test), other.predict(1e4 * k_test), rtol=1e-9, atol=1e-12)
    assert one.regularizer == pytest.approx(0.1 * k.diagonal().mean().item())
    assert solve(k, y, diag_reg=torch.tensor(0.1, dtype=torch.float64)).diag_reg == 0.1


def test_auto_takes_cholesky_where_it_fits(tmp_path):
    k, _, y = random(torch.float32)
    assert solve(k, y, diag_reg=0.1).method == "cholesky"
    assert solve(k, y, diag_reg=0.1, memory=8 * len(k) ** 2).method == "cg"
    assert solve(k, y, diag_reg=0.1, checkpoint=tmp_path / "state.npz").method == "cg"


@pytest.mark.parametrize("method", ["cholesky", "cg"])
def test_save_and_load(method, tmp_path):
    k, k_test, y = random(torch.float32)
    solution = solve(k, y[:, 0], diag_reg=0.1, method=method)
    solution.save(tmp_path / "solution.pt")
    again = Solution.load(tmp_path / "solution.pt")
    assert torch.equal(again.predict(k_test), solution.predict(k_test))
    assert repr(again) == repr(solution)
    assert vars(again).keys() == vars(solution).keys()
    assert all(
        torch.equal(v, getattr(solution, n)) if n in ("alpha", "residuals") else v == getattr(solution, n)
        for n, v in vars(again).items()
    )
    with pytest.raises(AttributeError):
        again.method = "other"


def test_repr_says_how_good_it_is():
    k, _, y = random(torch.float32)
    assert repr(solve(k, y, diag_reg=0.1, method="cg")).startswith("Solution(150 points, 3 right-hand sides, cg, ")
