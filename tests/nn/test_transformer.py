"""Transformer blocks: against wide networks drawn at random, and as modules of torch."""

import pytest
import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt

from .test_attention import check

n = tt.nn
T, WIDTH = 3, 96


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"norm_first": True}, {"activation": "gelu"}], ids=["pre-norm", "post-norm"])
def test_expected_kernels_of_wide_blocks(options):
    """Normalisation and scores are exact only at infinite width: a bias of a few over the width is allowed."""
    block = n.TransformerEncoderLayer(WIDTH, 1, WIDTH, w_std=1.2, b_std=0.3, **options)
    net = Sequential(block, Flatten(), n.Linear(T * WIDTH, 1, w_std=1.1))
    x = torch.randn(3, T, WIDTH) * torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    for name, p in net.named_parameters():  # gains and biases of LayerNorm start at 1 and 0
        assert "norm" not in name or p.unique().numel() == 1
    check(net, x, 200, bias=2 / WIDTH, chunk=10)


def test_an_encoder_of_torch_takes_our_layer():
    encoder = torch.nn.TransformerEncoder(n.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False)
    x, padding = torch.randn(2, 4, 8), torch.tensor([[False, False, False, True], [False, False, False, False]])

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.read = encoder, n.Linear(8, 1)

        def forward(self, x, padding):
            return self.read(self.encoder(x, src_key_padding_mask=padding).mean(1))

    masked = Net()
    assert tt.ntk(masked, (x, padding)).shape == (2, 2)
    other = x.clone()
    other[0, 3] = 7.0  # what is padding does not reach other positions
    one, two = encoder(x, src_key_padding_mask=padding), encoder(other, src_key_padding_mask=padding)
    torch.testing.assert_close(one[0, :3], two[0, :3])


def test_options():
    layer = n.TransformerEncoderLayer(8, 2, 16, activation=torch.tanh, bias=False, scores="abs", key_std=0.5)
    assert isinstance(layer, torch.nn.TransformerEncoderLayer)
    assert not any("bias" in name for name, _ in layer.named_parameters())
    assert tt.ntk(layer, torch.randn(2, 3, 8)).shape == (2, 2, 3, 3)
    with pytest.raises(ValueError, match="batch_first=True"):
        n.TransformerEncoderLayer(8, 2, batch_first=False)
    with pytest.raises(ValueError, match="expected activation"):
        n.TransformerEncoderLayer(8, 2, activation="swish")
    dropout = n.TransformerEncoderLayer(8, 2, 16, dropout=0.1)
    with pytest.raises(tt.UnsupportedError, match=r"self_attn \(SelfAttention\): dropout=0.1"):
        tt.ntk(dropout, torch.randn(2, 3, 8))
    assert tt.ntk(dropout.eval(), torch.randn(2, 3, 8)).isfinite().all()
