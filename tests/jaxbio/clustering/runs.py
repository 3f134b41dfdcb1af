"""Tiny runs, for tests of what is done with one."""

from pathlib import Path

import jax

from jaxbio.clustering import stored, task
from jaxbio.clustering.processes import process_of
from jaxrec.core.checkpoint import Checkpoints
from jaxrec.core.config_file import load_config
from jaxrec.core.run_directory import as_workdir, claim

CONFIGS = Path(__file__).parents[3] / "configs"


def _shrink(config):
    config.model.update(dim=8, hidden=8, heads=2, seeds=2, components=3)
    config.model.latent_dim = 2
    config.encoder.dim = 8
    config.generator.update(min_points=4, max_points=12, max_clusters=4)
    config.batch.update(sets=8, draws=2)
    config.optim.warmup = 1


def tiny(argument="points-2d", steps=4):
    """The shipped config, made so small that it trains in seconds."""
    config = load_config(f"{CONFIGS / 'acp_points.py'}:{argument}")
    with config.unlocked():
        _shrink(config)
        config.encoder.hidden = 8
        config.train.update(steps=steps, eval_every=2, save_every=2, log_every=1)
        config.eval.update(sets=6, samples=1, draws=2)
    return config


def tiny_graphs(argument="sbm"):
    """The same of graphs."""
    config = load_config(f"{CONFIGS / 'acp_graphs.py'}:{argument}")
    with config.unlocked():
        _shrink(config)
        if argument == "symmetric":
            del config.generator["max_clusters"]
        config.generator.features.update(eigenvectors=2, iterations=2)
        config.encoder.update(features=4, layers=2)
        config.train.update(steps=1, eval_every=1, save_every=1, log_every=1)
        config.eval.update(sets=2, samples=1)
    return config


def train(workdir, *arguments, **options):
    return task.run(tiny(*arguments, **options), str(workdir))


def leave(workdir, config):
    """What a run leaves of a model, which was not trained: that is long to compile."""
    path = as_workdir(str(workdir))
    config = config.to_dict()
    claim(path, config, task.MAY_DIFFER)
    model = stored.model_of(config)
    params = jax.jit(process_of(model).init, static_argnums=1)(
        jax.random.key(42), model
    )
    checkpoints = Checkpoints(path)
    checkpoints.save_best(1, params, {})
    checkpoints.close()
