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
        self.tensors = {name: t if t.dtype == torch.int64 else t.double() for name, t in tensors.items()}
        self.unused = set(tensors)

    def tensor(self, name):
        self.unused.discard(name)
        return self.tensors[name]

    def log_prob(self, x, context=None):
        """x: [n, D] to [n], in nats."""
        config, head = self.config, self.config["head"]
        h, total = x, torch.zeros(len(x), dtype=x.dtype)

        if head["kind"] == "standardize":
            log_scale = self.tensor("standardize.log_scale")
            h, total = h * log_scale.exp() + self.tensor("standardize.shift"), total + log_scale.sum()
        elif head["kind"] == "logit":
            width = 1 - 2 * head["alpha"]
            ln_y = (head["alpha"] + width * h).log()
            ln_rest = (head["alpha"] + width * (1 - h)).log()
            h, total = ln_y - ln_rest, total + (math.log(width) - ln_y - ln_rest).sum(1)

        if config.get("actnorm", False):
            h, log_det = self.actnorm("actnorm", h)
            total = total + log_det

        for i in range(config["couplings"]):
            if config["order"] == "reverse":
                h = h.flip(1)
            elif config["order"] == "random":
                h = h[:, self.tensor(f"shuffle_{i}.order")]
            h, log_det = self.coupling(i, h, context)
            total = total + log_det

        if config["scaling"] == "one":
            log_scale = self.tensor("scaling.log_scale")
            h, total = h * log_scale.exp(), total + log_scale.sum()
        elif config["scaling"] == "data":
            h, log_det = self.actnorm("scaling", h)
            total = total + log_det

        return total + base(config["base"], h)

    def actnorm(self, name, h):
        log_scale = self.tensor(f"{name}.log_scale")
        self.tensor(f"{name}.started")  # of no consequence for the density
        return (h + self.tensor(f"{name}.shift")) * log_scale.exp(), log_scale.sum()

    def coupling(self, i, h, context):
        keep = self.kept(i)
        kept, changed = h[:, keep], h[:, ~keep]
        given = kept if context is None else torch.cat([kept, context], dim=1)
        out = self.net(f"coupling_{i}", given)
        if self.config["kind"] == "nice":
            changed, log_det = changed + out, torch.zeros(len(h), dtype=h.dtype)
        else:
            raw, t = out.chunk(2, dim=1)
            log_s = self.bound(i) * raw.tanh()
            changed, log_det = changed * log_s.exp() + t, log_s.sum(1)
        merged = torch.empty_like(h)
        merged[:, keep], merged[:, ~keep] = kept, changed
        return merged, log_det

    def bound(self, i):
        bound = self.config["bound"]
        return bound["fixed"] if "fixed" in bound else self.tensor(f"coupling_{i}.bound")

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

    def net(self, name, x):
        config = self.config["conditioner"]
        a = ACTIVATIONS[config["activation"]]

        def linear(layer, x):
            return F.linear(x, self.tensor(f"{name}.{layer}.weight"), self.tensor(f"{name}.{layer}.bias"))

        h = a(linear("layer_0", x))
        for k in range(1, config["layers"]):
            change = a(linear(f"layer_{k}", h))
            h = h + change if config["residual"] else change
        y = linear("out", h)
        return y + F.linear(x, self.tensor(f"{name}.skip.weight")) if config["skip"] else y


def base(kind, z):
    if kind == "normal":
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    return -(F.softplus(z) + F.softplus(-z)).sum(1)


def read_rows(path, dim):
    rows = np.load(path)
    if not np.issubdtype(rows.dtype, np.floating):
        raise ValueError(f"{path} holds {rows.dtype}; a density is one of real numbers, for images k + u over the levels")
    return torch.from_numpy(rows.astype(np.float64)).reshape(len(rows), dim)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model.safetensors, or the folder that holds one")
    parser.add_argument("rows", type=Path, help=".npy, one row a datum, in the model's input unit")
    parser.add_argument("log_prob", type=Path, nargs="?", help=".npy, what the program computed, in nats")
    parser.add_argument("--context", type=Path, help=".npy, one row a datum, for a model that wants one")
    parser.add_argument("--out", type=Path, help="writes the log-densities computed here, f64")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="nats per dimension (default %(default)s)")
    arguments = parser.parse_args()

    path = arguments.model / "model.safetensors" if arguments.model.is_dir() else arguments.model
    try:
        model = Model(path)
        x = read_rows(arguments.rows, model.dim)
        context = read_rows(arguments.context, model.config["context"]) if arguments.context else None
        mine = model.log_prob(x, context).numpy()
        theirs = np.load(arguments.log_prob).astype(np.float64) if arguments.log_prob else None
        if theirs is not None and theirs.shape != mine.shape:
            raise ValueError(f"{arguments.log_prob} is {theirs.shape}, for {len(mine)} rows")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
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
