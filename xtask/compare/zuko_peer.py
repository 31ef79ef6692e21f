"""zuko: its couplings, with the additive law, or the original's tanh given as an argument."""

import torch
from torch.distributions import AffineTransform
from zuko.distributions import DiagNormal
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.lazy import Flow, UnconditionalDistribution, UnconditionalTransform
from zuko.transforms import AdditiveTransform, DependentTransform

from torch_peer import TorchPeer, fill
from work import COUPLINGS, HIDDEN, conditioner, keeps_the_second, log_scale


def tanh_affine(shift, raw):
    return AffineTransform(shift, raw.tanh().exp())


def scaling(log_scale):
    return DependentTransform(AffineTransform(0.0, log_scale.exp()), 1)


class Model(torch.nn.Module):
    def __init__(self, work):
        super().__init__()
        self.work = work
        law = (tanh_affine, [(), ()]) if work.affine else (AdditiveTransform, [()])
        first = torch.arange(work.dim) < work.dim // 2
        steps = []
        for i in range(COUPLINGS):
            # A mask says what is kept.
            mask = ~first if keeps_the_second(i) else first
            hidden = [HIDDEN] * work.layers
            steps.append(GeneralCouplingTransform(work.dim, 0, mask, *law, hidden_features=hidden))
        if not work.affine:
            steps.append(UnconditionalTransform(scaling, torch.zeros(work.dim)))
        base = UnconditionalDistribution(DiagNormal, torch.zeros(work.dim), torch.ones(work.dim), buffer=True)
        self.flow = Flow(steps, base)
        self.steps = steps

    def log_prob(self, x):
        return self.flow().log_prob(x)

    def sample(self, n):
        return self.flow().sample((n,))

    def load(self, tensors):
        for i in range(COUPLINGS):
            fill(self.steps[i].hyper, conditioner(self.work, tensors, i, "by turns"))
        if not self.work.affine:
            next(self.steps[-1].parameters()).copy_(torch.from_numpy(log_scale(tensors)))


def peer(work):
    if not work.layers:
        raise NotImplementedError("zuko has no image layers")
    return TorchPeer(work, Model(work), ["zuko"])
