"""Writes `images_*.json` beside this script: what image flows of nflows and normflows compute with given weights.

    pip install torch==2.11.0 nflows==0.14 normflows==1.7.3
    python make_images.py

Each file holds one multi-scale flow in data -> latent order, level by level, in float64, with the peer's own weights
(numbers of three decimals, but for what comes out of a softplus or a decomposition), a batch `x` with its `z`, `log_det`
and `log_prob`, and another batch `z2` with the `x2` and `log_det2` of its way back. Images and latents are flattened in
row-major order of `event`. All of these come out of the peer's own, unmodified code; what the peer leaves to its user is
the encoder of `images_given`.

What differs from peer to peer, and is written down in the file:

- direction: nflows maps data -> latent by the law of a coupling, normflows latent -> data ("data_to_latent"); a
  normflows "Split" is the way to the latent, "Merge" and "Squeeze" the way back;
- the law of the scale, from the net's output `a` ("law"), and where in that output scale and shift stand ("layout");
- the spline of nflows has parameters channel by channel, those of the widths and heights divided by the root of the
  net's width, and slopes of 1 at both ends; this crate has them bin by bin, as they are, and slopes at the ends, too.
  Both go on as lines beyond +-6, the constants are alike;
- ActNorm is `in * exp(log_scale) + shift` in both, in nflows data -> latent, in normflows latent -> data;
- the 1x1 convolution is `L U x[permutation] + bias` in nflows, with U's diagonal a softplus, and `P L U x` or `W x` in
  normflows, all of it data -> latent. What is not in this crate's form becomes a step of its own;
- nflows lets go of the first half of the channels and goes on with the second, normflows (and this crate) goes on with
  the first. The file has a permutation of the channels as last step of an nflows level;
- both return latents as a list of parts. Here they are put in the place of the pixels they were made of, by PyTorch's
  pixel_shuffle, which is the squeeze of both backwards;
- priors: normflows has Gaussians with their own means and scales as bases, by class or by channel or by an encoder of a
  context. This crate has the standard normal, and the mean and scale as a step before it. So `z` of the file is
  (the peer's z - mean) / scale; `z2` are the draws of the standard normal from which the peer's own sampling made `x2`;
  and the log-determinants, which in the peer are without the prior, are null there. Compared are the peer's own densities, with
  the prior: `log_prob`, and `log_prob2` as its sampling returns it.

No peer has images with odd sides, nor a class as context of a coupling's net.
"""

import json
import math
import warnings
from pathlib import Path

import normflows
import torch
import torch.nn.functional as F
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow as NFlow
from nflows.nn.nets.resnet import ConvResidualNet
from nflows.transforms import base as nbase
from nflows.transforms import conv as nconv
from nflows.transforms import coupling as ncoupling
from nflows.transforms import normalization as nnormalization
from nflows.transforms import reshape as nreshape

# Both solve and decompose by functions of PyTorch that have successors.
warnings.filterwarnings("ignore", message=".*torch.(triangular_solve|lu) is deprecated.*")
# normflows makes some constants in the default type: with float32 they would be rounded.
torch.set_default_dtype(torch.float64)
HERE = Path(__file__).parent
BATCH = 3


def given(module, seed, size=0.3):
    """Sets every parameter to a given number: N(0, size^2), three decimals. A matrix to be inverted gets a diagonal."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        parameter.data = (size * torch.randn(parameter.shape, generator=generator)).round(decimals=3)
        if name.split(".")[-1] == "W":
            parameter.data += torch.eye(len(parameter))
        parameter.requires_grad_(False)
    for part in module.modules():
        if isinstance(part, normflows.flows.ActNorm):
            part.data_dep_init_done = torch.tensor(1.0)  # or the first batch would set it
    return module.eval()


def inputs(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).round(decimals=3)


# Steps as the file has them.


def array(tensor):
    return {"shape": list(tensor.shape), "values": tensor.flatten().tolist()}


def convs(layers):
    return [{"weight": array(c.weight), "bias": c.bias.tolist()} for c in layers]


def actnorm(log_scale, shift, data_to_latent):
    step = {"kind": "actnorm", "log_scale": log_scale.flatten().tolist(), "shift": shift.flatten().tolist()}
    return step | {"data_to_latent": data_to_latent}


def permute(order):
    """New channel i is old channel order[i]."""
    return {"kind": "permute", "order": [int(i) for i in order]}


def lu(order, lower, upper, log_diagonal, sign):
    """Row i of W is row order[i] of L U."""
    step = {"kind": "lu", "order": order.tolist(), "lower": array(lower), "upper": array(upper)}
    return step | {"log_diagonal": log_diagonal.tolist(), "sign": sign.tolist()}


def plain(matrix):
    return {"kind": "plain", "matrix": array(matrix)}


def coupling(mask, law, layout, nets, slope, data_to_latent, residual=False):
    """`nets` are lists of convolutions; `slope` is that of the leaky ReLU between them."""
    step = {"kind": "coupling", "mask": mask, "law": law, "layout": layout, "nets": [convs(net) for net in nets]}
    return step | {"slope": slope, "residual": residual, "data_to_latent": data_to_latent}


def channels(first, flipped=False):
    """Kept are the first channels; flipped, the others."""
    return {"channels": {"first": first, "flipped": flipped}}


def checkerboard(flipped):
    """Kept are the pixels of even row + column; flipped, the odd ones."""
    return {"checkerboard": {"flipped": flipped}}


def by_class(kind, loc, log_scale, loc_by_class, log_scale_by_class, kept=0):
    """A Gaussian of all channels behind `kept`, each parameter [channels, h, w] and [channels, h, w, classes]."""
    classes = loc_by_class.shape[-1]
    weight = torch.cat([loc_by_class.reshape(-1, classes), log_scale_by_class.reshape(-1, classes)])
    step = {"kind": kind, "kept": kept, "loc": array(loc), "log_scale": array(log_scale), "by_context": array(weight)}
    return step


def in_place(parts):
    """Latents of levels, fine to coarse, of which each is what is let go of; the last is all that is left."""
    *finer, h = parts
    h = F.pixel_shuffle(h, 2)
    for rest in reversed(finer):
        h = F.pixel_shuffle(torch.cat([h, rest], 1), 2)
    return h


def write(name, library, levels, context=None, **computed):
    """`levels` are (before, steps, kept)."""
    event = list(computed["x"].shape[1:])
    levels = [{"before": before, "steps": steps, "kept": kept} for before, steps, kept in levels]
    whole = {"library": library, "event": event, "levels": levels}
    whole["context"] = None if context is None else context.tolist()
    for key in ("x", "z", "z2", "x2"):
        assert computed[key].shape == (BATCH, *event), key
        whole[key] = computed[key].flatten(1).tolist()
    for key in ("log_det", "log_prob", "log_det2", "log_prob2"):
        value = computed.get(key)
        assert value is None or value.shape == (BATCH,), key
        whole[key] = None if value is None else value.tolist()
    (HERE / f"{name}.json").write_text(json.dumps(whole, separators=(",", ":")) + "\n")


# nflows: forward is data -> latent.


def residual_net(inputs, outputs):
    return ConvResidualNet(inputs, outputs, hidden_channels=3, num_blocks=1)


def residual_layers(net):
    return [net.initial_layer, *net.blocks[0].conv_layers, net.final_layer]


def nflows_step(all_channels, seed):
    """ActNorm, 1x1 convolution, affine coupling with a residual net: the peer's modules, and steps of the file."""
    norm = given(nnormalization.ActNorm(all_channels), seed)
    torch.manual_seed(seed)  # the permutation
    mix = given(nconv.OneByOneConvolution(all_channels), seed + 1)
    first = (all_channels + 1) // 2
    mask = [int(i >= first) for i in range(all_channels)]
    couple = ncoupling.AffineCouplingTransform(mask, residual_net)
    layers = residual_layers(given(couple, seed + 2).transform_net)

    lower, upper = mix._create_lower_upper()
    log_diagonal = mix.upper_diag.log()
    none = torch.zeros(all_channels)
    steps = [
        actnorm(norm.log_scale, norm.shift, True),
        permute(mix.permutation._permutation),
        lu(torch.arange(all_channels), lower, upper, log_diagonal, torch.ones(all_channels)),
        actnorm(none, mix.bias, True),
        coupling(channels(first), "nflows sigmoid", "shift, scale", [layers], 0.0, True, residual=True),
    ]
    return [norm, mix, couple], steps


def images_nflows():
    """Glow at two scales."""
    event = (1, 4, 8)
    shapes = [(4, 2, 4), (8, 1, 2)]
    whole = nbase.MultiscaleCompositeTransform(len(shapes))
    levels = []
    for i, shape in enumerate(shapes):
        transforms, steps = [nreshape.SqueezeTransform()], []
        for j in range(2):
            modules, written = nflows_step(shape[0], 100 + 20 * i + 3 * j)
            transforms += modules
            steps += written
        if i + 1 < len(shapes):
            half = shape[0] // 2
            steps.append(permute([*range(half, shape[0]), *range(half)]))
        levels.append(([], steps, shape[0] // 2))
        whole.add_transform(nbase.CompositeTransform(transforms), shape)
    dim = math.prod(event)
    flow = NFlow(whole, StandardNormal([dim]))
    x, z2 = inputs(1, BATCH, *event), inputs(2, BATCH, dim)
    z, log_det = whole(x)
    x2, log_det2 = whole.inverse(z2)

    def placed(flat):
        return in_place([flat[:, :16].reshape(BATCH, 2, 2, 4), flat[:, 16:].reshape(BATCH, 8, 1, 2)])

    computed = {"x": x, "z": placed(z), "log_det": log_det, "log_prob": flow.log_prob(x)}
    computed |= {"z2": placed(z2), "x2": x2, "log_det2": log_det2}
    write("images_nflows", "nflows 0.14", levels, **computed)


def images_spline():
    """Neural spline couplings, of the second half of the channels and of the first; inputs reach beyond the splines."""
    event, squeezed, bins = (2, 4, 4), (8, 2, 2), 4
    transforms, steps = [nreshape.SqueezeTransform()], []
    for i, flipped in enumerate((False, True)):
        mask = [int((c < 4) == flipped) for c in range(8)]
        couple = ncoupling.PiecewiseRationalQuadraticCouplingTransform(
            mask,
            residual_net,
            num_bins=bins,
            tails="linear",
            tail_bound=6.0,
        )
        transforms.append(given(couple, 150 + i, size=0.4))
        layers = residual_layers(couple.transform_net)
        step = coupling(channels(4, flipped), "nflows spline", "by channel", [layers], 0.0, True, residual=True)
        steps.append(step | {"bins": bins})
    flow = NFlow(nbase.CompositeTransform(transforms), StandardNormal(squeezed))
    x, z2 = 4.0 * inputs(12, BATCH, *event), 4.0 * inputs(13, BATCH, *squeezed)
    z, log_det = flow._transform(x)
    x2, log_det2 = flow._transform.inverse(z2)
    computed = {"x": x, "z": in_place([z]), "log_det": log_det, "log_prob": flow.log_prob(x)}
    computed |= {"z2": in_place([z2]), "x2": x2, "log_det2": log_det2}
    write("images_spline", "nflows 0.14", [([], steps, 8)], **computed)


# normflows: forward is latent -> data, `flows` are in that order, and so are its levels, coarse to fine.


def conv_layers(net):
    """The convolutions of a ConvNet2d, between which there are leaky ReLUs."""
    return [m for m in net.net if isinstance(m, torch.nn.Conv2d)]


def normflows_glow_block(block):
    """The steps of a GlowBlock, data -> latent."""
    couple, mix, norm = block.flows
    if mix.use_lu:
        mixing = lu(mix.P.argmax(1), mix.L, mix.U, mix.log_S, mix.sign_S)
    else:
        mixing = plain(mix.W)
    nets = [conv_layers(couple.flows[1].param_map)]
    split = couple.flows[0].mode
    first = mix.num_channels // 2
    mask = channels(first, flipped=split == "channel_inv")
    scale = couple.flows[1].scale_map
    return [
        actnorm(norm.s, norm.t, False),
        mixing,
        coupling(mask, f"normflows {scale}", "interleaved", nets, 0.1, False),
    ]


def sampled(model, shapes, seed, y=None):
    """The peer's own sample, its density, and the standard normals it was made from, by the peer's order of levels."""
    torch.manual_seed(seed)
    x, log_prob = model.sample(BATCH, y)
    torch.manual_seed(seed)
    return x, log_prob, [torch.randn(BATCH, *shape) for shape in shapes]


def images_normflows():
    """Glow at two scales, the convolution by LU and plain, both laws of the scale, priors by class."""
    classes, fine, coarse = 3, (4, 2, 2), (8, 1, 1)
    torch.manual_seed(7)  # P and the signs of LU

    def block(shape, seed, **options):
        return given(normflows.flows.GlowBlock(shape[0], 3, leaky=0.1, init_zeros=False, **options), seed)

    blocks = [
        [block(coarse, 200), block(coarse, 201, use_lu=False, split_mode="channel_inv")],
        [block(fine, 202, use_lu=False), block(fine, 203, scale_map="exp", split_mode="channel_inv"), block(fine, 204)],
    ]
    # As a prior, the coarse level's Gaussian by channel and class, the fine one's by coordinate and class.
    top = given(normflows.distributions.GlowBase(coarse, classes), 205)
    middle = given(normflows.distributions.ClassCondDiagGaussian((2, 2, 2), classes), 206)
    flows = [level + [normflows.flows.Squeeze()] for level in blocks]
    model = normflows.MultiscaleFlow([top, middle], flows, [normflows.flows.Merge()])

    steps = [[step for b in reversed(level) for step in normflows_glow_block(b)] for level in blocks]
    none = torch.zeros(2, 2, 2)
    middle_step = by_class("rest", none, none, middle.loc, middle.log_scale, kept=2)
    ones = torch.ones(coarse)
    top_loc = (top.loc * torch.exp(3.0 * top.loc_logs))[0]
    top_log_scale = (top.log_scale * torch.exp(3.0 * top.log_scale_logs))[0]
    top_by_class = [p.t()[:, None, None, :] for p in (top.loc_cc, top.log_scale_cc)]
    top_step = by_class("top", top_loc * ones, top_log_scale * ones, *top_by_class)
    levels = [([], steps[1] + [middle_step], 2), ([], steps[0] + [top_step], 4)]

    y = torch.tensor([2, 0, 1])
    x = inputs(3, BATCH, 1, 4, 4)
    (z_top, z_middle), _ = model.inverse_and_log_det(x)
    z_middle = (z_middle - middle.loc[..., y].permute(3, 0, 1, 2)) / middle.log_scale[..., y].permute(3, 0, 1, 2).exp()
    top_shift, top_log = [p[y][:, :, None, None] for p in (top.loc_cc, top.log_scale_cc)]
    z_top = (z_top - top_loc - top_shift) / (top_log_scale + top_log).exp()
    x2, log_prob2, (z2_top, z2_middle) = sampled(model, [coarse, (2, 2, 2)], 8, y)
    computed = {"x": x, "z": in_place([z_middle, z_top]), "log_prob": model.log_prob(x, y)}
    computed |= {"z2": in_place([z2_middle, z2_top]), "x2": x2, "log_prob2": log_prob2}
    write("images_normflows", "normflows 1.7.3", levels, context=F.one_hot(y, classes).double(), **computed)


def images_masked():
    """RealNVP at two scales: chessboards by masks, as in the paper, a squeeze, halves; standard normals as bases."""

    def net(*sizes):
        return normflows.nets.ConvNet2d(sizes, (3, 3), leaky=0.1, init_zeros=False)

    def by_squares(shape, flipped, seed):
        c, h, w = shape
        even = (torch.arange(h)[:, None] + torch.arange(w)[None]) % 2 == 0
        kept = (even != flipped).double().expand(c, h, w)
        shift, scale = net(c, 3, c), net(c, 3, c)
        flow = given(normflows.flows.MaskedAffineFlow(kept, shift, scale), seed, size=0.1)
        nets = [conv_layers(scale), conv_layers(shift)]
        return flow, coupling(checkerboard(flipped), "normflows exp", "two nets", nets, 0.1, False)

    def by_halves(c, flipped, law, seed):
        half = c // 2
        param_map = net(half, 3, c)
        mode = "channel_inv" if flipped else "channel"
        flow = normflows.flows.AffineCouplingBlock(param_map, scale_map=law, split_mode=mode)
        nets = [conv_layers(given(flow, seed, size=0.1).flows[1].param_map)]
        return flow, coupling(channels(half, flipped), f"normflows {law}", "interleaved", nets, 0.1, False)

    def level(shape, seed):
        """Flows latent -> data, and the level of the file."""
        c = shape[0]
        squares = [by_squares(shape, flipped, seed + i) for i, flipped in enumerate((False, True, False))]
        laws = ((False, "sigmoid_inv"), (True, "exp"))
        halves = [by_halves(4 * c, flipped, law, seed + 3 + i) for i, (flipped, law) in enumerate(laws)]
        flows = [*(flow for flow, _ in squares), normflows.flows.Squeeze(), *(flow for flow, _ in halves)]
        return flows[::-1], ([step for _, step in squares], [step for _, step in halves], 2 * c)

    event, middle, released, top = (1, 4, 8), (2, 2, 4), (2, 2, 4), (8, 1, 2)
    fine_flows, fine = level(event, 300)
    coarse_flows, coarse = level(middle, 310)
    bases = [normflows.distributions.DiagGaussian(shape, trainable=False) for shape in (top, released)]
    merges = [normflows.flows.Merge()]
    model = normflows.MultiscaleFlow(bases, [coarse_flows, fine_flows], merges, class_cond=False)
    x = inputs(4, BATCH, *event)
    z, log_det = model.inverse_and_log_det(x)
    z2 = [inputs(5, BATCH, *top), inputs(6, BATCH, *released)]
    x2, log_det2 = model.forward_and_log_det(z2)
    computed = {"x": x, "z": in_place(z[::-1]), "log_det": log_det, "log_prob": model.log_prob(x, None)}
    computed |= {"z2": in_place(z2[::-1]), "x2": x2, "log_det2": log_det2}
    write("images_masked", "normflows 1.7.3", [fine, coarse], **computed)


class Encoder(torch.nn.Module):
    """Mean and log scale of what is let go of, [n, 2 * coordinates], from what is kept: one convolution of 3 x 3.

    normflows leaves the encoder to its user."""

    def __init__(self, kept, released):
        super().__init__()
        self.conv = torch.nn.Conv2d(kept, 2 * released, 3, padding=1)

    def forward(self, kept):
        return self.conv(kept).flatten(1)


def images_given():
    """A split whose prior is given what goes on: Squeeze, Split, and a Gaussian conditioned on the first half."""
    event, half = (2, 4, 6), (4, 2, 3)
    squeeze, split = normflows.flows.Squeeze(), normflows.flows.Split()
    encoder = given(Encoder(4, 4), 400)
    released = normflows.distributions.base.ConditionalDiagGaussian(math.prod(half), encoder)

    def standardised(kept, rest):
        mean, log_scale = encoder(kept).chunk(2, dim=1)
        return (rest.flatten(1) - mean) / log_scale.exp()

    x = inputs(9, BATCH, *event)
    (kept, rest), _ = split(squeeze.inverse(x)[0])
    base = normflows.distributions.DiagGaussian(half, trainable=False)
    log_prob = base.log_prob(kept) + released.log_prob(rest.flatten(1), kept)
    z = F.pixel_shuffle(torch.cat([kept, standardised(kept, rest).reshape(rest.shape)], 1), 2)

    kept2 = inputs(10, BATCH, *half)
    torch.manual_seed(11)
    rest2, log_prob2 = released(BATCH, kept2)
    torch.manual_seed(11)
    noise = torch.randn(BATCH, math.prod(half)).reshape(rest2.shape[0], *half)
    x2 = squeeze(split.inverse([kept2, rest2.reshape(noise.shape)])[0])[0]
    z2 = F.pixel_shuffle(torch.cat([kept2, noise], 1), 2)
    prior = coupling(channels(4), "normflows exp", "shift, scale", [[encoder.conv]], 0.0, False)
    computed = {"x": x, "z": z, "log_prob": log_prob, "z2": z2, "x2": x2}
    computed["log_prob2"] = log_prob2 + base.log_prob(kept2)
    write("images_given", "normflows 1.7.3", [([], [prior], 4)], **computed)


if __name__ == "__main__":
    for case in (images_nflows, images_spline, images_normflows, images_masked, images_given):
        case()
