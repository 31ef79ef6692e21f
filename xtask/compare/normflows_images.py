"""normflows: multi-scale models of its own layers, of the depth of the presets `cpu`. It has neither splines on images
nor priors given the other half; so a model file does not fit. Widths are such that there are as many parameters, to 1 %:
177,224 of Glow in the place of 176,981, and 179,100 of RealNVP in the place of 179,504."""

import torch
from normflows import MultiscaleFlow
from normflows.distributions import DiagGaussian
from normflows.flows import ActNorm, AffineCouplingBlock, GlowBlock, MaskedAffineFlow, Merge, Reverse, Squeeze
from normflows.transforms import Logit

from image_nets import (
    GLOW_DEPTH, GLOW_LEVELS, REALNVP_CHANNELS, REALNVP_CHECKERS, REALNVP_LEVELS, Residual, realnvp_net,
)

# Wider than the preset's, in the place of the couplings by chessboard that are missing.
GLOW_WIDTH = 86
# Of a net for the shift and one for the scale: both together are about as large as one of the preset's for both.
SHIFT_WIDTH, SCALE_WIDTH = 17, 16


class Net(torch.nn.Module):
    """Shift and the tanh of a raw scale by turns."""

    def __init__(self, channels):
        super().__init__()
        self.net = realnvp_net(channels, 2 * channels)

    def forward(self, kept):
        raw, shift = self.net(kept).chunk(2, 1)
        return torch.stack([shift, raw.tanh()], 2).flatten(1, 2)


def glow(i):
    channels = 4 * 2**i
    return [GlowBlock(channels, GLOW_WIDTH, split_mode="channel", scale=True) for _ in range(GLOW_DEPTH)] + [Squeeze()]


def block(channels, changed, mode):
    return [Reverse(AffineCouplingBlock(Net(changed), split_mode=mode)), ActNorm((channels, 1, 1))]


def realnvp(i):
    """Latent to data: what comes last in data to latent is first here."""
    channels, side = 2**i, 28 // 2**i
    if i + 1 == REALNVP_LEVELS:
        # A chessboard of odd sides cannot be packed: masks, with a net for the scale and one for the shift.
        place = torch.arange(side)
        steps = []
        for j in range(REALNVP_CHECKERS + 1):
            mask = ((place[:, None] + place) % 2 == j % 2).float().expand(channels, side, side)
            shift, raw = (Residual(channels, channels, width, 1, second=3) for width in (SHIFT_WIDTH, SCALE_WIDTH))
            scale = torch.nn.Sequential(raw, torch.nn.Tanh())
            steps += [Reverse(MaskedAffineFlow(mask, shift, scale)), ActNorm((channels, 1, 1))]
        return steps[::-1]
    before = [block(channels, channels, "checkerboard" + "_inv" * (j % 2)) for j in range(REALNVP_CHECKERS)]
    steps = [block(4 * channels, 2 * channels, "channel" + "_inv" * (j % 2)) for j in range(REALNVP_CHANNELS)]
    flat = [step for pair in steps[::-1] for step in pair]
    return flat + [Squeeze()] + [step for pair in before[::-1] for step in pair]


class Model(torch.nn.Module):
    def __init__(self, work):
        super().__init__()
        levels = GLOW_LEVELS if work.model == "glow" else REALNVP_LEVELS
        flows, bases, merges = [], [], []
        # From the deepest level, where the latent begins, to the data.
        for i in reversed(range(levels)):
            flows.append(glow(i) if work.model == "glow" else realnvp(i))
            deepest = i + 1 == levels
            # What a level lets go of: half of the squeezed channels; all in the last, which RealNVP does not squeeze.
            squeezed = work.model == "glow" or not deepest
            side = 28 // 2 ** (i + squeezed)
            bases.append(DiagGaussian((2**i * (4**squeezed if deepest else 2), side, side)))
            merges += [] if deepest else [Merge()]
        self.flow = MultiscaleFlow(bases, flows, merges, transform=Logit(1e-3), class_cond=False)

    def log_prob(self, x):
        return self.flow.log_prob(x.view(-1, 1, 28, 28), None)

    def sample(self, n):
        return self.flow.sample(n)[0]

    def load(self, tensors):
        raise NotImplementedError("a model of normflows' own layers")
