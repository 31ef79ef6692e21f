"""nflows: a multi-scale Glow of its own layers, as near to the preset `cpu` as these go. Its splines have slopes of 1 at
both ends, its 1x1 convolution a bias and no signs; so a model file does not fit."""

import math

import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.base import CompositeTransform, MultiscaleCompositeTransform, Transform
from nflows.transforms.conv import OneByOneConvolution
from nflows.transforms.coupling import AffineCouplingTransform, PiecewiseRationalQuadraticCouplingTransform
from nflows.transforms.nonlinearities import Logit
from nflows.transforms.normalization import ActNorm
from nflows.transforms.reshape import SqueezeTransform
from nflows.transforms.splines import unconstrained_rational_quadratic_spline
from nflows.transforms.standard import PointwiseAffineTransform

from image_nets import BINS, CHECKERS, GLOW_DEPTH, GLOW_LEVELS, conv, diagonal, first_half, glow_checker_net, glow_net

ALPHA = 1e-3


class Spline(Transform):
    """One for all pixels; nflows' own module has one for each."""

    def __init__(self, bins=32):
        super().__init__()
        self.widths, self.heights = torch.nn.Parameter(torch.zeros(bins)), torch.nn.Parameter(torch.zeros(bins))
        self.slopes = torch.nn.Parameter(torch.full([bins - 1], math.log(math.e - 1)))

    def apply(self, x, inverse):
        curves = [part.expand(*x.shape, -1) for part in (self.widths, self.heights, self.slopes)]
        z, ln_slope = unconstrained_rational_quadratic_spline(x, *curves, inverse=inverse, tail_bound=8.0)
        return z, ln_slope.flatten(1).sum(1)

    def forward(self, inputs, context=None):
        return self.apply(inputs, False)

    def inverse(self, inputs, context=None):
        return self.apply(inputs, True)


class TanhCoupling(AffineCouplingTransform):
    def __init__(self, mask, net, bound=None):
        super().__init__(mask, net)
        ones = torch.ones(self.num_transform_features, 1, 1)
        self.bound = torch.nn.Parameter(ones) if bound is None else bound

    def _scale_and_shift(self, transform_params):
        shift, raw = transform_params.chunk(2, dim=1)
        return (self.bound * raw.tanh()).exp(), shift


class OneConvolution(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = conv(inputs, outputs, 3)

    def forward(self, x, context=None):
        return self.conv(x)


def level(i, shape):
    """nflows lets go of the first half of the channels: that half is changed, and has its prior given the other."""
    channels = 4 * shape[0]
    half = first_half(channels).int()
    steps = [SqueezeTransform()]
    for j in range(CHECKERS if i == 0 else 0):
        mask = (~diagonal(channels, j % 2 == 1)).int()
        spline = PiecewiseRationalQuadraticCouplingTransform(
            mask, glow_checker_net, num_bins=BINS, tails="linear", tail_bound=6.0
        )
        steps += [ActNorm(channels), spline]
    for _ in range(GLOW_DEPTH):
        steps += [ActNorm(channels), OneByOneConvolution(channels), TanhCoupling(half, glow_net)]
    return CompositeTransform(steps + [TanhCoupling(half, OneConvolution, bound=4.0)])


class Model(Flow):
    def __init__(self, work):
        if work.model != "glow":
            raise NotImplementedError("nflows couples images by channels, not by chessboard")
        levels = MultiscaleCompositeTransform(GLOW_LEVELS)
        shape = (1, 28, 28)
        for i in range(GLOW_LEVELS):
            inside = (4 * shape[0], shape[1] // 2, shape[2] // 2)
            shape = levels.add_transform(level(i, shape), inside)
        logit = Logit(eps=1e-6)
        # No buffer, so that nobody else moves it.
        logit._transform.temperature = logit._transform.temperature.to(work.device)
        unit = torch.tensor(ALPHA), torch.tensor(1 - 2 * ALPHA)
        super().__init__(
            CompositeTransform([PointwiseAffineTransform(*unit), logit, Spline(), levels]),
            StandardNormal([784]),
        )

    def log_prob(self, x):
        return super().log_prob(x.view(-1, 1, 28, 28))

    def load(self, tensors):
        raise NotImplementedError("a Glow of nflows' own layers")
