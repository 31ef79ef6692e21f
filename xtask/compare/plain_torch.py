"""Plain PyTorch, as one writes it: NICE and RealNVP of the original in a page."""

import math

import torch

from torch_peer import TorchPeer, fill, linears
from work import COUPLINGS, conditioner, keeps_the_second, log_scale, sizes


class Stack(torch.nn.Module):
    """Five couplings that keep one half and the other by turns; NICE ends in a scaling."""

    def __init__(self, work):
        super().__init__()
        self.work = work
        inputs, outputs = sizes(work)
        self.nets = torch.nn.ModuleList(linears(inputs, outputs, work.layers) for _ in range(COUPLINGS))
        if not work.affine:
            self.log_scale = torch.nn.Parameter(torch.zeros(work.dim))

    def log_prob(self, x):
        halves = list(x.chunk(2, 1))
        total = 0.0
        for i, net in enumerate(self.nets):
            kept, changed = self.kept(i)
            y = net(halves[kept])
            if self.work.affine:
                raw, shift = y.chunk(2, 1)
                log_s = raw.tanh()
                halves[changed] = halves[changed] * log_s.exp() + shift
                total = total + log_s.sum(1)
            else:
                halves[changed] = halves[changed] + y
        z = torch.cat(halves, 1)
        if not self.work.affine:
            z = z * self.log_scale.exp()
            total = self.log_scale.sum()
        return total - 0.5 * (z.square().sum(1) + self.work.dim * math.log(2 * math.pi))

    def sample(self, n):
        z = torch.randn(n, self.work.dim)
        if not self.work.affine:
            z = z * (-self.log_scale).exp()
        halves = list(z.chunk(2, 1))
        for i, net in reversed(list(enumerate(self.nets))):
            kept, changed = self.kept(i)
            y = net(halves[kept])
            if self.work.affine:
                raw, shift = y.chunk(2, 1)
                halves[changed] = (halves[changed] - shift) * (-raw.tanh()).exp()
            else:
                halves[changed] = halves[changed] - y
        return torch.cat(halves, 1)

    def kept(self, i):
        return (1, 0) if keeps_the_second(i) else (0, 1)

    def load(self, tensors):
        for i, net in enumerate(self.nets):
            fill(net, conditioner(self.work, tensors, i))
        if not self.work.affine:
            self.log_scale.copy_(torch.from_numpy(log_scale(tensors)))


def model(work):
    if work.layers:
        return Stack(work)
    import plain_images

    return plain_images.Model(work)


def peer(work):
    return TorchPeer(work, model(work))


def compiled(work):
    """The same by `torch.compile`: a graph for each batch size."""
    plain = TorchPeer(work, model(work))
    plain.trained = plain.density = torch.compile(plain.model.log_prob, dynamic=False)
    plain.draw = torch.compile(plain.model.sample, dynamic=False)
    return plain
