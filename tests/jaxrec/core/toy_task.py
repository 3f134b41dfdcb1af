"""A task that trains in milliseconds: linear regression with noise in the gradient.

Run as a program it trains in the workdir given, for tests that kill it.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.core import parallel
from jaxrec.core.train import fit

CONFIG = {
    "seed": 3,
    "optim": {
        "name": "adamw",
        "lr": 0.05,
        "schedule": "cosine",
        "warmup": 5,
        "final_lr": 0.0,
        "weight_decay": 0.01,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "clip_norm": 5.0,
        "bias_correction": True,
    },
    "train": {
        "steps": 40,
        "log_every": 6,
        "eval_every": 8,
        "save_every": 5,
        "eval_first": False,
        "monitor": "score",
        "patience": 0,
    },
    "parallel": {"mode": "jit", "model": 1, "micro": 1},
}


class ToyTask:
    rules = ()
    loss_label = "loss"

    def __init__(self, before_batch=lambda step: None):
        self.before_batch = before_batch
        self.evaluated = []

    def init(self, key):
        return {"weights": jax.random.normal(key, (4,)), "bias": jnp.zeros(())}

    def furnish(self, params):
        return params

    def decayed(self, path):
        return "bias" not in path

    def frozen(self, path):
        return False

    def batch(self, step):
        self.before_batch(step)
        x = np.random.default_rng((7, step)).normal(size=(8, 4)).astype(np.float32)
        return {"x": x, "y": x @ np.array([1, -2, 3, 0], np.float32)}

    def examples(self, batch):
        return len(batch["x"])

    def loss(self, params, batch, key):
        x = batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)
        error = x @ params["weights"] + params["bias"] - batch["y"]
        return {"loss": ((error**2).sum(), jnp.float32(len(error)))}

    def evaluate(self, params, part):
        target = np.array([1, -2, 3, 0], np.float32)
        distance = float(np.abs(np.asarray(params["weights"]) - target).sum())
        self.evaluated.append(distance)
        return {"score": -distance}


def train(workdir, task=None, **options):
    config = {**CONFIG, "train": {**CONFIG["train"], **options}}
    mesh = parallel.make_mesh(devices=jax.devices()[:1])
    return fit(task or ToyTask(), config, mesh, workdir)


if __name__ == "__main__":
    train(sys.argv[1], ToyTask(lambda step: time.sleep(0.02)), save_every=1)
