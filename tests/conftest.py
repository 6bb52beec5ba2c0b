"""Settings of every test: one seed, and slow draws only when asked for."""

import os

import pytest
import torch


def pytest_collection_modifyitems(items):
    if not os.environ.get("TORCHTANGENTS_LONG"):
        skip = pytest.mark.skip(reason="long draw: set TORCHTANGENTS_LONG=1, or run .ci/long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
