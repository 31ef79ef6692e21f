"""Trains normflows' multi-scale Glow on MNIST for a given time and says what it reaches, to stand beside `flow`'s.

    pip install torch==2.11.0 normflows==1.7.3
    python3 docs/compare_normflows.py datasets/mnist --seconds 600 --threads 2

The model is the one of normflows' own Glow example, at the size that suits MNIST on a processor: 2 levels of 8 steps,
width 64, affine, a learned Gaussian at each level, logit with a margin of 1e-6, Adamax at 1e-3, batches of 32. Trained on
the first 50,000 training images, dequantized anew at every step; tested on the 10,000 test images, one draw each, on the
unit cube: bits/dim = 8 - nats / (784 ln 2), every image counted. The weights tested are the last.
"""

import argparse
import gzip
import math
import time
from pathlib import Path

import normflows as nf
import numpy as np
import torch


def images(folder, name):
    plain, packed = Path(folder) / name, Path(folder) / f"{name}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=16).reshape(-1, 1, 28, 28).copy())


def glow(levels, steps, width):
    bases, flows, merges = [], [], []
    for i in range(levels):
        channels = 2 ** (levels + 1 - i)
        blocks = [nf.flows.GlowBlock(channels, width, split_mode="channel", scale=True) for _ in range(steps)]
        flows.append(blocks + [nf.flows.Squeeze()])
        if i == 0:
            shape = (2 ** (levels + 1), 28 // 2**levels, 28 // 2**levels)
        else:
            merges.append(nf.flows.Merge())
            shape = (2 ** (levels - i), 28 // 2 ** (levels - i), 28 // 2 ** (levels - i))
        bases.append(nf.distributions.DiagGaussian(shape))
    return nf.MultiscaleFlow(bases, flows, merges, transform=nf.transforms.Logit(1e-6), class_cond=False)


def dequantized(levels):
    return (levels.float() + torch.rand(levels.shape)) / 256


def bits_per_dim(model, test):
    with torch.no_grad():
        nats = torch.cat([model.log_prob(dequantized(part), None) for part in test.split(500)]).double()
    bits = 8 - nats / (784 * math.log(2))
    return bits.mean().item(), (bits.std() / math.sqrt(len(bits))).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    train = images(options.folder, "train-images-idx3-ubyte")[:50_000]
    test = images(options.folder, "t10k-images-idx3-ubyte")
    model = glow(2, 8, 64)
    # The ActNorms start from data at the first batch.
    with torch.no_grad():
        model.log_prob(dequantized(train[:256]), None)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.Adamax(model.parameters(), lr=1e-3, weight_decay=1e-5)
    start, step, told = time.perf_counter(), 0, 0.0
    while (seconds := time.perf_counter() - start) < options.seconds:
        loss = -model.log_prob(dequantized(train[torch.randint(len(train), (options.batch,))]), None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if seconds - told >= 60:
            told = seconds
            print(f"{seconds:.0f} s, {step} steps: {8 - -loss.item() / (784 * math.log(2)):.4f} bits/dim (a batch)", flush=True)
    mean, error = bits_per_dim(model, test)
    print(f"after {seconds:.0f} s and {step} steps of {options.batch}: test {mean:.4f} ± {error:.4f} bits/dim")


if __name__ == "__main__":
    main()
