"""normflows: its coupling blocks and its flow. It maps from latent to data; `Reverse` turns a step around, so that the
density goes by the law of the original."""

import torch
from normflows import NormalizingFlow
from normflows.distributions import DiagGaussian
from normflows.flows import AffineConstFlow, AffineCouplingBlock, Reverse

from torch_peer import TorchPeer, fill, linears
from work import COUPLINGS, conditioner, keeps_the_second, log_scale, sizes


class Net(torch.nn.Module):
    """normflows takes shift and scale by turns; the original's scale is the exponential of a tanh."""

    def __init__(self, work):
        super().__init__()
        self.affine = work.affine
        self.net = linears(*sizes(work), work.layers)

    def forward(self, kept):
        if not self.affine:
            return self.net(kept)
        raw, shift = self.net(kept).chunk(2, 1)
        return torch.stack([shift, raw.tanh()], 2).flatten(1)


class Model(torch.nn.Module):
    def __init__(self, work):
        super().__init__()
        self.work = work
        self.nets = [Net(work) for _ in range(COUPLINGS)]
        flows = []
        for i, net in enumerate(self.nets):
            mode = "channel_inv" if keeps_the_second(i) else "channel"
            flows.append(Reverse(AffineCouplingBlock(net, scale=work.affine, scale_map="exp", split_mode=mode)))
        if not work.affine:
            flows.append(AffineConstFlow((work.dim,), shift=False))
        self.scaling = flows[-1]
        self.flow = NormalizingFlow(DiagGaussian(work.dim, trainable=False), flows[::-1])

    def log_prob(self, x):
        return self.flow.log_prob(x)

    def sample(self, n):
        return self.flow.sample(n)[0]

    def load(self, tensors):
        for i, net in enumerate(self.nets):
            fill(net, conditioner(self.work, tensors, i))
        if not self.work.affine:
            self.scaling.s.copy_(-torch.from_numpy(log_scale(tensors)).view_as(self.scaling.s))


def peer(work):
    if work.layers:
        return TorchPeer(work, Model(work), ["normflows"])
    import normflows_images

    return TorchPeer(work, normflows_images.Model(work), ["normflows"])
