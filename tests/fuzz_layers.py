"""Random networks of the layers of `cases_layers` too; tests/fuzz.py draws the rest."""

from __future__ import annotations

from torch.nn import Module

import torchtangents as tt

from .cases_layers import Apply
from .fuzz import Draw, _Drawing

n = tt.nn
MOVES = {
    "flip": lambda x: x.flip(2),
    "stride": lambda x: x[..., ::2],
    "roll": lambda x: x.roll(1, -1),
    "list": lambda x: x[..., [0, -1, 0]],
    "channels": lambda x: x[:, ::2],
}


def drawn(seed: str, instructions: list[str]) -> Draw:
    """The draw of a seed."""
    return _More(seed).whole(instructions)


class _More(_Drawing):
    def of(self, one: type, two: type) -> type:
        """The class for this number of axes."""
        return one if self.axes == 1 else two

    def numbers(self, low: int, high: int) -> tuple[int, ...]:
        return tuple(self.random.randint(low, high) for _ in range(self.axes))

    def pad(self) -> Module:
        r = self.random
        if r.random() < 0.4:
            return super().pad()
        kind = r.choice(((n.ReflectionPad1d, n.ReflectionPad2d), (n.ReplicationPad1d, n.ReplicationPad2d)))
        return self.of(*kind)((*self.numbers(-1, 3), *self.numbers(-1, 3)))

    def pool(self) -> Module:
        r = self.random
        kind = r.choice(("pool", "size", "factor", "cubic", "move", "move", "adaptive"))
        linear = "linear" if self.axes == 1 else "bilinear"
        if kind == "move":
            return Apply(MOVES[r.choice([m for m in MOVES if self.random_layer or m != "channels"])])
        if kind == "factor":
            return n.Upsample(scale_factor=r.choice((0.6, 1.5, 2.0)), mode=r.choice(("nearest", linear)))
        if kind == "pool" or not self.alike or (kind == "cubic" and self.axes == 1):
            return super().pool()
        size = self.numbers(1, 8)
        if kind == "adaptive":
            return self.of(n.AdaptiveAvgPool1d, n.AdaptiveAvgPool2d)(size if self.axes == 2 else size[0])
        if kind == "cubic":
            return n.Upsample(size, mode="bicubic")
        corners = r.choice((None, True))
        return n.Upsample(size, mode=linear, align_corners=corners) if r.random() < 0.5 else n.Upsample(size)

    def linear(self) -> Module:
        r, channels = self.random, self.tried[0].shape[1]
        if self.tried[0].ndim == 2 or r.random() < 0.5:
            return super().linear()
        kernel, stride, dilation, padding = self.numbers(1, 4), self.numbers(1, 3), self.numbers(1, 2), self.numbers(0, 2)
        outputs = r.randint(1, 6)
        if r.random() < 0.6:
            extra = tuple(r.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
            make = self.of(n.ConvTranspose1d, n.ConvTranspose2d)
            return make(channels, outputs, kernel, stride, padding, extra, dilation=dilation, **self.stds())
        if r.random() < 0.5 and self.alike:
            make, size = self.of(n.LocalConv1d, n.LocalConv2d), tuple(self.tried[0].shape[2:])
            try:
                return make(channels, outputs, kernel, stride, padding, input_size=size, **self.stds())
            except ValueError:  # no room for a window
                pass
        mode = r.choice(("reflect", "replicate"))
        return self.of(n.Conv1d, n.Conv2d)(channels, outputs, kernel, stride, padding, dilation, padding_mode=mode, **self.stds())

    def one(self) -> tuple[Module, bool]:
        r = self.random
        if self.random_layer and self.alike and r.random() < 0.1:
            shape, trained = tuple(self.tried[0].shape[1:]), r.random() < 0.7
            norm = n.GroupNorm(1, shape[0], 0.01, trained) if r.random() < 0.5 else n.RMSNorm(shape, 0.01, trained)
            return norm, self.gaussian
        return super().one()
