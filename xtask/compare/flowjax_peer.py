"""FlowJAX: its couplings, of the original's laws, scanned; everything compiled by JAX, noise and batches included."""

import importlib.metadata

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import paramax
from flowjax.bijections import Affine, Chain, Coupling, Flip, Invert, Loc, Scale, Scan
from flowjax.distributions import StandardNormal, Transformed

from work import COUPLINGS, HIDDEN, conditioner, log_scale


def exp_tanh(raw):
    return jnp.exp(jnp.tanh(raw))


def layer(work):
    """The coordinates reversed, then a coupling: as the original."""
    law = Loc(0.0)
    if work.affine:
        law = eqx.tree_at(lambda it: it.scale, Affine(), paramax.Parameterize(exp_tanh, jnp.zeros(())))

    def make(key):
        kept = (work.dim + 1) // 2
        sizes = {"untransformed_dim": kept, "dim": work.dim, "nn_width": HIDDEN, "nn_depth": work.layers}
        return Chain([Flip((work.dim,)), Coupling(key, transformer=law, **sizes)])

    return make


def flow(work):
    keys = jax.random.split(jax.random.key(0), COUPLINGS)
    steps = [Scan(eqx.filter_vmap(layer(work))(keys))]
    if not work.affine:
        ones = paramax.Parameterize(jnp.exp, jnp.zeros(work.dim))
        steps.append(eqx.tree_at(lambda it: it.scale, Scale(jnp.ones(work.dim)), ones))
    # From data to latent; a distribution wants the other way.
    return Transformed(StandardNormal((work.dim,)), Invert(Chain(steps)))


def density(parts, x):
    return paramax.unwrap(eqx.combine(*parts)).log_prob(x)


class FlowJax:
    def __init__(self, work):
        self.work = work
        self.params, self.static = eqx.partition(flow(work), eqx.is_inexact_array)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        self.versions = {name: importlib.metadata.version(name) for name in ("flowjax", "jax")}
        self.key = jax.random.key(1)
        optimizer = optax.adam(work.rate)
        self.state = optimizer.init(self.params)
        rng = np.random.default_rng(0)
        if work.levels:
            grey = rng.integers(256, size=(10_000, work.dim), dtype=np.uint8)
            self.train = jnp.asarray(grey * (rng.random(grey.shape) < 0.2))
        else:
            self.train = jnp.asarray(rng.standard_normal((work.batch, work.dim)), jnp.float32)
        static = self.static

        def batch(train, key):
            if not work.levels:
                return train
            rows, noise = jax.random.split(key)
            levels = train[jax.random.randint(rows, (work.batch,), 0, len(train))]
            return (levels + jax.random.uniform(noise, levels.shape)) / 256

        def step(params, state, train, key):
            x = batch(train, key)
            gradient = jax.grad(lambda params: -density((params, static), x).mean())(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        def draw(params, key, n):
            return paramax.unwrap(eqx.combine(params, static)).sample(key, (n,))

        self.jit_step = jax.jit(step, donate_argnums=(0, 1))
        self.jit_density = jax.jit(lambda params, x: density((params, static), x))
        self.jit_draw = jax.jit(draw, static_argnums=2)

    def next_key(self):
        self.key, key = jax.random.split(self.key)
        return key

    def step(self):
        self.params, self.state = self.jit_step(self.params, self.state, self.train, self.next_key())
        jax.block_until_ready(self.params)

    def rows(self, n):
        x = np.random.default_rng(n).standard_normal((n, self.work.dim))
        return jnp.asarray(x, jnp.float32)

    def array(self, x):
        return jnp.asarray(x)

    def log_prob(self, x):
        return self.jit_density(self.params, x).block_until_ready()

    def sample(self, n):
        return self.jit_draw(self.params, self.next_key(), n).block_until_ready()

    def load(self, tensors):
        nets = [conditioner(self.work, tensors, i, "by turns", moving=True) for i in range(COUPLINGS)]

        def stacked(layer, part):
            return jnp.stack([net[layer][part] for net in nets])

        def places(params):
            steps = params.bijection.bijection.bijections
            layers = steps[0].bijection.bijections[1].conditioner.layers
            scaling = [] if self.work.affine else [steps[1].scale.args[0]]
            return [leaf for layer in layers for leaf in (layer.weight, layer.bias)] + scaling

        new = [stacked(k, part) for k in range(self.work.layers + 1) for part in (0, 1)]
        new += [] if self.work.affine else [jnp.asarray(log_scale(tensors, moving=True))]
        self.params = eqx.tree_at(places, self.params, new)


def peer(work):
    if not work.layers:
        raise NotImplementedError("FlowJAX has no image layers")
    return FlowJax(work)
