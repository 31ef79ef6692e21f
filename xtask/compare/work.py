"""The work that is compared: the original's four configurations, and the image models of the presets `cpu`."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Work:
    name: str
    model: str
    dim: int
    batch: int
    # Hidden layers of a conditioner; image models have their own nets.
    layers: int = 0
    # Of no consequence for speed; that of image models is low, since made-up images cannot be learned.
    rate: float = 1e-3
    # Where it is done: cpu or cuda.
    device: str = "cpu"

    @property
    def levels(self):
        """Whether a row is an image of 256 levels a pixel, dequantized anew at every step."""
        return self.dim == 784

    @property
    def affine(self):
        return self.model == "realnvp"


HIDDEN = 512
COUPLINGS = 5
WORK = {
    work.name: work
    for work in [
        Work("nice-moons", "nice", 2, 1000, layers=2),
        Work("realnvp-moons", "realnvp", 2, 1000, layers=3),
        Work("nice-mnist", "nice", 784, 128, layers=4),
        Work("realnvp-mnist", "realnvp", 784, 128, layers=5),
        Work("glow-mnist", "glow", 784, 32, rate=1e-4),
        Work("realnvp-image-mnist", "realnvp-image", 784, 32, rate=1e-4),
    ]
}


def sizes(work):
    """Inputs and outputs of a conditioner of the original: half of the coordinates to a shift, and a scale, of the rest."""
    kept = (work.dim + 1) // 2
    changed = work.dim - kept
    return kept, changed * (2 if work.affine else 1)


def conditioner(work, tensors, i, layout="raw, shift", moving=False):
    """Weight and bias of each linear layer of coupling i, out of a model file.

    The original reverses the coordinates before each coupling. A peer that moves no coordinate keeps the second half and
    the first half by turns, which is the same function if the weights of every other net are reversed, too. In the file
    the last layer's rows are those of the raw log-scale, then those of the shift; peers have them in another `layout`."""
    names = [f"coupling_{i}.layer_{k}" for k in range(work.layers)] + [f"coupling_{i}.out"]
    layers = [(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names]
    (first, first_bias), (last, last_bias) = layers[0], layers[-1]
    parts = np.split(np.arange(len(last)), 2 if work.affine else 1)
    if keeps_the_second(i) and not moving:
        first = first[:, ::-1]
        parts = [part[::-1] for part in parts]
    if work.affine and layout == "shift, raw":
        parts = parts[::-1]
    elif work.affine and layout == "by turns":
        parts = [np.stack(parts[::-1], 1).ravel()]
    rows = np.concatenate(parts)
    layers[0] = (first, first_bias)
    layers[-1] = (last[rows], last_bias[rows])
    return layers


def keeps_the_second(i):
    """Whether coupling i keeps the second half, and not the first."""
    return i % 2 == 0


def log_scale(tensors, moving=False):
    """NICE's final scaling; five reversals are one."""
    return tensors["scaling.log_scale"][:: 1 if moving else -1].copy()
