"""Predictions from test tiles, read a part at a time, are those of the whole matrix."""

import pytest
import torch

from torchtangents.scale.solve import solve

from .solve_kernels import HOLDERS, KERNELS, handle, random


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rows", [None, 1, 7, 1000])
def test_streamed_is_dense(kernel, rows):
    k, k_test, y = KERNELS[kernel]()
    solution = solve(k, y, diag_reg=0.01)
    torch.testing.assert_close(solution.predict(k_test, rows=rows), (k_test.double() @ solution.alpha).to(k.dtype))


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("rows", [None, 10])
def test_from_whatever_holds_it(holder, rows, tmp_path):
    k, k_test, y = random(torch.float32)
    solution = solve(k, y, diag_reg=0.01)
    expected = (k_test.double() @ solution.alpha).float()
    for m in (1, 41):
        path = tmp_path / str(m)
        path.mkdir()
        torch.testing.assert_close(solution.predict(HOLDERS[holder](k_test[:m], path), rows=rows), expected[:m])


def test_a_stored_kernel_and_no_test_points(tmp_path):
    k, k_test, y = random(torch.float32)
    solution = solve(k, y, diag_reg=0.01)
    torch.testing.assert_close(solution.predict(handle(k_test, tmp_path / "k.zarr", 16)), solution.predict(k_test))
    assert solution.predict(k_test[:0]).shape == (0, 3)


def test_rows_at_a_time():
    """No part that is read has more rows than were asked for."""
    k, k_test, y = random(torch.float32)
    solution = solve(k, y, diag_reg=0.01)
    parts = []

    class Spy:
        shape, dtype = tuple(k_test.shape), k_test.dtype

        def __getitem__(self, index):
            parts.append(k_test[index].shape[0])
            return k_test[index]

    torch.testing.assert_close(solution.predict(Spy(), rows=16), solution.predict(k_test))
    assert parts == [16, 16, 9]
