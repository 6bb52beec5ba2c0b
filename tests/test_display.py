"""Objects in a notebook: what they show is true, complete and escaped."""

import re
from html.parser import HTMLParser

import pytest
import torch

import torchtangents as tt
from torchtangents.display import html_table, text_table


class Cells(HTMLParser):
    """The texts of a table's cells, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts = [], []
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.texts.append(data)


def predictors():
    x, y = torch.eye(4), torch.ones(4, 2)
    net = torch.nn.Sequential(tt.nn.Linear(4, 8), tt.nn.ReLU(), tt.nn.Linear(8, 2))
    k = tt.ntk(net, x)
    return {
        "Ensemble": (tt.predict.Ensemble(net, x, y, kernel="nngp", diag_reg=0.25), ["nngp", "0.25", "4", "(2,)"]),
        "GradientFlow": (tt.predict.GradientFlow(k, y, momentum=0.5), ["mse", "0.5", "4", "(2,)"]),
        "Posterior": (tt.predict.Posterior(k, y, diag_reg=0.5, jitter=True), ["0.5", "jitter_added", "4", "(2,)"]),
    }


@pytest.mark.parametrize("name", predictors())
def test_predictors_show_their_options_and_sizes(name):
    predictor, facts = predictors()[name]
    assert repr(predictor).startswith(f"{name}(")
    cells = Cells(predictor._repr_html_()).texts
    for fact in facts:
        assert fact in repr(predictor)
        assert fact in cells


def test_a_trace_shows_layers_shapes_planes_and_cost():
    net = torch.nn.Sequential(tt.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), tt.nn.Linear(8 * 36, 1))
    trace = tt.trace(net, (1, 3, 8, 8))
    html = trace._repr_html_()
    cells = Cells(html).texts
    assert re.split(r"\s{2,}|\n", repr(trace).rsplit("\n", 1)[0].strip()) == cells
    assert {"0 (Conv2d)", "2 (Linear)", "6x6", "0 x 0"} <= set(cells)
    assert f"{trace.cost:,} operations a pair" in html


def test_tables_align_and_escape():
    assert text_table(("a", "n"), [("x", 1), ("yy", 10)], (1,)).split("\n") == ["a    n", "x    1", "yy  10"]
    assert "<b>" not in html_table(("<b>",), [("<b>&",)], caption="<b>")
    assert Cells(html_table(("<b>",), [("<b>&",)])).texts == ["<b>", "<b>&"]
