"""Agreement with neural-tangents 0.6.5 (golden/make.py)."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from torchtangents.predict import Ensemble, GradientFlow, Posterior, max_learning_rate

TRAIN, TEST = slice(0, 12), slice(12, 17)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(Path(__file__).parent / "golden" / "golden.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture(params=["plain", "reg"])
def reg(request, golden) -> tuple[str, float]:
    return request.param, golden["reg"].item() if request.param == "reg" else 0.0


def close(value: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_gradient_flow(golden, reg):
    name, diag_reg = reg
    ntk, rate = golden["ntk"], golden["rate"].item()
    flow = GradientFlow(ntk[TRAIN, TRAIN], golden["y_train"], learning_rate=rate, diag_reg=diag_reg)
    for t, suffix in ((golden["times"], ""), (None, "_inf")):
        train, test = flow.at(t, golden["f_train"], golden["f_test"], ntk[TEST, TRAIN])
        close(train, golden[f"flow_{name}_train{suffix}"])
        close(test, golden[f"flow_{name}_test{suffix}"])


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
@pytest.mark.parametrize("where", ["train", "test"])
def test_ensemble(golden, reg, kernel, where, table, fake_kernels):
    name, diag_reg = reg
    index = torch.arange(17.0, dtype=torch.float64)[:, None]
    net = table(golden["nngp"], golden["ntk"])
    rate = golden["rate"].item()
    ensemble = Ensemble(net, index[TRAIN], golden["y_train"], kernel=kernel, learning_rate=rate, diag_reg=diag_reg)
    x = None if where == "train" else index[TEST]
    for t, when in ((golden["times"], "t"), (None, "inf")):
        mean, covariance = ensemble.at(t, x)
        close(mean, golden[f"ensemble_{name}_{kernel}_{when}_{where}_mean"])
        close(covariance, golden[f"ensemble_{name}_{kernel}_{when}_{where}_cov"])
        variance = ensemble.at(t, x, "diagonal").covariance
        close(variance, covariance.diagonal(dim1=-2, dim2=-1))


@pytest.mark.parametrize("kernel", ["nngp", "ntkgp"])
def test_gaussian_process(golden, reg, kernel, table, fake_kernels):
    name, diag_reg = reg
    k = golden["nngp" if kernel == "nngp" else "ntk"]
    mean, covariance = golden[f"gp_{name}_{kernel}_mean"], golden[f"gp_{name}_{kernel}_cov"]
    posterior = Posterior(k[TRAIN, TRAIN], golden["y_train"], diag_reg=diag_reg)
    found = posterior.at(k[TEST, TRAIN], k[TEST, TEST])
    close(found.mean, mean)
    close(found.covariance, covariance)
    close(posterior.at(k[TEST, TRAIN], k[TEST, TEST].diagonal()).covariance, covariance.diagonal())
    index = torch.arange(17.0, dtype=torch.float64)[:, None]
    net = table(golden["nngp"], golden["ntk"])
    found = Ensemble(net, index[TRAIN], golden["y_train"], kernel=kernel, diag_reg=diag_reg).at(None, index[TEST])
    close(found.mean, mean)
    close(found.covariance, covariance)


@pytest.mark.parametrize("where", ["train", "test"])
def test_ntkgp_at_finite_times(golden, reg, where, table, fake_kernels):
    """neural-tangents has none: randomised priors are draws of a GP of kernel T, trained by T + diag_reg. Mean B y and
    covariance T** - T* Q^-1 (I - e^{-2Qs}) T*', by scipy's matrix exponential, on the golden matrices at the golden times."""
    ntk, rate, y = golden["ntk"].numpy(), golden["rate"].item(), golden["y_train"].numpy()
    tangent = ntk[TRAIN, TRAIN]
    driving = tangent + reg[1] * np.trace(tangent) / 12 * np.eye(12)
    index = torch.arange(17.0, dtype=torch.float64)[:, None]
    net = table(golden["nngp"], golden["ntk"])
    options = {"kernel": "ntkgp", "learning_rate": rate, "diag_reg": reg[1]}
    ensemble = Ensemble(net, index[TRAIN], golden["y_train"], **options)
    rows = TRAIN if where == "train" else TEST
    mean, covariance = ensemble.at(golden["times"], index[rows].clone())
    solved = np.linalg.solve(driving, ntk[TRAIN, rows]).T
    for i, t in enumerate(golden["times"].tolist()):
        left = scipy.linalg.expm(-driving * t * rate / y.size)
        close(mean[i], torch.from_numpy(solved @ (np.eye(12) - left) @ y))
        close(covariance[i], torch.from_numpy(ntk[rows, rows] - solved @ (np.eye(12) - left @ left) @ ntk[TRAIN, rows]))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_max_learning_rate(golden, momentum):
    rate = max_learning_rate(golden["ntk"][TRAIN, TRAIN], y_train_size=24, momentum=momentum)
    assert rate == pytest.approx(golden[f"rate_{momentum}"].item(), rel=1e-10)
