"""Pictures: what is drawn is what the ensemble says; axes, labels, legends, refusals."""

import subprocess
import sys

import pytest
import torch

import torchtangents as tt

matplotlib = pytest.importorskip("matplotlib")
np = pytest.importorskip("numpy")


@pytest.fixture(autouse=True)
def screenless(monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@pytest.fixture
def ensemble():
    net = torch.nn.Sequential(tt.nn.Linear(1, 8, w_std=1.5), tt.nn.Erf(), tt.nn.Linear(8, 2))
    x = torch.linspace(-1, 1, 5)[:, None]
    return tt.predict.Ensemble(net, x, torch.cat([x.sin(), x.cos()], 1), diag_reg=1e-3)


X = torch.tensor([[0.7], [-1.5], [0.1], [1.5]])


def edges(band) -> tuple:
    """Lowest and highest of a band at each of its places."""
    points = band.get_paths()[0].vertices
    places = np.unique(points[:, 0])
    return tuple(np.array([pick(points[points[:, 0] == p, 1]) for p in places]) for pick in (np.min, np.max))


def close(found, expected):
    torch.testing.assert_close(torch.as_tensor(np.asarray(found)).double(), expected.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", [0, 1])
def test_function_bands_are_mean_and_deviation(ensemble, output):
    ax = tt.plot.function_bands(ensemble, X, [0.0, 30.0, None], stds=1.5, output=output)
    order = X[:, 0].argsort()
    assert len(ax.collections) == 3
    for line, band, t in zip(ax.lines, ax.collections, [0.0, 30.0, None], strict=False):
        mean, variance = ensemble.at(t, X[order], "diagonal")
        close(line.get_xdata(), X[order, 0])
        close(line.get_ydata(), mean[:, output])
        low, high = edges(band)
        close(low, mean[:, output] - 1.5 * variance.sqrt())
        close(high, mean[:, output] + 1.5 * variance.sqrt())
    close(ax.lines[3].get_ydata(), ensemble.y_train[:, output])
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["t = 0", "t = 30", "t = ∞", "training points"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input", "output")
    assert "1.5 standard deviations" in ax.get_title()


@pytest.mark.parametrize(("times", "scale"), [([1.0, 10, 100], "log"), ([0.0, 1, 10], "symlog"), ([100.0, 1, 10], "log")])
def test_output_bands_are_mean_and_deviation(ensemble, times, scale):
    ax = tt.plot.output_bands(ensemble, X[:2], times, output=1)
    mean, variance = ensemble.at(torch.tensor(sorted(times)), X[:2], "diagonal")
    assert ax.get_xscale() == scale
    for i in range(2):
        close(ax.lines[i].get_xdata(), torch.tensor(sorted(times)))
        close(ax.lines[i].get_ydata(), mean[:, i, 1])
        low, high = edges(ax.collections[i])
        close(low, mean[:, i, 1] - 2 * variance[:, i].sqrt())
        close(high, mean[:, i, 1] + 2 * variance[:, i].sqrt())
    assert len(tt.plot.output_bands(ensemble, None, times).lines) == 5


def test_loss_bands_are_mean_and_deviation(ensemble):
    times, y = torch.tensor([1.0, 10.0, 100.0]), torch.zeros(4, 2)
    ax = tt.plot.loss_bands(ensemble, times, X, y)
    for line, band, loss in zip(ax.lines, ax.collections, (ensemble.loss(times), ensemble.loss(times, X, y)), strict=True):
        close(line.get_ydata(), loss.mean)
        low, high = edges(band)
        close(high, loss.mean + loss.std)
        close(low, loss.mean / (1 + loss.std / loss.mean))
        assert (low > 0).all()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "test"]
    assert len(tt.plot.loss_bands(ensemble, times).lines) == 1


def test_spectrum_leaves_rounding_out():
    k = torch.diag(torch.tensor([1e-3, 4.0, 1e-15, 2.0], dtype=torch.float64))
    ax = tt.plot.spectrum(k, label="mine")
    close(ax.lines[0].get_ydata(), torch.tensor([4.0, 2.0, 1e-3]))
    close(ax.lines[0].get_xdata(), torch.tensor([1.0, 2.0, 3.0]))
    assert tt.plot.spectrum(k.float() + 1e-9 * torch.eye(4), ax=ax) is ax
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("kind", ["labels", "one-hot"])
def test_kernel_matrix_is_sorted_by_label(kind):
    labels = torch.tensor([2, 0, 2, 1, 0])
    root = torch.randn(5, 6)
    k = root @ root.mT
    given = labels if kind == "labels" else torch.nn.functional.one_hot(labels).float()
    ax = tt.plot.kernel_matrix(k, given)
    order = [1, 4, 3, 0, 2]
    close(ax.images[0].get_array(), k[order][:, order])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1", "2"]
    close(ax.get_xticks(), torch.tensor([0.5, 2.0, 3.5]))
    assert sorted(line.get_ydata()[0] for line in ax.lines[::2]) == [1.5, 2.5]
    plain = tt.plot.kernel_matrix(k)
    close(plain.images[0].get_array(), k)
    assert plain.figure.axes[-1].get_ylabel() == "kernel"


def test_given_axes_are_drawn_on_and_returned(ensemble):
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 5)
    times, k = [1.0, 10.0], torch.eye(3)
    draw = [
        lambda ax: tt.plot.function_bands(ensemble, X, times, ax=ax),
        lambda ax: tt.plot.output_bands(ensemble, X, times, ax=ax),
        lambda ax: tt.plot.loss_bands(ensemble, times, ax=ax),
        lambda ax: tt.plot.spectrum(k, ax=ax),
        lambda ax: tt.plot.kernel_matrix(k, ax=ax),
    ]
    for ax, each in zip(axes, draw, strict=True):
        assert each(ax) is ax
        assert ax.has_data()
        assert ax.get_xlabel()
        assert ax.get_ylabel()


def test_refusals(ensemble):
    with pytest.raises(ValueError, match=r"x: expected inputs \(M, 1\), got \(4, 2\)"):
        tt.plot.function_bands(ensemble, torch.ones(4, 2), [1.0])
    for draw in (lambda t: tt.plot.function_bands(ensemble, X, t), lambda t: tt.plot.output_bands(ensemble, X, t)):
        with pytest.raises(ValueError, match="times: expected at least one"):
            draw([])
    with pytest.raises(ValueError, match="training times"):
        tt.plot.loss_bands(ensemble, [-1.0])
    for output in (2, -1, 0.5):
        with pytest.raises(ValueError, match="output: expected the number of an output from 0 to 1"):
            tt.plot.function_bands(ensemble, X, [1.0], output=output)
    with pytest.raises(ValueError, match="stds"):
        tt.plot.output_bands(ensemble, X, [1.0], stds=-1.0)
    with pytest.raises(ValueError, match="both x and y"):
        tt.plot.loss_bands(ensemble, [1.0], X)
    with pytest.raises(ValueError, match="k: expected a positive eigenvalue"):
        tt.plot.spectrum(torch.zeros(3, 3))
    for draw in (tt.plot.spectrum, tt.plot.kernel_matrix):
        with pytest.raises(ValueError, match="symmetric"):
            draw(torch.ones(3, 3).triu())
    with pytest.raises(ValueError, match=r"labels: expected shape \(3,\)"):
        tt.plot.kernel_matrix(torch.eye(3), torch.zeros(4))
    with pytest.raises(TypeError, match=r"labels: .*torch.as_tensor"):
        tt.plot.kernel_matrix(torch.eye(3), [0, 1, 2])


def test_import_is_light(elsewhere):
    code = "import sys, torchtangents.plot; sys.exit('matplotlib' in sys.modules or 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **elsewhere)
    assert done.returncode == 0, done.stderr
