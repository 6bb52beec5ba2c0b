"""The registry of layers is complete: every layer of torchtangents.nn occurs in a case of the table, with its own rule."""

import torch

import torchtangents as tt
from torchtangents.graph.program import record

from ..cases import NETS, inputs


def occurring():
    """The types of all modules in the cases."""
    return {type(module) for build in NETS.values() for module in build().modules()}


def test_every_layer_has_a_case():
    layers = {name: getattr(tt.nn, name) for name in tt.nn.__all__}
    found = occurring()
    assert not sorted(name for name, layer in layers.items() if layer not in found)


def test_every_layer_is_exported():
    """A layer that a case uses, or that a module of torchtangents.nn defines, is in __all__."""
    exported = {getattr(tt.nn, name) for name in tt.nn.__all__}
    defined = {
        value
        for value in vars(tt.nn).values()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__.startswith("torchtangents.nn.")
    }
    assert not sorted(t.__name__ for t in defined - exported)
    ours = {t for t in occurring() if t.__module__.startswith("torchtangents.")}
    assert not sorted(t.__name__ for t in ours - exported)


def test_every_layer_has_a_rule_and_an_example():
    for name in tt.nn.__all__:
        layer = getattr(tt.nn, name)
        assert ">>>" in (layer.__doc__ or ""), name
        if name == "TransformerEncoderLayer":  # made of other layers: its forward is recorded
            continue
        assert issubclass(layer, tt.Layer), name
        assert any("propagate" in vars(c) for c in layer.__mro__ if c is not tt.Layer), name


def test_every_case_is_recorded():
    for name, build in NETS.items():
        x = inputs(name, 2)
        assert record(build(), x if isinstance(x, tuple) else (x,)).steps, name
