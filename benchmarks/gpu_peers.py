"""What `benchmarks.gpu` compares with on the same GPU: the library's own rules in eager torch, and plain ones by torch.compile.

The eager side is `backend="reference"`, which also takes distances along. The compiled side is `plain.py`, a convolution with its
ReLU at a time: a graph of all of a deep network takes minutes to compile. Both run at as many inputs as serve them well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

import torchtangents as tt

from . import plain
from .architectures import Net, kinds
from .networks import build

WANTED = {"eager": 10, "compiled": 3}  # times ours, which issue 6 asks for
AGREE = 1e-3  # of the largest entry, in single precision and without distances
_REPEATS = 2
_REGIONS = 64  # compiled, of one network


def sizes(net: Net) -> dict[str, int]:
    """Inputs on each side."""
    return {"eager": 8, "compiled": 16} if kinds(net) & {"gap", "avgpool"} else {"eager": 128, "compiled": 512}


def compared(
    net: Net, shape: tuple[int, ...], device: torch.device, ours: float | None, n: dict[str, int] | None = None,
    compiler: str = "inductor",
) -> dict[str, Any]:  # fmt: skip
    """Each peer's milliseconds an entry, and how many times ours they are; what fails says why under "failed"."""
    n = n or sizes(net)
    out: dict[str, Any] = {}
    for name, peer in (("eager", _eager), ("compiled", partial(_compiled, compiler=compiler))):
        try:
            x1, x2 = (torch.randn(n[name], *shape, generator=torch.Generator().manual_seed(s)).to(device) for s in (1, 2))
            out[name] = {"n": n[name], "wanted": WANTED[name], **peer(net, shape, x1, x2)}
            if ours:
                out[name]["times_ours"] = out[name]["ms_per_entry"] / ours
        except Exception as error:  # a peer that fails is a finding
            out[name] = {"n": n[name], "failed": f"{type(error).__name__}: {error}"[:1000]}
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return out


def _eager(net: Net, shape: tuple[int, ...], x1: Tensor, x2: Tensor) -> dict[str, Any]:
    model = build(net, shape)
    return _timed(lambda: tt.kernels(model, x1, x2, backend="reference", tile=len(x1), progress=False), len(x1) * len(x2))


@torch.no_grad()
def _compiled(net: Net, shape: tuple[int, ...], x1: Tensor, x2: Tensor, compiler: str) -> dict[str, Any]:
    torch._dynamo.reset()
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    with torch._dynamo.config.patch({limit: _REGIONS}):
        region = torch.compile(plain.layers, fullgraph=True, dynamic=False, backend=compiler)
        out = _timed(lambda: plain.kernels(net, x1, x2, region), len(x1) * len(x2))
        found = plain.kernels(net, x1, x2, region)
    exact = tt.kernels(build(net, shape), x1[:2], x2[:2], backend="reference", progress=False)
    out["error"] = max(float((a[:2, :2] - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True))
    if not out["error"] < AGREE:
        raise ArithmeticError(f"differs from the library by {out['error']:.1e} of the largest entry")
    return out


def _timed(run: Callable[[], Any], entries: int) -> dict[str, Any]:
    """The first call, which compiles, and the least of some more."""
    times = []
    for _ in range(1 + _REPEATS):
        _wait()
        start = time.perf_counter()
        run()
        _wait()
        times.append(time.perf_counter() - start)
    return {"first_call_seconds": times[0], "seconds": times[1:], "ms_per_entry": 1e3 * min(times[1:]) / entries}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
