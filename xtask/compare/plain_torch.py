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
        z = torch.randn(n, self.work.dim, device=self.work.device)
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


class Compiled(TorchPeer):
    """By `torch.compile`: a graph for each batch size; on a GPU a CUDA graph, where the next call overwrites what the one
    before has returned."""

    def __init__(self, work, model):
        super().__init__(work, model)
        mode = "default" if work.device == "cpu" else "reduce-overhead"
        self.trained = self.density = self.compiled(model.log_prob, mode)
        self.draw = self.compiled(model.sample, mode)

    def compiled(self, function, mode):
        made = torch.compile(function, dynamic=False, mode=mode)
        if mode == "default":
            return made

        def anew(argument):
            torch.compiler.cudagraph_mark_step_begin()
            return made(argument)

        return anew


class Graphed(TorchPeer):
    """In CUDA graphs: a call starts one of them in the place of hundreds of kernels, each of which takes longer to start
    than to compute where a model is small."""

    def __init__(self, work, model):
        super().__init__(work, model, capturable=True)
        self.graphs, self.inputs = {}, {}

    def replay(self, name, function):
        """What `function` does, captured when it is first asked for; the next call overwrites what it returns."""
        if name not in self.graphs:
            self.graphs[name] = captured(function)
        graph, result = self.graphs[name]
        graph.replay()
        return result

    def step(self):
        """All of it: the batch, forward and backward pass, Adam."""
        self.replay("step", super().step)

    def log_prob(self, x):
        if len(x) not in self.inputs:
            self.inputs[len(x)] = x.clone()
        given = self.inputs[len(x)]
        given.copy_(x)
        with torch.no_grad():
            return self.replay(("log_prob", len(x)), lambda: self.density(given))

    def sample(self, n):
        with torch.no_grad():
            return self.replay(("sample", n), lambda: self.draw(n))


def captured(function):
    """A CUDA graph of `function`, and what that returns; run on a stream beside before, as PyTorch's notes ask for."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph, result


def compiled(work):
    return Compiled(work, model(work))


def graphed(work):
    if work.device == "cpu":
        raise NotImplementedError("CUDA graphs need a GPU")
    return Graphed(work, model(work))
