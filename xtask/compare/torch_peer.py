"""What all peers on PyTorch have in common: the data, the training step, and the measures, in PyTorch's best form: fused
Adam, inference mode. A peer gives the model: a module with `log_prob(x)`, `sample(n)` and `load(tensors)`."""

import importlib.metadata

import torch

from work import HIDDEN


class TorchPeer:
    def __init__(self, work, model, packages=(), **adam):
        # f32 on every side, in convolutions, too; and the kernels that are fastest here.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self.work, self.model = work, model.to(work.device)
        self.parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        # PyTorch's own says what it was built for, too.
        self.versions = {name: importlib.metadata.version(name) for name in packages} | {"torch": torch.__version__}
        self.optimizer = torch.optim.Adam(model.parameters(), lr=work.rate, fused=True, **adam)
        if work.levels:
            grey = torch.randint(256, (10_000, work.dim), dtype=torch.uint8, device=work.device)
            self.train = grey * (torch.rand(grey.shape, device=work.device) < 0.2)
        else:
            self.train = torch.randn(work.batch, work.dim, device=work.device)
        # What a training step differentiates, and what is measured: a compiled model replaces them.
        self.trained = self.density = model.log_prob
        self.draw = model.sample

    def batch(self):
        """The original trains on all points of the moons at every step."""
        if not self.work.levels:
            return self.train
        rows = torch.randint(len(self.train), (self.work.batch,), device=self.work.device)
        return dequantized(self.train[rows])

    def step(self):
        # First, for those of a compiled model lie where its next pass writes.
        self.optimizer.zero_grad()
        loss = -self.trained(self.batch()).mean()
        loss.backward()
        self.optimizer.step()

    def rows(self, n):
        return dequantized(self.train[:n]) if self.work.levels else torch.randn(n, self.work.dim, device=self.work.device)

    def array(self, x):
        return torch.from_numpy(x).to(self.work.device)

    def finish(self):
        """Waits until a GPU has done all it was given."""
        torch.cuda.synchronize()

    def log_prob(self, x):
        with torch.inference_mode():
            return self.density(x)

    def sample(self, n):
        with torch.inference_mode():
            return self.draw(n)

    def load(self, tensors):
        with torch.no_grad():
            self.model.load(tensors)


def dequantized(levels):
    return (levels.float() + torch.rand(levels.shape, device=levels.device)) / 256


def linears(inputs, outputs, layers):
    """The original's conditioner: hidden layers of ReLU, one linear layer."""
    widths = [inputs] + [HIDDEN] * layers
    stack = []
    for i, o in zip(widths[:-1], widths[1:]):
        stack += [torch.nn.Linear(i, o), torch.nn.ReLU()]
    return torch.nn.Sequential(*stack, torch.nn.Linear(HIDDEN, outputs))


def fill(net, layers):
    """Copies weights and biases into the linear layers of `net`, in order."""
    # zuko has a linear layer of its own.
    own = [m for m in net.modules() if type(m).__name__ == "Linear"]
    for layer, (weight, bias) in zip(own, layers, strict=True):
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        layer.bias.copy_(torch.from_numpy(bias.copy()))
