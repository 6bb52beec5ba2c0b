"""What has no rule is refused, by the layer's dotted name; bad input never yields a number."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Sequential

import torchtangents as tt

n = tt.nn


class Call(torch.nn.Module):
    """A named layer, then a function, then a head."""

    def __init__(self, function, head=None):
        super().__init__()
        self.stem, self.function, self.head = n.Conv2d(3, 4, 3), function, head

    def forward(self, x):
        x = self.function(self.stem(x))
        return x if self.head is None else self.head(x)


class Body(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


class Token(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.position = n.Conv2d(3, 4, 3), torch.nn.Parameter(torch.zeros(4, 6, 6))

    def forward(self, x):
        return self.stem(x) + self.position


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = n.Linear(4, 4)

    def forward(self, x):
        return self.a(torch.relu(self.a(x)))


class Overridden(n.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Mine(tt.Layer):
    def forward(self, x):
        return 2 * x

    def propagate(self, k):
        return k * 2.0


class MineChanged(Mine):
    def forward(self, x):
        return 3 * x


class DataTwice(torch.nn.Module):
    """The data enter a sum that already holds them, smoothed."""

    def __init__(self):
        super().__init__()
        self.a = n.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return F.avg_pool2d(self.a(x) + x, 3, 1, 1) + x


class PostActivation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = n.Linear(4, 4), n.Linear(4, 4)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return torch.relu(x + self.b(x))


class Dependent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = n.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        h = self.a(x)
        return h + F.avg_pool2d(h, 3, 1, 1)


def image():
    return torch.randn(2, 3, 8, 8)


def hooked():
    layer = n.Linear(4, 4)
    layer.register_forward_hook(lambda module, args, out: out * 2)
    return layer


REFUSED = {
    "max-pool": (lambda: Body(Sequential(n.Conv2d(3, 4, 3), torch.nn.MaxPool2d(2))), image, r"inner.1 \(MaxPool2d\).*max_pool2d.*AvgPool2d"),
    "softmax": (lambda: Call(lambda x: x.softmax(1)), image, "softmax has no.*Elementwise.*SelfAttention"),
    "running-maximum": (lambda: Call(lambda x: x.cummax(1)[0]), image, "cummax has no.*a mean in its place"),
    "condition": (lambda: Call(lambda x: torch.where(x > 0.5, x, 0 * x)), image, "gt has no.*Elementwise"),
    "batch-norm": (lambda: Body(Sequential(n.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))), image, r"inner.1 \(BatchNorm2d\)"),
    "plain-linear": (lambda: Body(torch.nn.Linear(4, 2)), lambda: torch.randn(2, 4), r"inner \(Linear\).*torchtangents.nn"),
    "plain-conv": (lambda: Body(Sequential(n.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))), image, r"inner.1 \(Conv2d\).*weight"),
    "bare-parameter": (Token, image, "Token.*'position'"),
    "shared-weights": (Twice, lambda: torch.randn(2, 4), r"a \(Linear\).*weight.*already used"),
    "overridden-forward": (lambda: Sequential(Overridden(4, 2)), lambda: torch.randn(2, 4), r"0 \(Overridden\).*overrides forward"),
    "overridden-own": (lambda: Sequential(n.Linear(4, 2), MineChanged()), lambda: torch.randn(2, 4), r"1 \(MineChanged\).*overrides forward"),
    "hook": (lambda: Sequential(hooked()), lambda: torch.randn(2, 4), r"0 \(Linear\).*hooks"),
    "parametrization": (
        lambda: Sequential(torch.nn.utils.parametrizations.weight_norm(n.Linear(4, 4))), lambda: torch.randn(2, 4), "parametrizations"),
    "groups": (lambda: Sequential(n.Conv2d(4, 4, 3, groups=2)), lambda: torch.randn(2, 4, 8, 8), r"0 \(Conv2d\).*groups=2"),
    "transposed-groups": (lambda: Sequential(n.ConvTranspose2d(4, 4, 3, groups=2)), lambda: torch.randn(2, 4, 8, 8), r"0 \(ConvTranspose2d\).*groups=2"),
    "pad-with-ones": (lambda: Sequential(n.Conv2d(3, 4, 3), torch.nn.ConstantPad2d(1, 1.0)), image, r"1 \(ConstantPad2d\).*value=1"),
    "plain-transposed": (lambda: Body(torch.nn.ConvTranspose2d(3, 4, 3)), image, r"inner \(ConvTranspose2d\).*torchtangents.nn"),
    "post-activation": (PostActivation, lambda: torch.randn(2, 4), "four dimensions.*pre-activation"),
    "dependent": (Dependent, image, r"Dependent.*both depend on 'a \(Conv2d\)'"),
    "data-twice": (DataTwice, image, "DataTwice.*both depend on the input"),
    "relu-of-pooled-relu": (
        lambda: Sequential(n.Conv2d(3, 4, 3), n.ReLU(), n.AvgPool2d(2), n.ReLU()), image, r"3 \(ReLU\).*Gaussian"),
    "mean-over-channels": (lambda: Call(lambda x: x.mean(1)), image, "channels"),
    "mean-over-all": (lambda: Call(lambda x: x.mean()), image, "every axis"),
    "mean-over-batch": (lambda: Call(lambda x: x.mean(0)), image, "batch"),
    "product": (lambda: Call(lambda x: x * F.avg_pool2d(x, 3, 1, 1)), image, r"multiplies two values that both depend on 'stem \(Conv2d\)'"),
    "quotient": (lambda: Call(lambda x: x / torch.relu(x)), image, "divides by a value"),
    "matmul": (lambda: Call(lambda x: x @ x.transpose(2, 3)), image, "no infinite-width rule"),
    "indexing-the-batch": (lambda: Call(lambda x: x[0]), image, "batch"),
    "linear-on-positions": (lambda: Call(lambda x: x, n.Linear(6, 3)), image, r"head \(Linear\).*positions, not channels"),
    "cutting-view": (lambda: Call(lambda x: x.view(len(x), 2, -1)), image, "cuts an axis"),
    "batch-in-view": (lambda: Call(lambda x: x.reshape(-1)), image, "batch"),
    "detach": (lambda: Call(lambda x: x.detach()), image, "detach"),
    "group-norm-affine": (lambda: Body(Sequential(n.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4))), image, "group_norm.*torchtangents.nn"),
    "group-norm-groups": (lambda: Sequential(n.Conv2d(3, 4, 3), n.GroupNorm(2, 4)), image, r"1 \(GroupNorm\).*2 groups.*GroupNorm\(1"),
    "group-norm-function": (lambda: Call(lambda x: F.group_norm(x, 2)), image, r"2 groups"),
    "group-norm-on-positions": (
        lambda: Sequential(n.Linear(8, 4), n.GroupNorm(1, 3)), image, r"1 \(GroupNorm\).*channels on axis 1.*got positions"),
    "group-norm-weight": (lambda: Call(lambda x: F.group_norm(x, 1, torch.ones(4))), image, "group_norm with a fixed weight.*tt.nn.GroupNorm"),
    "rms-norm-affine": (lambda: Body(Sequential(n.Linear(8, 4), torch.nn.RMSNorm(4))), image, r"inner.1 \(RMSNorm\).*rms_norm.*torchtangents.nn"),
    "rms-norm-weight": (lambda: Call(lambda x: F.rms_norm(x, (4, 6, 6), torch.ones(4, 6, 6))), image, "rms_norm with a fixed weight"),
    "rms-norm-over-positions": (lambda: Sequential(n.Conv2d(3, 4, 3), n.RMSNorm(6)), image, r"1 \(RMSNorm\).*positions alone"),
    "antialias": (lambda: Call(lambda x: F.interpolate(x, 3, mode="bilinear", antialias=True)), image, "antialias=True"),
    "norm-over-positions": (lambda: Sequential(n.Conv2d(3, 4, 3), n.LayerNorm(6)), image, r"1 \(LayerNorm\).*positions alone"),
    "gain-then-pool-then-relu": (
        lambda: Sequential(n.Conv2d(3, 4, 3), n.LayerNorm((4, 6, 6)), n.AvgPool2d(2), n.ReLU()), image, "elementwise_affine=False"),
    "no-rule": (lambda: Body(type("Mine", (tt.Layer,), {"forward": lambda self, x: x, "channel_dim": 1})()), image, "propagate"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    build, data, pattern = REFUSED[name]
    with pytest.raises(NotImplementedError, match=f"(?s){pattern}"):
        tt.ntk(build(), data())


def test_stale_views_are_refused():
    def stale(x):
        y = x.flatten(1)
        x.relu_()
        return y

    with pytest.raises(tt.UnsupportedError, match="changed in place"):
        tt.ntk(Call(stale, n.Linear(144, 1)), image())


NUMBERS = {
    "divided": lambda h, c: h / c,
    "moved": lambda h, c: torch.tanh(h + c),
    "shifted": lambda h, c: h + c,
    "composed": lambda h, c: torch.erf(c * torch.tanh(h)),
    "multiplied": lambda h, c: (c * torch.erf(h)) * h,
    "summed": lambda h, c: h + c * torch.relu(h),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_depend_on_the_data_are_refused(name):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = n.Linear(4, 4)

        def forward(self, x):
            return NUMBERS[name](self.a(x), x.abs().max())

    x = torch.randn(3, 4)
    assert tt.ntk(Scaled(), x).shape == (3, 3)
    assert tt.ntk(Scaled(), x, x.flip(0)).shape == (3, 3)
    with pytest.raises(ValueError, match=r"Scaled.*depends on the data"):
        tt.ntk(Scaled(), x, 2 * x)


def test_inputs_changed_in_place_are_refused():
    with pytest.raises(ValueError, match="in place"):
        tt.ntk(Sequential(torch.nn.ReLU(inplace=True), n.Linear(4, 1)), torch.randn(2, 4))


def net():
    return Sequential(n.Conv2d(3, 4, 3), n.ReLU(), torch.nn.Flatten(), n.Linear(4 * 36, 1))


BAD = {
    "channels": (lambda: (net(), torch.randn(2, 4, 8, 8)), ValueError, r"0 \(Conv2d\): expected .* 3"),
    "features": (lambda: (net(), torch.randn(2, 3, 9, 8)), ValueError, r"3 \(Linear\): expected 144 features"),
    "too-small": (lambda: (net(), torch.randn(2, 3, 2, 8)), ValueError, r"0 \(Conv2d\): expected at least 3 positions"),
    "integers": (lambda: (net(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), TypeError, "convert it"),
    "half": (lambda: (net(), torch.zeros(2, 3, 8, 8, dtype=torch.float16)), TypeError, "half precision"),
    "sparse": (lambda: (net(), torch.zeros(2, 3, 8, 8).to_sparse()), TypeError, r"dense tensor, got torch.sparse_coo; use x1.to_dense"),
    "nested": (lambda: (net(), torch.nested.nested_tensor([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)])), TypeError, "nested one; pad it"),
    "no-numbers": (lambda: (net(), torch.zeros(2, 3, 8, 8, device="meta")), ValueError, "numbers in x1, got .* meta device"),
    "nan": (lambda: (net(), torch.zeros(2, 3, 8, 8).index_put((torch.tensor(1), torch.tensor(2), torch.tensor(3), torch.tensor(4)), torch.tensor(float("nan")))),
            ValueError, r"nan at index \(1, 2, 3, 4\)"),
    "infinite": (lambda: (net(), torch.full((2, 3, 8, 8), float("inf"))), ValueError, r"inf at index \(0, 0, 0, 0\)"),
    "dtypes": (lambda: (net(), image(), image().double()), TypeError, "one dtype"),
    "devices": (lambda: (net(), image(), image().to("meta")), ValueError, "meta|device"),
    "shapes": (lambda: (net(), image(), torch.randn(2, 3, 8)), ValueError, "number of axes"),
    "x2-shape": (lambda: (net(), image(), torch.randn(2, 3, 9, 9)), ValueError, "features"),
    "not-a-tensor": (lambda: (net(), [[1.0]]), TypeError, "expected x1 as a tensor"),
    "one-axis": (lambda: (net(), torch.randn(8)), ValueError, "batch on axis 0"),
    "not-a-module": (lambda: (lambda x: x, image()), TypeError, "Module"),
    "no-layers": (lambda: (torch.nn.ReLU(), image()), ValueError, "torchtangents.nn"),
    "overflow": (lambda: (Sequential(n.Linear(4, 4)), torch.full((1, 4), 3e30)), OverflowError, "float64"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    build, error, pattern = BAD[name]
    with pytest.raises(error, match=f"(?s){pattern}"):
        tt.ntk(*build())


@pytest.mark.parametrize(
    "given",
    [torch.zeros(2, 3, 8, 8).numpy(), [[1.0]], (), torch.zeros(2, 3, 8, 8).to_sparse()],
    ids=["numpy", "list", "nothing", "sparse"],
)
def test_what_is_no_shape_has_no_trace(given):
    with pytest.raises(TypeError, match="expected shape as"):
        tt.trace(net(), given)


@pytest.mark.parametrize("n1", [0, 2])
def test_empty_batches(n1):
    assert tt.ntk(net(), image()[:n1], image()[:0]).shape == (n1, 0)
    assert tt.ntk(net(), image()[:0], image()[:n1]).shape == (0, n1)
    assert tt.ntk(net(), image()[:0]).shape == (0, 0)


@pytest.mark.parametrize(
    ("options", "pattern"),
    [({"w_std": -1.0}, "w_std >= 0"), ({"b_std": float("nan")}, "finite b_std"), ({"parameterization": "mup"}, "'ntk' or 'standard'"),
     ({"w_std": "2"}, "0-dim tensor"), ({"w_std": torch.ones(2)}, "0-dim")],
)  # fmt: skip
def test_laws_are_checked(options, pattern):
    with pytest.raises((ValueError, TypeError), match=pattern):
        n.Linear(2, 2, **options)


@pytest.mark.parametrize(
    "pool", [torch.nn.AvgPool1d(2), torch.nn.AdaptiveAvgPool1d(2), n.AvgPool1d(2), n.AdaptiveAvgPool1d(2), torch.nn.AvgPool3d(2)]
)
def test_a_pool_over_another_number_of_axes(pool):
    """torch refuses fewer in forward, and takes the inputs for channels of one input where they are more."""
    net = Sequential(n.Conv2d(3, 4, 3), n.ReLU(), pool)
    x = torch.ones(2, 3, 6, 6)
    with pytest.raises(ValueError, match=r"2 \(\w+Pool.d\): expected an input \(N, C, and . axes of positions\) for a pool over"):
        tt.ntk(net, x)
