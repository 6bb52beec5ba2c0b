"""Cases of more layers: transposed and local convolutions, three axes, resizing, indexing, matrices, normalisations."""

import torch
import torch.nn.functional as F
from torch.nn import ReLU, Sequential

import torchtangents as tt

n = tt.nn
Flat, GAP = torch.nn.Flatten, n.GlobalAvgPool


class Apply(torch.nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Mix(torch.nn.Module):
    """A constant matrix over the positions of the last axis."""

    def __init__(self, out, size, signed=False):
        super().__init__()
        draw = torch.randn if signed else torch.rand
        self.register_buffer("a", draw(out, size, generator=torch.Generator().manual_seed(5)) / size**0.5)

    def forward(self, x):
        return x @ self.a.T.to(x.dtype)


class Glue(torch.nn.Module):
    """Channels taken apart, one half through another layer, and put together again."""

    def __init__(self):
        super().__init__()
        self.stem, self.side = conv(2, 6), conv(4, 3)

    def forward(self, x):
        a, b = self.stem(x).split([4, 2], 1)
        return torch.cat([self.side(F.relu(a)), F.relu(b).flip(1)], 1)


class UNet(torch.nn.Module):
    """Down by a strided convolution, up by a transposed one to the size that came in, and the skip beside it."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = conv(2), n.Conv2d(6, 6, 3, stride=2, padding=1, w_std=1.4)
        self.up = n.ConvTranspose2d(6, 6, 3, stride=2, padding=1, w_std=1.4)
        self.end = conv(12)

    def forward(self, x):
        h = F.relu(self.stem(x))
        low = F.relu(self.down(h))
        return F.relu(self.end(torch.cat([h, F.relu(self.up(low, output_size=h.shape[2:]))], 1)))


def conv(i, o=6, k=3, p=1, **options):
    return n.Conv2d(i, o, k, padding=p, w_std=1.4, **options)


def seq(i, o=6, k=3, p=1, **options):
    return n.Conv1d(i, o, k, padding=p, w_std=1.4, **options)


def cube(i, o=6, k=2, **options):
    return n.Conv3d(i, o, k, w_std=1.4, **options)


def up(i, k=3, **options):
    return n.ConvTranspose2d(i, 6, k, w_std=1.4, **options)


def local(i, size, **options):
    return n.LocalConv2d(i, 6, 3, input_size=size, w_std=1.4, **options)


def head(i, **options):
    return n.Linear(i, 1, w_std=1.2, **options)


IMAGES = {  # 2 x 5 x 4
    "transposed-stride-2": lambda: Sequential(conv(2), ReLU(), up(6, stride=2, padding=1), ReLU(), GAP(), head(6)),
    "transposed-uneven": lambda: Sequential(up(2, (3, 2), stride=(3, 2), padding=(0, 1), output_padding=(2, 1)), ReLU(), Flat(), head(6 * 17 * 7)),
    "transposed-dilation": lambda: Sequential(conv(2), ReLU(), up(6, stride=2, dilation=2, padding=3), ReLU(), GAP(), head(6)),
    "transposed-crop": lambda: Sequential(up(2, 1, padding=1), ReLU(), up(6, 2, stride=3, padding=(2, 1)), ReLU(), GAP(), head(6)),
    "transposed-standard": lambda: Sequential(up(2, 2, stride=2, parameterization="standard"), ReLU(), GAP(), head(6, parameterization="standard")),
    "u-net": lambda: Sequential(UNet(), GAP(), head(6)),
    "local": lambda: Sequential(local(2, (5, 4), padding=1), ReLU(), local(6, (5, 4), stride=2), ReLU(), GAP(), head(6)),
    "local-inside": lambda: Sequential(conv(2), ReLU(), local(6, (5, 4), padding=(1, 0)), ReLU(), conv(6), ReLU(), GAP(), head(6)),
    "local-standard": lambda: Sequential(local(2, (5, 4), parameterization="standard"), ReLU(), GAP(), head(6, parameterization="standard")),
    "upsample-nearest": lambda: Sequential(conv(2), ReLU(), n.Upsample(scale_factor=2), conv(6), ReLU(), GAP(), head(6)),
    "upsample-bilinear": lambda: Sequential(conv(2), n.Upsample((7, 3), mode="bilinear"), ReLU(), GAP(), head(6)),
    "upsample-corners": lambda: Sequential(conv(2), ReLU(), n.Upsample((8, 7), mode="bilinear", align_corners=True), conv(6), ReLU(), Flat(), head(336)),
    "upsample-bicubic": lambda: Sequential(conv(2), ReLU(), n.Upsample((7, 6), mode="bicubic"), conv(6), ReLU(), GAP(), head(6)),
    "reflect": lambda: Sequential(conv(2, p=2, padding_mode="reflect"), n.ReflectionPad2d((0, 1, -1, 2)), ReLU(), conv(6, p=1, padding_mode="reflect", stride=2), ReLU(), GAP(), head(6)),
    "replicate": lambda: Sequential(conv(2, p=2, padding_mode="replicate"), ReLU(), n.ReplicationPad2d((1, 0, -1, 2)), conv(6), ReLU(), GAP(), head(6)),
    "adaptive-overlap": lambda: Sequential(conv(2), ReLU(), n.AdaptiveAvgPool2d((3, 6)), conv(6), ReLU(), Flat(), head(108)),
    "index-stride": lambda: Sequential(conv(2), Apply(lambda x: x[:, :, ::2]), ReLU(), conv(6), Apply(lambda x: x[..., 1:-1]), ReLU(), GAP(), head(6)),
    "index-drop": lambda: Sequential(conv(2), ReLU(), Apply(lambda x: x[:, :, 2]), seq(6), ReLU(), Apply(lambda x: x[..., -1]), head(6)),
    "index-flip": lambda: Sequential(conv(2), ReLU(), Apply(lambda x: x.flip(2).roll(1, 3)), conv(6, stride=2), ReLU(), GAP(), head(6)),
    "index-list": lambda: Sequential(conv(2), ReLU(), Apply(lambda x: x[:, :, [3, 0, 0, -1]]), conv(6), ReLU(), GAP(), head(6)),
    "index-channels": lambda: Sequential(Glue(), conv(5), ReLU(), GAP(), head(6)),
    "matrix": lambda: Sequential(conv(2), ReLU(), Mix(6, 4), conv(6), ReLU(), GAP(), head(6)),
    "matrix-signed": lambda: Sequential(conv(2), Mix(3, 4, signed=True), ReLU(), conv(6), ReLU(), Flat(), head(90)),
    "matrix-dense": lambda: Sequential(conv(2), n.Upsample((5, 16)), ReLU(), Mix(12, 16, signed=True), conv(6), ReLU(), GAP(), head(6)),
    "group-norm": lambda: Sequential(conv(2), n.GroupNorm(1, 6), ReLU(), conv(6), ReLU(), n.GroupNorm(1, 6), conv(6), ReLU(), GAP(), head(6)),
    "group-norm-plain": lambda: Sequential(conv(2), torch.nn.GroupNorm(1, 6, affine=False), ReLU(), GAP(), head(6)),
    "rms-norm": lambda: Sequential(conv(2), ReLU(), conv(6), n.RMSNorm((6, 5, 4), eps=1e-3), ReLU(), conv(6), ReLU(), GAP(), head(6)),
    "rms-norm-after-relu": lambda: Sequential(conv(2), ReLU(), n.RMSNorm((6, 5, 4)), conv(6), ReLU(), GAP(), head(6)),
    "lazy": lambda: Sequential(n.LazyConv2d(6, 3, padding=1, w_std=1.4), ReLU(), Flat(), n.LazyLinear(4), ReLU(), n.LazyLinear(1, parameterization="standard")),
}  # fmt: skip
SEQUENCES = {  # 2 x 7
    "sequence-transposed": lambda: Sequential(n.ConvTranspose1d(2, 6, 4, 3, padding=2, output_padding=1), ReLU(), seq(6), ReLU(), GAP(), head(6)),
    "sequence-local": lambda: Sequential(n.LocalConv1d(2, 6, 3, 2, 1, input_size=7), ReLU(), seq(6), ReLU(), GAP(), head(6)),
    "sequence-upsample": lambda: Sequential(seq(2), ReLU(), n.Upsample(scale_factor=1.6, mode="linear"), seq(6), ReLU(), Flat(), head(66)),
    "sequence-adaptive": lambda: Sequential(seq(2), ReLU(), n.AdaptiveAvgPool1d(4), seq(6, padding_mode="reflect"), ReLU(), GAP(), head(6)),
    "sequence-pads": lambda: Sequential(
        n.LazyConv1d(6, 3, w_std=1.4), n.ReflectionPad1d((2, 1)), n.ReLU(), n.AvgPool1d(2), n.ReplicationPad1d(1), seq(6), n.ReLU(),
        n.SumPool1d(2, 1), n.CircularPad1d((1, 0)), n.ZeroPad1d((0, 1)), seq(6), n.Identity(), n.ReLU(), n.GlobalSumPool(), n.Flatten(), head(6)),
    "sequence-features": lambda: Sequential(n.Linear(7, 6, w_std=1.4), n.RMSNorm(6), ReLU(), Apply(lambda x: x[:, -1]), head(6)),
    "sequence-matrix-left": lambda: Sequential(n.Linear(7, 6), ReLU(), Apply(lambda x: torch.tensor([[0.5, 2], [1, 1]]).to(x) @ x), n.Linear(6, 6), ReLU(), Flat(), head(12)),
}  # fmt: skip
VOLUMES = {  # 1 x 3 x 4 x 3
    "volume": lambda: Sequential(cube(1, padding=1), ReLU(), n.AvgPool3d(2, 1), n.ZeroPad3d((1, 0, 0, 0, 0, 1)), n.LazyConv3d(6, 2, (1, 2, 2), w_std=1.4), ReLU(), GAP(), head(6)),
    "volume-circular": lambda: Sequential(n.CircularPad3d(1), cube(1, k=3), ReLU(), n.SumPool3d((1, 2, 1)), n.AdaptiveAvgPool3d((2, 1, 2)), Flat(), head(24)),
}  # fmt: skip
NETS = {**IMAGES, **SEQUENCES, **VOLUMES}
MIXING = {name for name in NETS if name.startswith(("upsample", "matrix", "adaptive", "sequence-", "volume"))}  # before a kink
BY_REFERENCE = {name for name in NETS if "local" in name or name.startswith("volume")}  # unshared weights, three axes


def _inputs(*shape):
    def draw(count, dtype, seed):
        return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)

    return draw


INPUTS = {
    **dict.fromkeys(IMAGES, _inputs(2, 5, 4)),
    **dict.fromkeys(SEQUENCES, _inputs(2, 7)),
    **dict.fromkeys(VOLUMES, _inputs(1, 3, 4, 3)),
}
