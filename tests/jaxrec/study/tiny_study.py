"""The shipped study made tiny."""

import pathlib

import jax

import jaxrec.data
from jaxrec.core import parallel
from jaxrec.core.config_file import load_config
from jaxrec.study import plan

CONFIG = pathlib.Path(__file__).parents[3] / "configs/ae_ar.py"


def tiny_study(arms=("ce",), modes=(), seeds=2):
    """Four steps of width 8 with an evaluation every two."""
    config = load_config(f"{CONFIG}:synthetic")
    config.run.data.update(num_users=60, num_items=40, clusters=4, events_max=25)
    config.run.model.update(dim=8, blocks=1)
    config.run.batch.update(size=8, length=12)
    config.run.train.update(eval_every=2, save_every=2)
    config.run.parallel.micro = 1
    config.run.optim.update(warmup=0, schedule="constant")
    config.modes.ae.train.steps = config.modes.ar.train.steps = 4
    config.study.update(arms=arms, modes=modes, seeds=seeds)
    return config


def tasks_of(config, candidates, seeds, mode="ar", devices=1):
    """Tasks of the first arm: every candidate with every seed."""
    (cell,) = plan.cells({**config, "study": {**config.study, "modes": (mode,)}})
    split = jaxrec.data.load(config.run.data)
    mesh = parallel.make_mesh(1, jax.devices()[:devices])
    return [
        plan.TASKS[mode](cell.run_config(candidate, seed), split, mesh)
        for candidate in candidates
        for seed in seeds
    ]
