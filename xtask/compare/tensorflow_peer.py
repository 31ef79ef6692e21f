"""TensorFlow: the original's own layers, Keras' dense ones, its loop as a compiled function; its slips put right. XLA
compiles what it makes faster.

    tensorflow_peer.py WORK     tries out what that is, and says so as JSON
"""

import json
import math
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf

from work import COUPLINGS, HIDDEN, WORK, conditioner, keeps_the_second, log_scale, sizes

# Calls of each form, of which the quickest counts, and seconds after which a compiler is given up.
TRIALS, PATIENCE = 5, 200


def dense(inputs, outputs, layers):
    hidden = [tf.keras.layers.Dense(HIDDEN, activation="relu") for _ in range(layers)]
    return tf.keras.Sequential([tf.keras.Input((inputs,)), *hidden, tf.keras.layers.Dense(outputs)])


class TensorFlow:
    def __init__(self, work):
        self.work = work
        self.nets = [dense(*sizes(work), work.layers) for _ in range(COUPLINGS)]
        variables = [variable for net in self.nets for variable in net.trainable_variables]
        if not work.affine:
            self.log_scale = tf.Variable(tf.zeros(work.dim))
            variables.append(self.log_scale)
        self.parameters = sum(math.prod(variable.shape) for variable in variables)
        self.versions = {"tensorflow": tf.__version__, "keras": tf.keras.__version__}
        optimizer = tf.keras.optimizers.Adam(work.rate)
        optimizer.build(variables)
        rng = np.random.default_rng(0)
        if work.levels:
            grey = rng.integers(256, size=(10_000, work.dim), dtype=np.uint8)
            train = tf.constant(grey * (rng.random(grey.shape) < 0.2))
        else:
            train = tf.constant(rng.standard_normal((work.batch, work.dim)), tf.float32)

        def batch():
            if not work.levels:
                return train
            rows = tf.random.uniform([work.batch], maxval=len(train), dtype=tf.int32)
            levels = tf.cast(tf.gather(train, rows), tf.float32)
            return (levels + tf.random.uniform(tf.shape(levels))) / 256

        def step():
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(self.density(batch()))
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

        self.functions = {"step": step, "log_prob": self.density, "sample": self.draw}
        self.compile()

    def compile(self, by_xla=()):
        """Makes graphs of all, and XLA machine code of those that are named."""
        self.compiled = {
            name: tf.function(function, jit_compile=True if name in by_xla else None)
            for name, function in self.functions.items()
        }
        self.step = self.compiled["step"]

    def settle(self):
        """Another process tries both forms: what that takes of memory is not this one's, and XLA may end a process."""
        trial = [sys.executable, __file__, self.work.name]
        try:
            said = subprocess.run(trial, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
            by_xla = json.loads(said.stdout.splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            print(f"no trial of XLA: {error}", file=sys.stderr)
            by_xla = []
        self.compile(by_xla)
        self.versions[f"tensorflow by XLA, {self.work.name}:"] = ", ".join(by_xla) or "nothing"

    def density(self, x):
        halves = tf.split(x, 2, axis=1)
        total = 0.0
        for i, net in enumerate(self.nets):
            kept, changed = (1, 0) if keeps_the_second(i) else (0, 1)
            y = net(halves[kept])
            if self.work.affine:
                raw, shift = tf.split(y, 2, axis=1)
                log_s = tf.tanh(raw)
                halves[changed] = halves[changed] * tf.exp(log_s) + shift
                total += tf.reduce_sum(log_s, 1)
            else:
                halves[changed] = halves[changed] + y
        z = tf.concat(halves, 1)
        if not self.work.affine:
            z = z * tf.exp(self.log_scale)
            total = tf.reduce_sum(self.log_scale)
        return total - 0.5 * (tf.reduce_sum(z * z, 1) + self.work.dim * math.log(2 * math.pi))

    def draw(self, n):
        z = tf.random.normal([n, self.work.dim])
        if not self.work.affine:
            z = z * tf.exp(-self.log_scale)
        halves = tf.split(z, 2, axis=1)
        for i, net in reversed(list(enumerate(self.nets))):
            kept, changed = (1, 0) if keeps_the_second(i) else (0, 1)
            y = net(halves[kept])
            if self.work.affine:
                raw, shift = tf.split(y, 2, axis=1)
                halves[changed] = (halves[changed] - shift) * tf.exp(-tf.tanh(raw))
            else:
                halves[changed] = halves[changed] - y
        return tf.concat(halves, 1)

    def rows(self, n):
        return tf.random.normal([n, self.work.dim])

    def array(self, x):
        return tf.constant(x)

    def log_prob(self, x):
        return self.compiled["log_prob"](x).numpy()

    def sample(self, n):
        return self.compiled["sample"](n).numpy()

    def load(self, tensors):
        for i, net in enumerate(self.nets):
            weights = [part for weight, bias in conditioner(self.work, tensors, i) for part in (weight.T, bias)]
            net.set_weights(weights)
        if not self.work.affine:
            self.log_scale.assign(log_scale(tensors))


def peer(work):
    if not work.layers:
        raise NotImplementedError("the original has no image layers")
    return TensorFlow(work)


def best(call):
    """Seconds of the quickest call, after one that compiles."""
    call()
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def faster_by_xla(work):
    """What XLA makes faster. What it refuses is left as it is."""
    peer = TensorFlow(work)
    x = peer.rows(1000)
    calls = {"step": lambda: peer.step(), "log_prob": lambda: peer.log_prob(x), "sample": lambda: peer.sample(1000)}
    found = []
    for name, call in calls.items():
        peer.compile()
        plain = best(call)
        peer.compile([name])
        try:
            if best(call) < plain:
                found.append(name)
        except Exception as error:
            print(f"XLA refuses {name}: {error}", file=sys.stderr)
    return found


if __name__ == "__main__":
    print(json.dumps(faster_by_xla(WORK[sys.argv[1]])))
