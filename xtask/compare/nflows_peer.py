"""nflows: its couplings and its flow. The law of its affine coupling is a sigmoid unless one method is replaced; the
original's is a tanh."""

import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms.base import CompositeTransform, Transform
from nflows.transforms.coupling import AdditiveCouplingTransform, AffineCouplingTransform

from torch_peer import TorchPeer, fill, linears
from work import COUPLINGS, conditioner, keeps_the_second, log_scale


class Net(torch.nn.Module):
    def __init__(self, inputs, outputs, layers):
        super().__init__()
        self.net = linears(inputs, outputs, layers)

    def forward(self, kept, context=None):
        return self.net(kept)


class TanhCoupling(AffineCouplingTransform):
    def _scale_and_shift(self, transform_params):
        shift, raw = transform_params.chunk(2, dim=1)
        return raw.tanh().exp(), shift


class Scaling(Transform):
    """nflows' own elementwise scaling is not trained."""

    def __init__(self, dim):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(dim))

    def forward(self, inputs, context=None):
        return inputs * self.log_scale.exp(), self.log_scale.sum().expand(len(inputs))

    def inverse(self, inputs, context=None):
        return inputs * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(inputs))


class Model(Flow):
    def __init__(self, work):
        first = torch.arange(work.dim) < work.dim // 2
        kind = TanhCoupling if work.affine else AdditiveCouplingTransform
        # A mask says what is changed.
        masks = [first if keeps_the_second(i) else ~first for i in range(COUPLINGS)]
        steps = [kind(mask.int(), lambda i, o: Net(i, o, work.layers)) for mask in masks]
        steps += [] if work.affine else [Scaling(work.dim)]
        super().__init__(CompositeTransform(steps), StandardNormal([work.dim]))
        self.work, self.steps = work, steps

    def load(self, tensors):
        for i in range(COUPLINGS):
            fill(self.steps[i].transform_net, conditioner(self.work, tensors, i, "shift, raw"))
        if not self.work.affine:
            self.steps[-1].log_scale.copy_(torch.from_numpy(log_scale(tensors)))


def peer(work):
    if work.layers:
        return TorchPeer(work, Model(work), ["nflows"])
    import nflows_images

    return TorchPeer(work, nflows_images.Model(work), ["nflows"])
