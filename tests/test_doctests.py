"""Every example of the installed package runs."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import torchtangents

MODULES = [
    "torchtangents",
    *sorted(
        m.name
        for m in pkgutil.walk_packages(torchtangents.__path__, "torchtangents.")
        if not m.name.endswith(("_native", "__main__"))
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    torch.manual_seed(0)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
