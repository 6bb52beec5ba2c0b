"""Bad input gets an error that says what was expected, what arrived and what to do; never a number."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import torchtangents as tt
from torchtangents.predict import Posterior, SingularKernelError
from torchtangents.scale.solution import Solution
from torchtangents.scale.solve import solve

from .solve_kernels import TILE, handle, lazily, random, zarr_array

K, K_TEST, Y = random(torch.float32, 100)


def spoiled(row, column, value, both=True, k=K):
    k = k.clone()
    k[row, column] = value
    if both:
        k[column, row] = value
    return k


def refusal(call, *arguments, **options):
    """The SingularKernelError of a call, or None."""
    try:
        call(*arguments, **options)
    except SingularKernelError as error:
        return error


@pytest.mark.parametrize("method", ["cholesky", "cg"])
@pytest.mark.parametrize(
    ("k", "y", "options", "error", "message"),
    [
        (K[:50], Y, {}, ValueError, r"k_train_train: expected a square matrix \(N, N\).*got \(50, 100\)"),
        (K[:0, :0], Y[:0], {}, ValueError, "N >= 1"),
        (K[None], Y, {}, ValueError, r"got \(1, 100, 100\)"),
        (K.tolist(), Y, {}, TypeError, r"k_train_train: expected a stored kernel, or an array that slices .*got list"),
        (K.int(), Y, {}, TypeError, "k_train_train: expected floating point numbers of at most 64 bits, got torch.int32"),
        (K.numpy().astype(np.longdouble), Y, {}, TypeError, "at most 64 bits, got float128"),
        (K.to(torch.complex64), Y, {}, TypeError, "floating point numbers"),
        (K.to("meta"), Y, {}, ValueError, r"in the computer's memory, got one on meta; pass k.cpu\(\)"),
        (
            spoiled(70, 5, float("nan")),
            Y,
            {},
            ValueError,
            r"k_train_train: expected finite numbers, got nan at index \(5, 70\), in tile \(0, 1\) of 64 x 64; .*verify",
        ),
        (spoiled(70, 5, float("inf"), both=False), Y, {}, ValueError, r"got inf at index \(5, 70\), in tile \(0, 1\)"),
        (spoiled(99, 99, float("-inf")), Y, {}, ValueError, r"got -inf at index \(99, 99\), in tile \(1, 1\)"),
        (
            spoiled(70, 5, 9.0, both=False),
            Y,
            {},
            ValueError,
            "expected a symmetric matrix, got entries that differ by .* mirror image",
        ),
        (spoiled(5, 3, 9.0, both=False), Y, {}, ValueError, "expected a symmetric matrix"),
        (K, Y[:99], {}, ValueError, r"y_train: expected shape \(100,\) or \(100, outputs\), got \(99, 3\); one row for each"),
        (K, Y[None], {}, ValueError, "one row for each training point"),
        (K, Y[:, :, None], {}, ValueError, r"got \(100, 3, 1\)"),
        (K, Y[:, :0], {}, ValueError, r"got \(100, 0\)"),
        (K, torch.tensor(1.0), {}, ValueError, r"got \(\)"),
        (K, Y.tolist(), {}, TypeError, "y_train: expected a torch.Tensor or a numpy array, got list"),
        (K, Y.long(), {}, TypeError, "y_train: expected floating point.*one_hot"),
        (K, Y.long().numpy(), {}, TypeError, "y_train: .* got int64; make labels one-hot"),
        (K, Y.to(torch.complex64), {}, TypeError, "y_train"),
        (
            K,
            Y.to("meta"),
            {},
            ValueError,
            r"y_train: expected a tensor in the computer's memory, got one on meta; pass y.cpu\(\)",
        ),
        (
            K,
            spoiled(0, 1, float("nan"), both=False, k=Y),
            {},
            ValueError,
            r"y_train: expected finite numbers, got nan at index \(0, 1\)",
        ),
        (K, Y, {"diag_reg": -1.0}, ValueError, "diag_reg: expected a finite number >= 0, got -1.0"),
        (K, Y, {"diag_reg": float("nan")}, ValueError, "diag_reg"),
        (K, Y, {"diag_reg": "auto"}, ValueError, "diag_reg: .*'auto'"),
        (K, Y, {"kind": "nngp2"}, ValueError, "kind: expected one of 'nngp', 'ntk', got 'nngp2'"),
        (K, Y, {"tolerance": 0}, ValueError, "tolerance: expected a finite number > 0"),
        (K, Y, {"max_iterations": 0}, ValueError, "max_iterations: expected a whole number >= 1, got 0"),
        (K, Y, {"preconditioner_rank": -1}, ValueError, "preconditioner_rank: expected a whole number >= 0, got -1"),
        (K, Y, {"preconditioner_rank": 1.5}, ValueError, "preconditioner_rank"),
        (K, Y, {"tile": 0}, ValueError, "tile: expected a whole number >= 1"),
        (K, Y, {"memory": True}, ValueError, "memory: expected a whole number >= 1, got True"),
        (K, Y, {"checkpoint_interval": -1}, ValueError, "checkpoint_interval: expected a finite number >= 0"),
    ],
)
def test_solve(k, y, options, error, message, method):
    with pytest.raises(error, match=message):
        solve(k, y, **{"diag_reg": 0.01, "method": method, "tile": TILE} | options)


def test_nan_is_found_wherever_the_kernel_lies(tmp_path):
    k = spoiled(70, 5, float("nan"))
    for held in (zarr_array(k, tmp_path / "k.zarr", (64, 64)), lazily(k, (64, 64)), handle(k, tmp_path / "h.zarr", 64)):
        with pytest.raises(ValueError, match=r"index \(5, 70\), in tile \(0, 1\) of 64 x 64"):
            solve(held, Y, diag_reg=0.01, tile=TILE)


def test_a_damaged_file_is_refused(tmp_path):
    """Where zarr keeps checksums, as `tt.scale.compute` does."""
    import zarr

    k = K.contiguous().numpy()
    codec = zarr.codecs.Crc32cCodec()
    array = zarr.create_array(str(tmp_path / "k"), shape=k.shape, chunks=(50, 50), dtype="f4", compressors=[codec])
    array[:] = k
    solution = solve(array, Y, diag_reg=0.1, tile=50)
    (chunk,) = (path for path in (tmp_path / "k").rglob("1") if path.is_file() and path.parent.name == "0")
    content = bytearray(chunk.read_bytes())
    content[1000] ^= 1
    chunk.write_bytes(content)
    for call in (lambda: solve(array, Y, diag_reg=0.1, tile=50), lambda: solution.predict(array)):
        with pytest.raises(ValueError, match=r"damaged in rows 0 to \d+ and columns \d+ to 100 \(.*verify"):
            call()


def test_methods():
    with pytest.raises(ValueError, match="method: expected one of 'auto', 'cholesky', 'cg', got 'lu'"):
        solve(K, Y, method="lu")
    with pytest.raises(ValueError, match='checkpoint: expected method="cg" or "auto" with it'):
        solve(K, Y, method="cholesky", checkpoint="state.npz")
    with pytest.raises(FileNotFoundError, match=r"checkpoint: expected an existing folder, got /nowhere/at all; make it first"):
        solve(K, Y, method="cg", checkpoint="/nowhere/at all/state.npz")
    with pytest.raises(
        MemoryError, match=r'method="cholesky": expected .* GiB of memory for 100 points .* 1e-06 GiB|GiB free; use method="cg"'
    ):
        solve(K, Y, method="cholesky", memory=1000)


@pytest.mark.parametrize("y", [Y, torch.ones(100)])
@pytest.mark.parametrize("diag_reg", [0.0, 1e-10, 1e-3])
@pytest.mark.parametrize("kernel", ["duplicates", "indefinite", "rank one", "zero"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_kernels_are_refused_as_by_the_posterior(y, diag_reg, kernel, dtype):
    """The same words, eigenvalue and remedy, wherever the posterior refuses; where it does not, the same numbers."""
    k = K[:50, :50].to(dtype)
    k = {
        "duplicates": torch.cat([torch.cat([k, k])] * 2, 1),
        "indefinite": torch.block_diag(k, k - 0.5 * torch.eye(50, dtype=dtype)),
        "rank one": torch.ones(100, 100, dtype=dtype),
        "zero": torch.zeros(100, 100, dtype=dtype),
    }[kernel]
    y = y.to(dtype)
    error = refusal(Posterior, k, y, diag_reg=diag_reg)
    if error is None:
        solution, expected = solve(k, y, diag_reg=diag_reg, method="cholesky", tile=TILE), Posterior(k, y, diag_reg=diag_reg)
        torch.testing.assert_close(solution.predict(k), expected.at(k).mean, rtol=1e-4, atol=max(1e-4, 1e-13 / diag_reg))
        return
    ours = refusal(solve, k, y, diag_reg=diag_reg, method="cholesky", tile=TILE)
    mine, theirs = (re.sub(r"eigenvalue is \S+ of", "eigenvalue is ... of", str(e)) for e in (ours, error))
    assert mine == theirs.replace(", or jitter=True", "")
    assert ours.diag_reg == error.diag_reg
    assert ours.smallest_eigenvalue == pytest.approx(error.smallest_eigenvalue, abs=1e-12, nan_ok=True)


def test_a_nearly_singular_kernel_that_is_none_keeps_its_factor():
    """Where the factor's diagonal asks for the spectrum, and the spectrum allows it, the answer is that of the factor."""
    k = torch.diag(torch.logspace(0, -5, 100, dtype=torch.float64)).float()
    solution = solve(k, torch.ones(100), method="cholesky", tile=TILE)
    torch.testing.assert_close(solution.alpha[:, 0], 1 / k.double().diagonal())


def test_stored_kernels(tmp_path):
    stored = handle(K, tmp_path / "k.zarr")
    with pytest.raises(
        ValueError, match=r"expected kind='nngp' in the stored kernel .*k.zarr, got \('ntk',\); pass kind=, or compute it"
    ):
        solve(stored, Y, kind="nngp")
    half = SimpleNamespace(**vars(stored) | {"complete": False, "progress": 0.5})
    with pytest.raises(
        ValueError, match=r"expected a complete kernel, got .*k.zarr with 50% of its tiles; call tt.scale.compute again"
    ):
        solve(half, Y)
    other = SimpleNamespace(**vars(stored) | {"symmetric": False})
    with pytest.raises(ValueError, match=r"got \(100, 100\) of different x1 and x2; pass the kernel of x_train with itself"):
        solve(other, Y)
    solution = solve(stored, Y, diag_reg=0.1)
    with pytest.raises(ValueError, match="k_test_train: expected a complete kernel"):
        solution.predict(half)


@pytest.mark.parametrize(
    ("k", "options", "error", "message"),
    [
        (K_TEST.double(), {}, TypeError, "k_test_train is torch.float64 but the training kernel was torch.float32"),
        (K_TEST[:, :99], {}, ValueError, r"k_test_train: expected shape \(any, 100\), got \(41, 99\)"),
        (K_TEST[0], {}, ValueError, r"got \(100,\)"),
        (K_TEST.tolist(), {}, TypeError, "got list"),
        (
            spoiled(7, 90, float("nan"), both=False, k=K_TEST),
            {},
            ValueError,
            r"k_test_train: expected finite numbers, got nan at index \(7, 90\)",
        ),
        (spoiled(40, 3, float("inf"), both=False, k=K_TEST), {"rows": 3}, ValueError, r"got inf at index \(40, 3\)"),
        (K_TEST, {"rows": 0}, ValueError, "rows: expected a number of test points >= 1, got 0"),
        (K_TEST, {"rows": 1.0}, ValueError, "rows: "),
    ],
)
def test_predict(k, options, error, message):
    with pytest.raises(error, match=message):
        solve(K, Y, diag_reg=0.1).predict(k, **options)


def test_the_file_of_something_else(tmp_path):
    torch.save(tt.predict.Posterior(K, Y, diag_reg=0.1).state_dict(), tmp_path / "posterior.pt")
    with pytest.raises(ValueError, match="expected the state_dict of a Solution, got one of a Posterior"):
        Solution.load(tmp_path / "posterior.pt")


def test_a_client_needs_a_kernel_that_workers_can_read():
    with pytest.raises(
        TypeError, match=r"with client=, got Tensor, which every iteration would send .*leave client out, or store it"
    ):
        solve(K, Y, diag_reg=0.1, client=object())
