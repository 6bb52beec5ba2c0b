"""Who computes: each side is a module of this package with one interface.

    ENVIRONMENT   name of its own environment (benchmarks/environments.py), or None: this library's interpreter
    OUTPUTS       the kernels it computes, of "nngp" and "ntk"; () where the answer is no kernel and nothing is compared
    can(case)     whether it has the layers that a case needs
    versions()    names and versions of what it runs on, and its threads
    prepare(net, x1, x2, outputs)   takes arrays (x2 None where it is x1, which only some cases ask for); returns a function
                  without arguments that computes from scratch, waits for the end and returns one array for each output

Modules import their libraries inside `versions` and `prepare`, so that the process that compares stays light.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

OURS = "torchtangents"
PEERS = {
    "neural-tangents": "neural_tangents",
    "reference": "reference",
    "torch": "torch_eager",
    "torch-compile": "torch_compiled",
    "botorch": "botorch",
    "gemm": "gemm",
    "torch-func": "torch_func",
    "torch-func-vp": "torch_func_vp",
    "neural-tangents-empirical": "neural_tangents_empirical",
}


def module(name: str) -> ModuleType:
    """The module of a side, by the name that the command line and the table use."""
    return import_module(f"{__name__}.{'ours' if name == OURS else PEERS[name]}")
