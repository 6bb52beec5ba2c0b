"""Models as a user of torch.nn writes them: nothing of torchtangents in them, but attention and embeddings of positions."""

import torch
import torch.nn.functional as F
from torch import nn

import torchtangents as tt


class PreActivationResNet(nn.Module):
    """He et al. 2016 (arXiv 1603.05027) without BatchNorm."""

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else nn.Identity()

        def forward(self, x):
            out = self.conv1(F.relu(x))
            out = self.conv2(F.relu(out))
            out += self.shortcut(x)
            return out

    def __init__(self, width, outputs=1):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.stages = nn.Sequential(self.Block(width, width, 1), self.Block(width, 2 * width, 2))
        self.fc = nn.Linear(2 * width, outputs)

    def forward(self, x):
        x = F.relu(self.stages(self.stem(x)))
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.fc(torch.flatten(x, 1))


class VGG(nn.Module):
    """Simonyan and Zisserman 2015 (arXiv 1409.1556) with average pools."""

    def __init__(self, width, outputs=1):
        super().__init__()
        layers, inputs = [], 3
        for item in (width, "pool", width, width, "pool"):
            if item == "pool":
                layers += [nn.AvgPool2d(2)]
            else:
                layers += [nn.Conv2d(inputs, item, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = item
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(4 * width, width), nn.ReLU(True), nn.Dropout(), nn.Linear(width, outputs))

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class LargeKernels(nn.Module):
    """Fully convolutional: 7 x 7 and 5 x 5 windows, the mean of a map of classes."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.body = nn.ModuleList([nn.Conv2d(3, width, 7, padding=3), nn.Conv2d(width, width, 5, padding="same")])
        self.classes = nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        for layer in self.body:
            x = F.gelu(layer(x)) if layer is self.body[0] else layer(x).clamp(min=0)
        return self.classes(x).mean([2, 3])


class DenseNet(nn.Module):
    """Huang et al. 2017 (arXiv 1608.06993): concatenations of everything before."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width * (i + 1), width, 3, padding=1) for i in range(2))
        self.transition = nn.Conv2d(3 * width, width, 1)
        self.fc = nn.Linear(width, outputs)

    def forward(self, x):
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(F.relu(torch.cat(features, dim=1))))
        x = F.avg_pool2d(self.transition(F.relu(torch.cat(features, 1))), 2)
        return self.fc(F.relu(x).mean((-2, -1)))


class UNet(nn.Module):
    """Ronneberger et al. 2015 (arXiv 1505.04597) with average pools and nearest upsampling."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.down = nn.Conv2d(3, width, 3, padding=1)
        self.middle = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.up = nn.Conv2d(3 * width, width, 3, padding=1)
        self.pool, self.grow = nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")
        self.out = nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        skip = self.down(x)
        low = self.middle(self.pool(F.relu(skip)))
        x = torch.cat([skip, self.grow(low)], dim=1)
        return self.out(F.relu(self.up(F.relu(x)))).flatten(2).mean(2)


class Flat(UNet):
    """The same in one resolution: windows of stride 1 in place of pools."""

    def __init__(self, width, outputs=1):
        super().__init__(width, outputs)
        self.pool, self.grow = nn.AvgPool2d(3, 1, padding=1), nn.Identity()


class SqueezeExcite(nn.Module):
    """Hu et al. 2018 (arXiv 1709.01507): channels gated by a network of their means."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(3, width, 3), nn.Linear(width, width), nn.Linear(width, width)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        x = F.relu(self.conv(x))
        gate = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3))))))
        return self.head(x * gate.unsqueeze(-1).unsqueeze(-1)).mean((2, 3))


class PreNorm(nn.Module):
    """Pre-norm blocks over positions: a transformer without its attention."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.inner = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.outer = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        x = self.embed(x.flatten(2).transpose(1, 2))
        for norm, inner, outer in zip(self.norms, self.inner, self.outer, strict=False):
            x = x + outer(F.gelu(inner(norm(x))))
        return self.head(self.norms[2](x).mean(1))


class GatedUnit(nn.Module):
    """Dauphin et al. 2017 (arXiv 1612.08083), with two layers in place of two halves of one."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.stem, self.value, self.gate = nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3), nn.Conv2d(width, width, 3)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        x = F.silu(self.stem(x))
        return self.head((self.value(x) * torch.sigmoid(self.gate(x))).flatten(2).sum(-1))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al. 2021 (arXiv 2010.11929), pre-norm, around attention that has a law."""

    def __init__(self, width, outputs=1):
        super().__init__()
        self.patches, self.positions = nn.Conv2d(3, width, 4, stride=4), tt.nn.PositionalEmbedding((4, width), 0.3)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attention = tt.nn.SelfAttention(width, max(1, width // 4), key_dim=width, value_dim=8)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        x = self.positions(self.patches(x).flatten(2).transpose(1, 2))
        x = x + self.attention(self.norm1(x))
        x = x + self.outer(F.gelu(self.inner(self.norm2(x))))
        return self.head(self.norm3(x).mean(1))


MODELS = {
    "pre-activation ResNet": PreActivationResNet,
    "VGG": VGG,
    "large kernels": LargeKernels,
    "DenseNet": DenseNet,
    "U-Net": UNet,
    "U-Net in one resolution": Flat,
    "squeeze and excite": SqueezeExcite,
    "pre-norm": PreNorm,
    "gated unit": GatedUnit,
    "vision transformer": VisionTransformer,
}
