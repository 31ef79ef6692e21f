#!/usr/bin/env python3
"""Computes the log-densities of a model file in PyTorch, by the rules of docs/model-format.md alone, and compares them
with those that this project's own program wrote.

    pip install torch safetensors numpy
    flow log-prob runs/NAME --input rows.npy --out log_prob.npy
    python3 docs/model_format_check.py runs/NAME rows.npy log_prob.npy

Exit code 0 where no row differs by more than --tolerance nats per dimension, 1 where one does, 2 where the question makes
no sense. Without LOG_PROB nothing is compared; --out keeps what was computed.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

ACTIVATIONS = {
    "relu": F.relu,
    "leaky-relu": lambda x: F.leaky_relu(x, 0.01),
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
}


class Model:
    """A model file, computed in f64."""

    def __init__(self, path):
        with safe_open(path, framework="pt") as file:
            card = json.loads(file.metadata()["flow"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if card["format"] != 1:
            raise ValueError(f"{path} is of format {card['format']}, this script reads format 1")
        self.config = card["model"]
        self.event = card["event"]
        self.dim = math.prod(self.event)
        self.context = self.config["classes"] if "classes" in self.config else self.config["context"]
        self.tensors = {name: t if t.dtype == torch.int64 else t.double() for name, t in tensors.items()}
        self.unused = set(tensors)

    def tensor(self, name):
        self.unused.discard(name)
        return self.tensors[name]

    def log_prob(self, x, context=None):
        """x: [n, D] to [n], in nats."""
        h, total = x, torch.zeros(len(x), dtype=x.dtype)
        for step in self.steps(context):
            h, log_det = step(h)
            total = total + log_det
        return total + base(self.config.get("base", "normal"), h)

    def steps(self, context):
        """The steps on rows [n, D], each of which gives the new rows and its log-determinant."""
        config = self.config
        if config["head"]["kind"] == "standardize":
            yield self.standardize
        elif config["head"]["kind"] == "logit":
            yield self.logit
        if config.get("spline") is not None:
            yield self.spline
        if config.get("actnorm", False):
            yield lambda h: self.actnorm("actnorm", h)

        if config["kind"] == "realnvp-image" or config["kind"] == "glow" and len(self.event) == 3:
            yield lambda h: self.levels(h, context)
        elif config["kind"] == "glow":
            yield from self.glow_on_a_vector(context)
        else:
            yield from self.couplings(context)

    def standardize(self, h):
        log_scale = self.tensor("standardize.log_scale")
        return h * log_scale.exp() + self.tensor("standardize.shift"), log_scale.sum()

    def logit(self, h):
        alpha = self.config["head"]["alpha"]
        width = 1 - 2 * alpha
        ln_y = (alpha + width * h).log()
        ln_rest = (alpha + width * (1 - h)).log()
        return ln_y - ln_rest, (math.log(width) - ln_y - ln_rest).sum(1)

    def spline(self, h):
        head = self.config["head"]
        low, high = 0.0, 1.0
        if head["kind"] == "logit":
            high = math.log(1 - head["alpha"]) - math.log(head["alpha"])
            low = -high
        self.tensor("spline.started")  # of no consequence for the density
        widths = (high - low) * self.tensor("spline.widths").softmax(0)
        heights = 16 * self.tensor("spline.heights").softmax(0)
        curves = [part.expand(*h.shape, -1) for part in (widths, heights, self.tensor("spline.slopes").exp())]
        new, ln_slope = curve(h, low, -8.0, *curves)
        return new, ln_slope.sum(1)

    def actnorm(self, name, h):
        """By dimension 1: columns of rows, channels of images."""
        log_scale, shift = self.tensor(f"{name}.log_scale"), self.tensor(f"{name}.shift")
        self.tensor(f"{name}.started")  # of no consequence for the density
        return (h + like(shift, h)) * like(log_scale, h).exp(), log_scale.sum() * pixels(h)

    # nice and realnvp

    def couplings(self, context):
        config = self.config
        nothing = 0.0
        for i in range(config["couplings"]):
            if config["order"] == "reverse":
                yield lambda h: (h.flip(1), nothing)
            elif config["order"] == "random":
                order = self.tensor(f"shuffle_{i}.order")
                yield lambda h: (h[:, order], nothing)
            name, keep = f"coupling_{i}", self.kept(i)
            law = "additive" if config["kind"] == "nice" else "affine"
            yield lambda h: self.coupling(name, law, keep, h, lambda kept: self.mlp(name, "conditioner", kept, context))
        if config["scaling"] == "one":
            log_scale = self.tensor("scaling.log_scale")
            yield lambda h: (h * log_scale.exp(), log_scale.sum())
        elif config["scaling"] == "data":
            yield lambda h: self.actnorm("scaling", h)

    def kept(self, i):
        """The coordinates that coupling i keeps, as D truth values."""
        index = torch.arange(self.dim)
        pattern = self.config["pattern"]
        if pattern == "halves":
            keep = index < (self.dim + 1) // 2
        elif pattern == "alternating":
            keep = index % 2 == 0
        else:
            width = self.event[2]
            keep = (index // width + index % width) % 2 == 0
        flipped = self.config["order"] == "flip" and i % 2 == 1
        return ~keep if flipped else keep

    # glow and realnvp-image

    def glow_on_a_vector(self, context):
        keep = torch.arange(self.dim) < (self.dim + 1) // 2
        law = self.config["coupling"]
        for j in range(self.config["depth"]):
            name = f"step_{j}.coupling"
            yield lambda h: self.actnorm(f"step_{j}.actnorm", h)
            yield lambda h: self.mix(f"step_{j}.mix", h)
            yield lambda h: self.coupling(name, law, keep, h, lambda kept: self.mlp(name, "vector_net", kept, context))
        if self.config["learned_top"]:
            yield lambda h: self.prior_of_the_whole("prior", h, context)

    def levels(self, h, context):
        image = h.reshape(len(h), *self.event)
        z, log_det = self.level(0, image, context)
        return z.reshape(len(h), self.dim), log_det

    def level(self, i, h, context):
        before, steps = self.glow_level(i, context) if self.config["kind"] == "glow" else self.realnvp_level(i, context)
        total = torch.zeros(len(h), dtype=h.dtype)
        for step in before:
            h, log_det = step(h)
            total = total + log_det
        rows, columns = h.shape[2] // 2 * 2, h.shape[3] // 2 * 2
        s = self.squeeze(h[:, :, :rows, :columns])
        for step in steps:
            s, log_det = step(s)
            total = total + log_det
        if i + 1 < self.config["levels"]:
            half = s.shape[1] // 2
            deeper, log_det = self.level(i + 1, s[:, :half], context)
            s, total = torch.cat([deeper, s[:, half:]], 1), total + log_det
        h = h.clone()
        h[:, :, :rows, :columns] = self.unsqueeze(s)
        return h, total

    def squeezed(self, c, channels):
        """Where channel c and pixel (dy, dx) of a block come to lie, for d = 2 dy + dx."""
        if self.config["squeeze"] == "channel-major":
            return [4 * c + d for d in range(4)]
        return [channels * d + c for d in range(4)]

    def squeeze(self, e):
        n, channels, height, width = e.shape
        s = e.new_empty(n, 4 * channels, height // 2, width // 2)
        for c in range(channels):
            for d, k in enumerate(self.squeezed(c, channels)):
                s[:, k] = e[:, c, d // 2 :: 2, d % 2 :: 2]
        return s

    def unsqueeze(self, s):
        n, channels, height, width = s.shape
        e = s.new_empty(n, channels // 4, 2 * height, 2 * width)
        for c in range(channels // 4):
            for d, k in enumerate(self.squeezed(c, channels // 4)):
                e[:, c, d // 2 :: 2, d % 2 :: 2] = s[:, k]
        return e

    def glow_level(self, i, context):
        config = self.config

        def steps():
            for j in range(config["checkers"] if i == 0 else 0):
                name, law = f"level_{i}.checker_{j}", config["checker"]
                yield lambda h: self.actnorm(f"{name}.actnorm", h)
                yield lambda h: self.diagonal(f"{name}.coupling", law, j % 2 == 1, h, context)
            for j in range(config["depth"]):
                name, law = f"level_{i}.step_{j}", config["coupling"]
                yield lambda h: self.actnorm(f"{name}.actnorm", h)
                yield lambda h: self.mix(f"{name}.mix", h)
                yield lambda h: self.halves(f"{name}.coupling", law, False, h, context)
            if i + 1 < config["levels"]:
                yield lambda h: self.prior_of_a_half(f"level_{i}.prior", h, context)
            elif config["learned_top"]:
                yield lambda h: self.prior_of_the_whole(f"level_{i}.prior", h, context)

        return [], steps()

    def realnvp_level(self, i, context):
        config = self.config
        last = i + 1 == config["levels"]

        def normalised(name, coupling):
            if config["net"]["norm"] == "batch":
                yield coupling
                yield lambda h: self.batchnorm(f"{name}.batchnorm", h)
            else:
                yield lambda h: self.actnorm(f"{name}.actnorm", h)
                yield coupling

        def before():
            for j in range(config["checkers"] + (1 if last else 0)):
                name = f"level_{i}.checker_{j}"
                yield from normalised(name, lambda h: self.chessboard(f"{name}.coupling", j % 2 == 1, h, context))
            if last and config["priors"]:
                yield lambda h: self.prior_of_the_whole(f"level_{i}.prior", h, context)

        def steps():
            if last:
                return
            for j in range(config["channels"]):
                name = f"level_{i}.channel_{j}"
                yield from normalised(name, lambda h: self.halves(f"{name}.coupling", "affine", j % 2 == 1, h, context))
            if config["priors"]:
                yield lambda h: self.prior_of_a_half(f"level_{i}.prior", h, context)

        return before(), steps()

    def batchnorm(self, name, h):
        mean, variance = self.tensor(f"{name}.mean"), self.tensor(f"{name}.variance") + 0.00001
        return (h - like(mean, h)) / like(variance, h).sqrt(), -pixels(h) / 2 * variance.log().sum()

    def mix(self, name, h):
        if self.config["mixing"] == "plain":
            matrix = self.tensor(f"{name}.matrix")
            ln_det = matrix.det().abs().log()
        else:
            log_diagonal = self.tensor(f"{name}.log_diagonal")
            lower = self.tensor(f"{name}.lower").tril(-1) + torch.eye(len(log_diagonal), dtype=h.dtype)
            upper = self.tensor(f"{name}.upper").triu(1) + (self.tensor(f"{name}.sign") * log_diagonal.exp()).diag()
            matrix = (lower @ upper)[self.tensor(f"{name}.order")]
            ln_det = log_diagonal.sum()
        return torch.einsum("ij,nj...->ni...", matrix, h), ln_det * pixels(h)

    def prior_of_the_whole(self, name, h, context):
        loc, log_scale = self.tensor(f"{name}.loc"), self.tensor(f"{name}.log_scale")
        if context is not None:
            by_loc, by_log_scale = F.linear(context, self.tensor(f"{name}.by_context")).chunk(2, dim=1)
            loc, log_scale = loc + by_loc.reshape(h.shape), log_scale + by_log_scale.reshape(h.shape)
        log_scale = log_scale.expand(h.shape)
        return (h - loc) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)

    def prior_of_a_half(self, name, h, context):
        def net(kept):
            y = F.conv2d(kept, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), padding=1)
            return y if context is None else y + F.linear(context, self.tensor(f"{name}.context"))[:, :, None, None]

        keep = torch.arange(h.shape[1]) < h.shape[1] // 2
        return self.coupling(name, "affine", keep, h, net, bound=4.0)

    def halves(self, name, law, flipped, h, context):
        keep = (torch.arange(h.shape[1]) < h.shape[1] // 2) != flipped
        return self.coupling(name, law, keep, h, lambda kept: self.conv_net(name, "net", kept, context))

    def diagonal(self, name, law, flipped, h, context):
        channel, channels = torch.arange(h.shape[1]), h.shape[1]
        d = channel % 4 if self.config["squeeze"] == "channel-major" else 4 * channel // channels
        keep = ((d == 0) | (d == 3)) != flipped
        return self.coupling(name, law, keep, h, lambda kept: self.conv_net(name, "checker_net", kept, context))

    def chessboard(self, name, flipped, h, context):
        y, x = torch.arange(h.shape[2])[:, None], torch.arange(h.shape[3])[None, :]
        changed = (((y + x) % 2 == 1) != flipped).to(h.dtype)
        parameters = self.conv_net(name, "net", h * (1 - changed), context)
        new, ln_slope = self.law(name, "affine", h, parameters, None)
        return h * (1 - changed) + new * changed, (ln_slope * changed).flatten(1).sum(1)

    # what they share

    def coupling(self, name, law, keep, h, net, bound=None):
        """By dimension 1: columns of rows, channels of images."""
        kept, changed = h[:, keep], h[:, ~keep]
        new, ln_slope = self.law(name, law, changed, net(kept), bound)
        merged = torch.empty_like(h)
        merged[:, keep], merged[:, ~keep] = kept, new
        return merged, ln_slope.flatten(1).sum(1)

    def law(self, name, law, changed, parameters, bound):
        """The changed coordinates [n, M, ..] and the logarithm of the slope at each."""
        if law == "additive":
            return changed + parameters, torch.zeros_like(changed)
        if law == "affine":
            raw, t = parameters.chunk(2, dim=1)
            log_s = (self.bound(name) if bound is None else bound) * raw.tanh()
            return changed * log_s.exp() + t, log_s
        bins = self.config["bins"]
        by_bin = parameters.reshape(len(changed), 3 * bins + 1, *changed.shape[1:]).movedim(1, -1)
        widths, heights, slopes = by_bin.split([bins, bins, bins + 1], dim=-1)
        sizes = [12 * (0.001 + (1 - 0.001 * bins) * part.softmax(-1)) for part in (widths, heights)]
        return curve(changed, -6.0, -6.0, *sizes, 0.001 + F.softplus(slopes + math.log(math.e - 1)))

    def bound(self, name):
        bound = self.config["bound"]
        return bound["fixed"] if "fixed" in bound else self.tensor(f"{name}.bound")

    def mlp(self, name, field, kept, context):
        config = self.config[field]
        a = ACTIVATIONS[config["activation"]]
        x = kept if context is None else torch.cat([kept, context], dim=1)

        def linear(layer, x):
            return F.linear(x, self.tensor(f"{name}.{layer}.weight"), self.tensor(f"{name}.{layer}.bias"))

        h = a(linear("layer_0", x))
        for k in range(1, config["layers"]):
            change = a(linear(f"layer_{k}", h))
            h = h + change if config["residual"] else change
        y = linear("out", h)
        return y + F.linear(x, self.tensor(f"{name}.skip.weight")) if config["skip"] else y

    def conv_net(self, name, field, kept, context):
        config = self.config[field]
        a = ACTIVATIONS[config["activation"]]

        def conv(layer, x, norm):
            weight, bias = self.tensor(f"{name}.{layer}.weight"), self.tensor(f"{name}.{layer}.bias")
            if norm == "weight":
                length = weight.square().sum((1, 2, 3)).sqrt()
                weight = weight * (self.tensor(f"{name}.{layer}.gain") / length)[:, None, None, None]
            y = F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
            if norm == "batch":
                mean, variance, gain, shift = (
                    like(self.tensor(f"{name}.{layer}.{part}"), y) for part in ("mean", "variance", "gain", "shift")
                )
                y = (y - mean) / (variance + 0.00001).sqrt() * gain + shift
            return y

        def hidden(layer, x):
            return conv(layer, x, config["norm"])

        g = hidden("first", kept)
        if context is not None:
            g = g + F.linear(context, self.tensor(f"{name}.context.weight"))[:, :, None, None]
        if not config["residual"]:
            g = a(g)
        for k in range(config["blocks"]):
            if config["residual"]:
                g = g + hidden(f"block_{k}.b", a(hidden(f"block_{k}.a", a(g))))
            else:
                g = a(hidden(f"hidden_{k}", g))
        return conv("out", a(g) if config["residual"] else g, "none")


def like(parameter, h):
    """[C] as [1, C, 1, ..], to go with h."""
    return parameter.reshape(1, -1, *[1] * (h.dim() - 2))


def pixels(h):
    """H W of images, 1 of rows."""
    return math.prod(h.shape[2:])


def curve(v, x_start, z_start, w, h, d):
    """v: [..] along curves whose bins have widths w, heights h, [.., B], and slopes d, [.., B + 1] at their ends."""
    x = x_start + w.cumsum(-1) - w
    z = z_start + h.cumsum(-1) - h
    b = ((v[..., None] >= x).sum(-1, keepdim=True) - 1).clamp(min=0)
    x, w, z, h, d0, d1 = (part.gather(-1, b)[..., 0] for part in (x, w, z, h, d[..., :-1], d[..., 1:]))
    s, f = h / w, (v - x) / w
    u = f.clamp(0, 1)
    q = s + (d0 + d1 - 2 * s) * u * (1 - u)
    dz = s**2 * (d1 * u**2 + 2 * s * u * (1 - u) + d0 * (1 - u) ** 2) / q**2
    return z + h * (s * u**2 + d0 * u * (1 - u)) / q + (f - u) * w * dz, dz.log()


def base(kind, z):
    if kind == "normal":
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    return -(F.softplus(z) + F.softplus(-z)).sum(1)


def read_rows(path, dim):
    rows = np.load(path)
    if not np.issubdtype(rows.dtype, np.floating):
        raise ValueError(f"{path} holds {rows.dtype}; a density is one of real numbers, for images k + u over the levels")
    return torch.from_numpy(rows.astype(np.float64)).reshape(len(rows), dim)


def log_prob(model, x, arguments):
    """Given what is known of the rows; of a class that is not known the sum over all."""
    classes = model.config.get("classes", 0)
    if arguments.context:
        return model.log_prob(x, read_rows(arguments.context, model.context))
    by_class = torch.eye(classes, dtype=x.dtype)
    if arguments.label is not None:
        return model.log_prob(x, by_class[arguments.label].expand(len(x), classes))
    if classes > 0:
        each = torch.stack([model.log_prob(x, row.expand(len(x), classes)) for row in by_class])
        return each.logsumexp(0) - math.log(classes)
    if model.context > 0:
        raise ValueError(f"the model wants a context of width {model.context}")
    return model.log_prob(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model.safetensors, or the folder that holds one")
    parser.add_argument("rows", type=Path, help=".npy, one row a datum, in the model's input unit")
    parser.add_argument("log_prob", type=Path, nargs="?", help=".npy, what the program computed, in nats")
    parser.add_argument("--context", type=Path, help=".npy, one row a datum; classes one-hot")
    parser.add_argument("--class", dest="label", type=int, help="the class of all rows, as --class of flow log-prob")
    parser.add_argument("--out", type=Path, help="writes the log-densities computed here, f64")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="nats per dimension (default %(default)s)")
    arguments = parser.parse_args()

    path = arguments.model / "model.safetensors" if arguments.model.is_dir() else arguments.model
    try:
        model = Model(path)
        x = read_rows(arguments.rows, model.dim)
        mine = log_prob(model, x, arguments).numpy()
        theirs = np.load(arguments.log_prob).astype(np.float64) if arguments.log_prob else None
        if theirs is not None and theirs.shape != mine.shape:
            raise ValueError(f"{arguments.log_prob} is {theirs.shape}, for {len(mine)} rows")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError, SafetensorError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if model.unused:
        print(f"tensors that no rule asked for: {sorted(model.unused)}", file=sys.stderr)
        return 2
    if arguments.out:
        np.save(arguments.out, mine)

    print(f"{model.config['kind']}, {len(mine)} rows of {model.dim}: mean log p = {mine.mean():.6f} nats (PyTorch, f64)")
    if theirs is None:
        return 0
    worst = np.abs(theirs - mine).max() / model.dim
    good = bool(worst <= arguments.tolerance)  # not so for a NaN
    print(f"largest difference: {worst:.3e} nats per dimension, {'within' if good else 'MORE THAN'} {arguments.tolerance:g}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
