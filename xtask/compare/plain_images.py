"""Plain PyTorch: the multi-scale models of the presets `cpu`, by docs/model-format.md, with the names of a model file."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from image_nets import (
    BINS, CHECKERS, GLOW_DEPTH, GLOW_LEVELS, REALNVP_CHANNELS, REALNVP_CHECKERS, REALNVP_LEVELS, diagonal, first_half,
    glow_checker_net, glow_net, realnvp_net,
)

ALPHA = 1e-3
LOW = math.log(ALPHA) - math.log(1 - ALPHA)


def total(x):
    return x.flatten(1).sum(1)


class Logit(nn.Module):
    def forward(self, x):
        y = ALPHA + (1 - 2 * ALPHA) * x
        ln_y, ln_rest = y.log(), (1 - y).log()
        return ln_y - ln_rest, total(math.log(1 - 2 * ALPHA) - ln_y - ln_rest)

    def inverse(self, z):
        return (z.sigmoid() - ALPHA) / (1 - 2 * ALPHA)


def bin_of(v, starts, *parts):
    """What belongs to the bin that v is in."""
    b = ((v[..., None] >= starts).sum(-1, keepdim=True) - 1).clamp(min=0)
    return [part.expand(*v.shape, -1).gather(-1, b)[..., 0] for part in parts]


def curve(v, low, bottom, w, h, d):
    """Along a monotone rational-quadratic spline that goes on as a line; and the logarithm of its slope."""
    x, z = low + w.cumsum(-1) - w, bottom + h.cumsum(-1) - h
    x, w, z, h, d0, d1 = bin_of(v, x, x, w, z, h, d[..., :-1], d[..., 1:])
    s, f = h / w, (v - x) / w
    u = f.clamp(0, 1)
    uu = u * (1 - u)
    q = s + (d0 + d1 - 2 * s) * uu
    dz = s**2 * (d1 * u**2 + 2 * s * uu + d0 * (1 - u) ** 2) / q**2
    return z + h * (s * u**2 + d0 * uu) / q + (f - u) * w * dz, dz.log()


def curve_back(v, low, bottom, w, h, d):
    x, z = low + w.cumsum(-1) - w, bottom + h.cumsum(-1) - h
    x, w, z, h, d0, d1 = bin_of(v, z, x, w, z, h, d[..., :-1], d[..., 1:])
    s, f = h / w, (v - z) / h
    g = f.clamp(0, 1)
    bent = (d0 + d1 - 2 * s) * g
    a, b, c = s - d0 + bent, d0 - bent, -s * g
    u = 2 * c / (-b - (b**2 - 4 * a * c).sqrt())
    slope = torch.where(f < 0, d0, d1)
    return x + u * w + (f - g) * h / slope


class Spline(nn.Module):
    """One for all pixels."""

    def __init__(self, bins=32):
        super().__init__()
        self.widths, self.heights = nn.Parameter(torch.zeros(bins)), nn.Parameter(torch.zeros(bins))
        self.slopes = nn.Parameter(torch.zeros(bins + 1))

    def curve(self):
        return LOW, -8.0, -2 * LOW * self.widths.softmax(0), 16 * self.heights.softmax(0), self.slopes.exp()

    def forward(self, x):
        z, ln_slope = curve(x, *self.curve())
        return z, total(ln_slope)

    def inverse(self, z):
        return curve_back(z, *self.curve())


class ActNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, h):
        by_channel = self.log_scale[:, None, None]
        return (h + self.shift[:, None, None]) * by_channel.exp(), self.log_scale.sum() * h.shape[2] * h.shape[3]

    def inverse(self, z):
        return z * (-self.log_scale[:, None, None]).exp() - self.shift[:, None, None]


class Mix(nn.Module):
    def __init__(self, channels):
        super().__init__()
        order, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())
        self.register_buffer("sign", upper.diagonal().sign())
        self.register_buffer("order", order.argmax(1))
        self.register_buffer("eye", torch.eye(channels), persistent=False)

    def matrix(self):
        upper = self.upper.triu(1) + (self.sign * self.log_diagonal.exp()).diag()
        return ((self.lower.tril(-1) + self.eye) @ upper)[self.order]

    def forward(self, h):
        return F.conv2d(h, self.matrix()[:, :, None, None]), self.log_diagonal.sum() * h.shape[2] * h.shape[3]

    def inverse(self, z):
        # inv would wait for a GPU to look for errors.
        return F.conv2d(z, torch.linalg.inv_ex(self.matrix()).inverse[:, :, None, None])


class Affine:
    parameters = 2

    def __call__(self, h, y, bound):
        raw, shift = y.chunk(2, 1)
        log_s = bound * raw.tanh()
        return h * log_s.exp() + shift, log_s

    def inverse(self, z, y, bound):
        raw, shift = y.chunk(2, 1)
        return (z - shift) * (-bound * raw.tanh()).exp()


class Splines:
    parameters = 3 * BINS + 1

    def curve(self, h, y):
        y = y.reshape(len(h), self.parameters, *h.shape[1:]).movedim(1, -1)
        widths, heights, slopes = y.split([BINS, BINS, BINS + 1], -1)
        sizes = [12 * (0.001 + (1 - 0.001 * BINS) * part.softmax(-1)) for part in (widths, heights)]
        return -6.0, -6.0, *sizes, 0.001 + F.softplus(slopes + math.log(math.e - 1))

    def __call__(self, h, y, bound):
        return curve(h, *self.curve(h, y))

    def inverse(self, z, y, bound):
        return curve_back(z, *self.curve(z, y))


class Coupling(nn.Module):
    """By channels; `keep` says which are kept."""

    def __init__(self, keep, law, net, bound=None):
        super().__init__()
        kept, changed = keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]
        for name, index in [("kept", kept), ("changed", changed), ("merge", torch.cat([kept, changed]).argsort())]:
            self.register_buffer(name, index, persistent=False)
        # Halves are views, whichever is kept.
        self.half = bool((self.merge.diff() == 1).sum() >= len(keep) - 2)
        self.first = bool(keep[0])
        self.law, self.net, self.fixed = law, net(len(kept), law.parameters * len(changed)), bound
        if bound is None and isinstance(law, Affine):
            self.bound = nn.Parameter(torch.ones(len(changed), 1, 1))

    def split(self, h):
        if not self.half:
            return h[:, self.kept], h[:, self.changed]
        return h.chunk(2, 1) if self.first else h.chunk(2, 1)[::-1]

    def merged(self, kept, changed):
        if not self.half:
            return torch.cat([kept, changed], 1)[:, self.merge]
        return torch.cat([kept, changed] if self.first else [changed, kept], 1)

    def limit(self):
        return self.bound if isinstance(self.law, Affine) and self.fixed is None else self.fixed

    def forward(self, h):
        kept, changed = self.split(h)
        changed, ln_slope = self.law(changed, self.net(kept), self.limit())
        return self.merged(kept, changed), total(ln_slope)

    def inverse(self, z):
        kept, changed = self.split(z)
        return self.merged(kept, self.law.inverse(changed, self.net(kept), self.limit()))


class Chessboard(nn.Module):
    """By pixels, in every channel."""

    def __init__(self, channels, side, flipped, net):
        super().__init__()
        place = torch.arange(side)
        odd = (place[:, None] + place) % 2 == 1
        self.register_buffer("change", (odd ^ flipped).float(), persistent=False)
        self.register_buffer("keep", 1 - self.change, persistent=False)
        self.net = net(channels, 2 * channels)
        self.bound = nn.Parameter(torch.ones(channels, 1, 1))

    def parts(self, h):
        kept = h * self.keep
        raw, shift = self.net(kept).chunk(2, 1)
        return kept, self.bound * raw.tanh() * self.change, shift

    def forward(self, h):
        kept, log_s, shift = self.parts(h)
        return kept + (h * log_s.exp() + shift) * self.change, total(log_s)

    def inverse(self, z):
        kept, log_s, shift = self.parts(z)
        return kept + (z - shift) * (-log_s).exp() * self.change


class Prior(nn.Module):
    """A learned Gaussian of all that is left."""

    def __init__(self, *shape):
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, h):
        return (h - self.loc) * (-self.log_scale).exp(), -self.log_scale.sum()

    def inverse(self, z):
        return z * self.log_scale.exp() + self.loc


def half_prior(channels):
    """A Gaussian of the half that a level lets go of, given the other."""
    return Coupling(first_half(channels), Affine(), lambda i, o: nn.Conv2d(i, o, 3, padding=1), bound=4.0)


class Level(nn.Module):
    """Steps before the squeeze and behind it; half of the channels go on to the level within."""

    def __init__(self, before, steps, within):
        super().__init__()
        self.before, self.steps, self.within = list(before.values()), list(steps.values()), within
        for name, step in [*before.items(), *steps.items()]:
            # A module's name has no dots.
            self.add_module(name.replace(".", "__"), step)

    def forward(self, h):
        sum_of_logs = 0.0
        for step in self.before:
            h, log_det = step(h)
            sum_of_logs = sum_of_logs + log_det
        if self.steps:
            h = F.pixel_unshuffle(h, 2)
            for step in self.steps:
                h, log_det = step(h)
                sum_of_logs = sum_of_logs + log_det
            if self.within is not None:
                deeper, done = h.chunk(2, 1)
                deeper, log_det = self.within(deeper)
                h, sum_of_logs = torch.cat([deeper, done], 1), sum_of_logs + log_det
            h = F.pixel_shuffle(h, 2)
        return h, sum_of_logs

    def inverse(self, z):
        if self.steps:
            z = F.pixel_unshuffle(z, 2)
            if self.within is not None:
                deeper, done = z.chunk(2, 1)
                z = torch.cat([self.within.inverse(deeper), done], 1)
            for step in reversed(self.steps):
                z = step.inverse(z)
            z = F.pixel_shuffle(z, 2)
        for step in reversed(self.before):
            z = step.inverse(z)
        return z


def named(prefix, parts):
    return {f"{prefix}.{name}": part for name, part in parts.items()}


def glow(channels=1, side=28, i=0):
    squeezed, steps = 4 * channels, {}
    for j in range(CHECKERS if i == 0 else 0):
        coupling = Coupling(diagonal(squeezed, j % 2 == 1), Splines(), glow_checker_net)
        steps |= named(f"checker_{j}", {"actnorm": ActNorm(squeezed), "coupling": coupling})
    for j in range(GLOW_DEPTH):
        coupling = Coupling(first_half(squeezed), Affine(), glow_net)
        steps |= named(f"step_{j}", {"actnorm": ActNorm(squeezed), "mix": Mix(squeezed), "coupling": coupling})
    if i + 1 == GLOW_LEVELS:
        return Level({}, steps | {"prior": Prior(squeezed, side // 2, side // 2)}, None)
    return Level({}, steps | {"prior": half_prior(squeezed)}, glow(2 * channels, side // 2, i + 1))


def realnvp(channels=1, side=28, i=0):
    last, before, steps = i + 1 == REALNVP_LEVELS, {}, {}
    for j in range(REALNVP_CHECKERS + last):
        coupling = Chessboard(channels, side, j % 2 == 1, realnvp_net)
        before |= named(f"checker_{j}", {"actnorm": ActNorm(channels), "coupling": coupling})
    if last:
        return Level(before | {"prior": Prior(channels, side, side)}, {}, None)
    for j in range(REALNVP_CHANNELS):
        coupling = Coupling(first_half(4 * channels, j % 2 == 1), Affine(), realnvp_net)
        steps |= named(f"channel_{j}", {"actnorm": ActNorm(4 * channels), "coupling": coupling})
    return Level(before, steps | {"prior": half_prior(4 * channels)}, realnvp(2 * channels, side // 2, i + 1))


class Model(nn.Module):
    def __init__(self, work):
        super().__init__()
        self.device = work.device
        self.logit, self.spline = Logit(), Spline()
        self.level = glow() if work.model == "glow" else realnvp()

    def log_prob(self, x):
        h, ln_logit = self.logit(x)
        h, ln_spline = self.spline(h)
        z, ln_levels = self.level(h.view(-1, 1, 28, 28))
        return ln_logit + ln_spline + ln_levels - 0.5 * (total(z.square()) + 784 * math.log(2 * math.pi))

    def sample(self, n):
        h = self.level.inverse(torch.randn(n, 1, 28, 28, device=self.device)).flatten(1)
        return self.logit.inverse(self.spline.inverse(h))

    def load(self, tensors):
        own = {name_in_file(name): tensor for name, tensor in self.state_dict(keep_vars=True).items()}
        given = {name: array for name, array in tensors.items() if not name.endswith(".started")}
        if own.keys() != given.keys():
            raise ValueError(f"names of one model alone: {sorted(own.keys() ^ given.keys())}")
        for name, tensor in own.items():
            tensor.copy_(torch.from_numpy(given[name]))


def name_in_file(name):
    """A level within a level counts one more; the net has its coupling's name."""
    depth = name.count("within.")
    name = name.replace("within.", "").replace(".net.", ".").replace("__", ".")
    return name.replace("level.", f"level_{depth}.")
