"""Conjugate gradients: one reading an iteration, columns that stop by themselves, what it refuses, and being taken up again."""

import os

import pytest
import torch

from torchtangents.predict import SingularKernelError
from torchtangents.scale import cg_checkpoint, square
from torchtangents.scale.preconditioner import Preconditioner
from torchtangents.scale.products import Here
from torchtangents.scale.solution import ConvergenceError
from torchtangents.scale.solve import solve
from torchtangents.scale.square import Square

from .solve_kernels import KERNELS, TILE, digits, handle, random, zarr_array

OPTIONS = {"diag_reg": 1e-3, "method": "cg", "tile": TILE, "preconditioner_rank": 10}


class Counter:
    """Counts what is read of an array, by entries."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.reads = array, array.shape, array.dtype, []

    def __getitem__(self, index):
        part = self.array[index]
        self.reads.append(part.size)
        return part


@pytest.fixture
def products(monkeypatch):
    """The vectors that every product with the matrix was taken of; `fail_at` stops the run there."""

    class Spy(list):
        fail_at = None

    seen, original = Spy(), Here.__call__

    def spy(self, p):
        if len(seen) == seen.fail_at:
            raise KeyboardInterrupt
        seen.append(p.clone())
        return original(self, p)

    monkeypatch.setattr(Here, "__call__", spy)
    return seen


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("tile", [None, 64, 50, 7])
def test_product_is_that_of_the_whole_matrix(kernel, tile):
    k, _, y = KERNELS[kernel]()
    square = Square("k", k, "ntk", tile)
    for _ in range(2):  # before and after the survey has found the triangles equal
        torch.testing.assert_close(
            Here(square)(y.double()), (k.double() + k.double().mT) / 2 @ y.double(), rtol=1e-13, atol=1e-10
        )
        Here(square).survey()


@pytest.mark.parametrize("room", [None, 0, 1 << 20])
def test_every_tile_is_read_once_an_iteration_and_only_the_upper_triangle(room):
    k, _, y = random(torch.float32, 160)
    array = Counter(k.numpy())
    entries = 160 * 160
    upper = (entries + 64 * 64 * 2 + 32 * 32) // 2
    if room is None:
        solution = solve(array, y, **OPTIONS | {"preconditioner_rank": 0}, memory=1)
        assert sum(array.reads) == entries + upper * (solution.iterations + 1)
        return
    kernel = Square("k", array, "ntk", 64)
    kernel.hold(room)
    engine = Here(kernel)
    engine.survey()
    array.reads.clear()
    p = y.double()
    torch.testing.assert_close(engine(p), k.double() @ p)
    assert sum(array.reads) == (0 if room else upper)
    torch.testing.assert_close(kernel.row(70), k[70].double())


def test_only_rank_rows_are_read_for_the_preconditioner():
    k, _, _ = random(torch.float32)
    array = Counter(k.numpy())
    kernel = Square("k", array, "ntk", 64)
    diagonal = Here(kernel).survey().diagonal
    array.reads.clear()
    assert Preconditioner(kernel, diagonal, 0.1, 12).rank == 12
    assert array.reads == [150] * 12


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rank", [1, 30, 10_000])
@pytest.mark.parametrize("shift", [0.0, 1e-3, 10.0])
def test_preconditioner_is_the_inverse_of_factor_and_shift(kernel, rank, shift):
    """Against linear_operator's factor of the dense matrix; with all rows the preconditioner is the inverse of Q."""
    from linear_operator import pivoted_cholesky

    k, _, y = KERNELS[kernel]()
    kernel = Square("k", k, "ntk", 64)
    diagonal = Here(kernel).survey().diagonal
    inverse = Preconditioner(kernel, diagonal, shift, rank)
    r = y.double()
    if shift:
        factor = pivoted_cholesky((k.double() + k.double().mT) / 2, inverse.rank, error_tol=0.0)
        p = factor @ factor.mT + shift * torch.eye(len(k))
        torch.testing.assert_close(p @ inverse(r), r, rtol=1e-5, atol=1e-5)
    quadratic = (r * inverse(r)).sum(0)
    assert bool((quadratic > 0).all())
    assert bool(inverse(r).isfinite().all())


@pytest.mark.parametrize("kernel", ["random float32", "digits float32"])
def test_a_preconditioner_saves_iterations(kernel):
    k, _, y = KERNELS[kernel]()
    without, some, many = (solve(k, y, **OPTIONS | {"preconditioner_rank": rank}).iterations for rank in (0, 30, 100))
    assert many < some < without


def test_columns_stop_by_themselves(products):
    """An eigenvector is solved in one step; then the others go on without it, and do not notice."""
    k, _, y = random(torch.float64)
    easy = torch.linalg.eigh(k)[1][:, -1:]
    # far enough for the bound below: on some processors the rounding of a product depends on its width
    options = OPTIONS | {"preconditioner_rank": 0, "tolerance": 1e-12}
    together = solve(k, torch.cat([y, easy], 1), **options)
    widths = [p.shape[1] for p in products]
    assert widths[0] == 4
    assert widths[1:-1] == sorted(widths[1:-1], reverse=True)
    assert 1 <= min(widths) < widths[1] == 3
    assert widths[-1] == 4  # the true residuals
    alone = solve(k, y, **options)
    torch.testing.assert_close(together.alpha[:, :3], alone.alpha, rtol=1e-9, atol=1e-12)


def test_dependent_right_hand_sides():
    """Targets of rank 1, which break true block conjugate gradients."""
    k, _, y = random(torch.float64)
    solution = solve(k, y[:, :1] * torch.tensor([[1.0, -2.0, 1e-9]]), **OPTIONS | {"tolerance": 1e-12})
    torch.testing.assert_close(solution.alpha[:, 1], -2 * solution.alpha[:, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("stop", [0, 1, 5, 11])
@pytest.mark.parametrize("rank", [0, 10])
@pytest.mark.parametrize("stored", [False, True])
def test_taken_up_again_it_gives_the_same_bits(stop, rank, stored, products, tmp_path):
    k, _, y = digits(torch.float32)
    if stored:
        k = handle(k, tmp_path / "k.zarr")
    options = OPTIONS | {"preconditioner_rank": rank, "checkpoint_interval": 0, "tolerance": 1e-9}
    whole = solve(k, y, **options)
    directions = [p for p in products]
    products.clear()
    products.fail_at = stop
    with pytest.raises(KeyboardInterrupt):
        solve(k, y, **options, checkpoint=tmp_path / "state.npz")
    assert (tmp_path / "state.npz").exists() == (stop > 0)
    products.fail_at = None
    again = solve(k, y, **options, checkpoint=tmp_path / "state.npz")
    assert torch.equal(again.alpha, whole.alpha)
    assert torch.equal(again.residuals, whole.residuals)
    assert again.iterations == whole.iterations
    assert all(torch.equal(p, q) for p, q in zip(products, directions, strict=True))
    products.clear()
    finished = solve(k, y, **options, checkpoint=tmp_path / "state.npz")
    assert torch.equal(finished.alpha, whole.alpha)
    assert len(products) == 1  # the true residuals


def test_more_iterations_and_a_smaller_tolerance_go_on(tmp_path):
    k, _, y = random(torch.float32)
    options = OPTIONS | {"checkpoint": tmp_path / "state.npz"}
    with pytest.raises(ConvergenceError, match=r"max_iterations=4 is used up") as caught:
        solve(k, y, **options, max_iterations=4)
    assert caught.value.solution.iterations == 4
    assert caught.value.solution.residuals.max() > 1e-6
    first = solve(k, y, **options)
    assert first.residuals.max() <= 1e-6
    second = solve(k, y, **options | {"tolerance": 1e-10})
    assert second.residuals.max() <= 1e-10
    one = options | {"checkpoint": tmp_path / "one.npz"}
    solve(k, y[:, 0], **one)
    resumed, straight = solve(k, y[:, 0], **one | {"tolerance": 1e-10}), solve(k, y[:, 0], **OPTIONS | {"tolerance": 1e-10})
    assert torch.equal(resumed.alpha, straight.alpha)  # one column that had not stopped before is where it would have been


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 1.0001}, r"differs in k_train_train \("),
        ({"y": 1.5}, r"differs in y_train \("),
        ({"diag_reg": 2e-3}, r"differs in diag_reg \(0.001 there, 0.002 here\)"),
        ({"preconditioner_rank": 11}, r"differs in preconditioner_rank \(10 there, 11 here\)"),
        ({"tile": 32}, r"differs in k_train_train \("),
        ({"columns": 2}, r"differs in y_train \("),
    ],
)
def test_a_checkpoint_of_another_solve_is_refused(change, message, tmp_path):
    k, _, y = random(torch.float32)
    options = OPTIONS | {"checkpoint": tmp_path / "state.npz"}
    solve(k, y, **options)
    k, y = k * change.pop("k", 1.0), y[:, : change.pop("columns", 3)] * change.pop("y", 1.0)
    with pytest.raises(ValueError, match=message):
        solve(k, y, **options | change)


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:3000] + b"\0\1\2\3\4\5\6\7" + b[3008:]])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    k, _, y = random(torch.float32)
    path = tmp_path / "state.npz"
    solve(k, y, **OPTIONS, checkpoint=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"cannot be read, .*state.npz .*delete it to start anew"):
        solve(k, y, **OPTIONS, checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    k, _, y = random(torch.float32)
    path = tmp_path / "state.npz"
    whole = solve(k, y, **OPTIONS)
    with pytest.raises(ConvergenceError):
        solve(k, y, **OPTIONS, checkpoint=path, max_iterations=3)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cg_checkpoint.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            solve(k, y, **OPTIONS, checkpoint=path, checkpoint_interval=0)
    assert os.listdir(tmp_path) == ["state.npz"]
    assert torch.equal(solve(k, y, **OPTIONS, checkpoint=path).alpha, whole.alpha)


def test_the_interval_spares_writes(tmp_path, monkeypatch):
    k, _, y = random(torch.float32)
    writes = []
    monkeypatch.setattr(cg_checkpoint, "write", lambda path, tensors, header: writes.append(int(tensors["iteration"])))
    solution = solve(k, y, **OPTIONS, checkpoint=tmp_path / "state.npz", checkpoint_interval=3600)
    assert writes == [solution.iterations]


def test_rounding_is_reported():
    k, _, y = random(torch.float64)
    with pytest.raises(
        ConvergenceError, match=r"at most 1e-17, got .* rounding .* larger tolerance, or a larger diag_reg"
    ) as caught:
        solve(k, y, **OPTIONS | {"tolerance": 1e-17})
    assert caught.value.solution.residuals.max() < 1e-13
    assert caught.value.solution.iterations < 200


def test_a_true_residual_that_the_recursion_hides(monkeypatch):
    """A product that is wrong once puts the recursion off; the true residual at the end finds it, and a restart mends it."""
    k, _, y = random(torch.float64)
    original, calls = Here.__call__, []

    def wrong_once(self, p):
        calls.append(p)
        return original(self, p) * (1.01 if len(calls) == 12 else 1.0)

    monkeypatch.setattr(Here, "__call__", wrong_once)
    solution = solve(k, y, **OPTIONS | {"tolerance": 1e-8})
    exact = torch.linalg.solve(k + 1e-3 * k.diagonal().mean() * torch.eye(len(k)), y)
    assert (k @ (solution.alpha - exact)).norm() <= 2e-8 * y.norm()


@pytest.mark.parametrize("rank", [0, 10])
def test_negative_curvature_is_refused(rank):
    k, _, y = random(torch.float64)
    values, vectors = torch.linalg.eigh(k)
    values[:3] = -0.2
    k = vectors * values @ vectors.mT
    k = (k + k.mT) / 2
    options = OPTIONS | {"preconditioner_rank": rank}
    with pytest.raises(
        SingularKernelError, match=r"diag_reg=0.001 is not positive definite.*pass diag_reg=.*, or more"
    ) as caught:
        solve(k, y, **options)
    assert -0.2 / k.diagonal().mean() <= caught.value.smallest_eigenvalue < 0  # a bound from above
    assert solve(k, y, **options | {"diag_reg": max(0.1, caught.value.diag_reg)}).residuals.max() <= 1e-6


def test_duplicates_without_diag_reg_are_refused():
    """In float32 the kernel of equal inputs is singular to rounding: `predict` refuses it, and so does every method here."""
    k, _, y = random(torch.float32)
    twice = torch.cat([torch.arange(150), torch.arange(150)])
    k, y = k[twice][:, twice].contiguous(), torch.cat([y, -y])
    for method in ("cholesky", "cg"):
        with pytest.raises(SingularKernelError, match="diag_reg="):
            solve(k, y, diag_reg=0.0, method=method, max_iterations=100_000)


def test_a_diagonal_below_zero_is_refused():
    k = torch.eye(5)
    k[3, 3] = -2.0
    with pytest.raises(SingularKernelError, match=r"its diagonal is -2 at index 3; check the kernel"):
        solve(k, torch.ones(5), diag_reg=0.1, method="cg")


def test_tiles_are_held_while_there_is_room(tmp_path):
    k, _, y = random(torch.float32)
    array = zarr_array(k, tmp_path / "k.zarr", (50, 50))
    kernel = square.Square("k", array, "ntk", 50)
    kernel.hold(50 * 50 * 4 * 2)
    Here(kernel).survey()
    assert len(kernel._held) == 2
    torch.testing.assert_close(Here(kernel)(y.double()), k.double() @ y.double())
    for n in (0, 49, 50, 149):
        assert torch.equal(kernel.row(n), k[n].double())


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_tells_the_residual(progress, capfd):
    k, _, y = random(torch.float32)
    solve(k, y, **OPTIONS, progress=progress)
    shown = capfd.readouterr().err
    assert ("cg: " in shown and "residual " in shown) == progress
