"""A loop by hand on arrays that lie on the device: JAX. Prints seconds per step as JSON, the device synchronized.

python gpu_jax.py gpu|cpu [STEPS]
"""

import json
import sys
import time

import jax
import jax.numpy as jnp

device, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 400
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_default_device", jax.devices(device)[0])
keys = jax.random.split(jax.random.key(0), 8)
images = jax.random.uniform(keys[0], (5000, 28, 28, 1))
labels = jax.random.randint(keys[1], (5000,), 0, 10)
shapes = {"k1": (3, 3, 1, 32), "k2": (3, 3, 32, 64), "w1": (1600, 128), "w2": (128, 10)}
weights = {
    name: 0.05 * jax.random.normal(key, shape) for (name, shape), key in zip(shapes.items(), keys[2:6], strict=True)
}
weights |= {f"{name}_b": jnp.zeros(shape[-1]) for name, shape in shapes.items()}


def block(x, w, name):
    x = jax.lax.conv_general_dilated(x, w[name], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = jax.nn.relu(x + w[f"{name}_b"])
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def loss(w, x, y):
    x = block(block(x, w, "k1"), w, "k2").reshape(len(x), -1)
    x = jax.nn.relu(x @ w["w1"] + w["w1_b"]) @ w["w2"] + w["w2_b"]
    return -jax.nn.log_softmax(x)[jnp.arange(len(y)), y].mean()


@jax.jit
def step(w, m, v, t, key):
    chosen = jax.random.randint(key, (64,), 0, 5000)
    g = jax.grad(loss)(w, images[chosen], labels[chosen])
    m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
    v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
    rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    w = jax.tree.map(lambda a, b, c: a - rate * b / (jnp.sqrt(c) + 1e-8), w, m, v)
    return w, m, v, t + 1, jax.random.fold_in(key, t.astype(jnp.int32))


zeros = jax.tree.map(jnp.zeros_like, weights)
state = (weights, zeros, zeros, jnp.float32(1), keys[7])
for _ in range(min(20, steps)):
    state = step(*state)
jax.block_until_ready(state)
started = time.perf_counter()
for _ in range(steps):
    state = step(*state)
jax.block_until_ready(state)
seconds = (time.perf_counter() - started) / steps
stats = jax.devices(device)[0].memory_stats() or {}
peak = stats["peak_bytes_in_use"] / 2**20 if stats else None
print(json.dumps({"seconds": seconds, "peak_mib": peak, "version": jax.__version__}))
