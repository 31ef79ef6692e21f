"""The convolutional conditioners of the image models: what libraries leave to their user. Names and shapes are those of
docs/model-format.md, so that a model file can be loaded."""

import torch
from torch import nn

# The sizes of the presets `cpu`.
GLOW_WIDTH, GLOW_DEPTH, GLOW_LEVELS, CHECKERS, BINS = 48, 6, 2, 2, 8
REALNVP_WIDTH, REALNVP_LEVELS, REALNVP_CHECKERS, REALNVP_CHANNELS = 24, 3, 3, 3


def conv(inputs, outputs, size):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


class Residual(nn.Module):
    """3x3, blocks of 3x3 and another convolution, 1x1."""

    def __init__(self, inputs, outputs, width, blocks, second):
        super().__init__()
        self.first = conv(inputs, width, 3)
        self.blocks = []
        for k in range(blocks):
            block = nn.Module()
            block.a, block.b = conv(width, width, 3), conv(width, width, second)
            self.add_module(f"block_{k}", block)
            self.blocks.append(block)
        self.out = conv(width, outputs, 1)

    def forward(self, x, context=None):
        h = self.first(x)
        for block in self.blocks:
            h = h + block.b(block.a(h.relu()).relu())
        return self.out(h.relu())


class Plain(nn.Module):
    """Glow's own: 3x3, 1x1, 3x3."""

    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.first, self.hidden_0, self.out = conv(inputs, width, 3), conv(width, width, 1), conv(width, outputs, 3)

    def forward(self, x, context=None):
        return self.out(self.hidden_0(self.first(x).relu()).relu())


def glow_net(inputs, outputs):
    return Plain(inputs, outputs, GLOW_WIDTH)


def glow_checker_net(inputs, outputs):
    return Residual(inputs, outputs, GLOW_WIDTH, 2, second=1)


def realnvp_net(inputs, outputs):
    return Residual(inputs, outputs, REALNVP_WIDTH, 1, second=3)


def diagonal(channels, flipped):
    """Of channels behind a squeeze, those from the squares of one colour: kept by a coupling by chessboard."""
    of_block = torch.arange(channels) % 4
    return ((of_block == 0) | (of_block == 3)) ^ flipped


def first_half(channels, flipped=False):
    return (torch.arange(channels) < channels // 2) ^ flipped
