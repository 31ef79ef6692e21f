"""Writes the JSON files beside this script: what flows of nflows, normflows and zuko compute with given weights.

    pip install torch==2.11.0 nflows==0.14 normflows==1.7.3 zuko==1.6.0
    python make.py

Each file holds one flow in data -> latent order, in float64, with the peer's own weights (numbers of three decimals, so
that the text is exact), a batch `x` with its `z`, `log_det` and `log_prob`, and another batch `z2` with the `x2` and
`log_det2` of its way back. All of these come out of the peer's own, unmodified code, but for the scale's law of
`nflows_bounded`, which overrides one method, and the univariate map of `zuko_tanh`, which zuko takes as an argument.

What differs from peer to peer, and is written down in the file:

- direction: nflows and zuko map data -> latent by the law of a coupling, normflows latent -> data ("data_to_latent");
- the law of the scale, from the net's output `a` ("law");
- where in the net's output scale and shift stand ("layout").
"""

import json
from pathlib import Path

import normflows
import torch
import zuko
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow as NFlow
from nflows.transforms import base as nbase
from nflows.transforms import coupling as ncoupling
from nflows.transforms import permutations as npermutations
from nflows.transforms import standard as nstandard
from nflows.utils import torchutils

# normflows adds up log-determinants in a tensor of the default type: with float32 they would be rounded.
torch.set_default_dtype(torch.float64)
HERE = Path(__file__).parent
BATCH = 4


def given(module, seed, size=0.4):
    """Sets every parameter to a given number: N(0, size^2), three decimals."""
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(module.named_parameters()):
        parameter.data = (size * torch.randn(parameter.shape, generator=generator)).round(decimals=3)
        parameter.requires_grad_(False)
    return module


def inputs(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).round(decimals=3)


def layers(net, columns=None, rows=None):
    """Weights and biases of a stack of linear layers; of a masked one only the columns and rows that count."""
    linear = [m for m in net.modules() if isinstance(m, (torch.nn.Linear, zuko.nn.Linear))]
    weights = [m.weight for m in linear]
    biases = [m.bias for m in linear]
    if columns is not None:
        weights[0] = weights[0][:, columns]
        weights[-1], biases[-1] = weights[-1][rows], biases[-1][rows]
    return [{"weight": w.tolist(), "bias": b.tolist()} for w, b in zip(weights, biases)]


def coupling(keep, law, layout, activation, nets, data_to_latent=True, bound=None):
    step = {"kind": "coupling", "keep": [bool(k) for k in keep], "law": law, "layout": layout, "activation": activation}
    step.update({"nets": nets, "data_to_latent": data_to_latent})
    if bound is not None:
        step["bound"] = bound
    return step


def write(name, library, steps, x, z, log_det, log_prob, z2, x2, log_det2, context=None):
    back = log_det2.tolist()
    whole = {"library": library, "steps": steps, "context": None if context is None else context.tolist()}
    whole |= {"x": x.tolist(), "z": z.tolist(), "log_det": log_det.tolist(), "log_prob": log_prob.tolist()}
    whole |= {"z2": z2.tolist(), "x2": x2.tolist(), "log_det2": back}
    assert all(len(whole[key]) == BATCH for key in ("log_det", "log_prob", "log_det2"))
    (HERE / f"{name}.json").write_text(json.dumps(whole, separators=(",", ":")) + "\n")


# nflows: forward is data -> latent. A coupling's net is called with (kept, context) and returns [shift, a].


class Net(torch.nn.Module):
    """A multilayer perceptron of (kept, context): nflows leaves the net to its user."""

    def __init__(self, inputs, outputs, context=0, hidden=8):
        super().__init__()
        first = torch.nn.Linear(inputs + context, hidden)
        self.net = torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Linear(hidden, outputs))

    def forward(self, kept, context=None):
        return self.net(kept if context is None else torch.cat([kept, context], 1))


class BoundedCoupling(ncoupling.AffineCouplingTransform):
    """log s = bound * tanh(a), the bound a parameter of its own for each coordinate."""

    def __init__(self, mask, net, bound):
        super().__init__(mask, net)
        self.register_buffer("bound", torch.tensor(bound))

    def _scale_and_shift(self, transform_params):
        shift, a = transform_params.chunk(2, dim=1)
        return torch.exp(self.bound * torch.tanh(a)), shift


def nflows_case(name, transforms, steps, dim, context=None):
    flow = NFlow(nbase.CompositeTransform(transforms), StandardNormal([dim]))
    x, z2 = inputs(1, BATCH, dim), inputs(2, BATCH, dim)
    z, log_det = flow._transform(x, context)
    x2, log_det2 = flow._transform.inverse(z2, context)
    write(name, "nflows 0.14", steps, x, z, log_det, flow.log_prob(x, context), z2, x2, log_det2, context)


def alternating(dim, i):
    """nflows changes where its mask is 1."""
    return torchutils.create_alternating_binary_mask(dim, even=i % 2 == 0)


def nflows_nice():
    transforms, steps = [], []
    for i in range(4):
        mask = alternating(5, i)
        step = given(ncoupling.AdditiveCouplingTransform(mask, Net), 10 + i)
        transforms.append(step)
        nets = [layers(step.transform_net)]
        steps.append(coupling(mask == 0, "additive", "shift", "tanh", nets))
    scale = (0.2 * inputs(3, 5)).exp().round(decimals=3)
    transforms.append(nstandard.PointwiseAffineTransform(scale=scale))
    steps.append({"kind": "affine", "scale": scale.tolist(), "shift": [0.0] * 5, "data_to_latent": True})
    nflows_case("nflows_nice", transforms, steps, 5)


def nflows_realnvp():
    """The first half changed by the second and a context of 2; reversed, then permuted, in between."""
    transforms, steps = [], []
    mask = torch.tensor([1, 1, 1, 0, 0, 0])
    permutations = [npermutations.ReversePermutation(6), npermutations.Permutation(torch.tensor([2, 0, 5, 1, 4, 3]))]
    for i in range(3):
        step = given(ncoupling.AffineCouplingTransform(mask, lambda n, m: Net(n, m, context=2)), 20 + i)
        transforms.append(step)
        nets = [layers(step.transform_net)]
        steps.append(coupling(mask == 0, "nflows sigmoid", "shift, scale", "tanh", nets))
        if i < len(permutations):
            transforms.append(permutations[i])
            steps.append({"kind": "permute", "order": permutations[i]._permutation.tolist()})
    nflows_case("nflows_realnvp", transforms, steps, 6, context=inputs(4, BATCH, 2))


def nflows_bounded():
    transforms, steps = [], []
    for i in range(4):
        mask = alternating(5, i)
        bound = inputs(5 + i, int(mask.sum())).abs().tolist()
        step = given(BoundedCoupling(mask, Net, bound), 30 + i)
        transforms.append(step)
        nets = [layers(step.transform_net)]
        steps.append(coupling(mask == 0, "tanh", "shift, scale", "tanh", nets, bound=bound))
    nflows_case("nflows_bounded", transforms, steps, 5)


# normflows: forward is latent -> data, and `flows` are in that order.


def normflows_case(name, flows, steps, dim):
    base = normflows.distributions.DiagGaussian(dim, trainable=False)
    model = normflows.NormalizingFlow(base, flows)
    x, z2 = inputs(1, BATCH, dim), inputs(2, BATCH, dim)
    z, log_det = model.inverse_and_log_det(x)
    x2, log_det2 = model.forward_and_log_det(z2)
    write(name, "normflows 1.7.3", steps[::-1], x, z, log_det, model.log_prob(x), z2, x2, log_det2)


def halves(dim, i):
    """What normflows keeps of "channel" and of "channel_inv"."""
    first = (dim + 1) // 2
    return [(j < first) == (i % 2 == 0) for j in range(dim)]


def normflows_nice():
    flows, steps = [], []
    for i in range(4):
        keep = halves(5, i)
        net = normflows.nets.MLP([sum(keep), 8, 5 - sum(keep)], leaky=0.1)
        mode = "channel" if i % 2 == 0 else "channel_inv"
        step = given(normflows.flows.AffineCouplingBlock(net, scale=False, split_mode=mode), 40 + i)
        flows.append(step)
        steps.append(coupling(keep, "additive", "shift", "leaky", [layers(net)], data_to_latent=False))
    step = given(normflows.flows.AffineConstFlow((5,)), 44)
    flows.append(step)
    scale, shift = step.s[0].exp().tolist(), step.t[0].tolist()
    steps.append({"kind": "affine", "scale": scale, "shift": shift, "data_to_latent": False})
    normflows_case("normflows_nice", flows, steps, 5)


def normflows_realnvp():
    """Masked, as in the paper: the nets of scale and shift are two, and the scale's ends in 2 tanh(a)."""
    flows, steps = [], []
    for i in range(4):
        keep = [j % 2 == i % 2 for j in range(5)]
        scale = normflows.nets.MLP([5, 8, 5], leaky=0.1, output_fn="tanh", output_scale=2.0)
        shift = normflows.nets.MLP([5, 8, 5], leaky=0.1)
        step = normflows.flows.MaskedAffineFlow(torch.tensor(keep, dtype=torch.float64), shift, scale)
        flows.append(given(step, 50 + i))
        kept = [j for j in range(5) if keep[j]]
        changed = [j for j in range(5) if not keep[j]]
        nets = [layers(scale, kept, changed), layers(shift, kept, changed)]
        bound = [2.0] * len(changed)
        steps.append(coupling(keep, "tanh", "two nets", "leaky", nets, data_to_latent=False, bound=bound))
    normflows_case("normflows_realnvp", flows, steps, 5)


def normflows_blocks():
    """Shift and scale alternate in the net's output; both laws, of which exp has no bound: smaller weights."""
    flows, steps = [], []
    for i in range(4):
        keep = halves(6, i)
        net = normflows.nets.MLP([3, 8, 6], leaky=0.1)
        mode = "channel" if i % 2 == 0 else "channel_inv"
        law = "exp" if i < 2 else "sigmoid"
        step = given(normflows.flows.AffineCouplingBlock(net, scale_map=law, split_mode=mode), 60 + i, size=0.25)
        flows.append(step)
        nets = [layers(net)]
        steps.append(coupling(keep, f"normflows {law}", "interleaved", "leaky", nets, data_to_latent=False))
    normflows_case("normflows_blocks", flows, steps, 6)


# zuko: a flow's transform is data -> latent; a mask's ones are kept; shift and scale alternate; ReLU.


def zuko_case(name, flow, law, dim, context=None, bound=None):
    given(flow, 70)
    distribution = flow(context)
    x, z2 = inputs(1, BATCH, dim), inputs(2, BATCH, dim)
    z, log_det = distribution.transform.call_and_ladj(x)
    x2, log_det2 = distribution.transform.inv.call_and_ladj(z2)
    steps = []
    for t in flow.transform.transforms:
        changed = int((~t.mask).sum())
        layout = "shift" if law == "additive" else "interleaved"
        bounds = None if bound is None else [bound] * changed
        steps.append(coupling(t.mask, law, layout, "relu", [layers(t.hyper)], bound=bounds))
    write(name, "zuko 1.6.0", steps, x, z, log_det, distribution.log_prob(x), z2, x2, log_det2, context)


def zuko_nice():
    univariate, shapes = zuko.transforms.AdditiveTransform, [()]
    options = {"univariate": univariate, "shapes": shapes, "hidden_features": (8,)}
    zuko_case("zuko_nice", zuko.flows.NICE(5, transforms=4, **options), "additive", 5)


def zuko_realnvp():
    flow = zuko.flows.RealNVP(6, context=2, transforms=3, hidden_features=(6, 6))
    zuko_case("zuko_realnvp", flow, "zuko softclip", 6, context=inputs(4, BATCH, 2))


def zuko_tanh():
    def univariate(shift, a):
        return torch.distributions.AffineTransform(shift, torch.exp(1.5 * torch.tanh(a)))

    flow = zuko.flows.RealNVP(5, transforms=4, hidden_features=(8,), univariate=univariate)
    zuko_case("zuko_tanh", flow, "tanh", 5, bound=1.5)


if __name__ == "__main__":
    for case in (nflows_nice, nflows_realnvp, nflows_bounded, normflows_nice, normflows_realnvp, normflows_blocks):
        case()
    for case in (zuko_nice, zuko_realnvp, zuko_tanh):
        case()
