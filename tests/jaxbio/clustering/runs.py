"""A tiny trained run, for tests of what is done with one."""

from pathlib import Path

from jaxbio.clustering import task
from jaxrec.core.config_file import load_config

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


def tiny_graphs():
    """The same of graphs."""
    config = load_config(str(CONFIGS / "acp_graphs.py"))
    with config.unlocked():
        _shrink(config)
        config.generator.features.update(eigenvectors=2, iterations=2)
        config.encoder.update(features=4, layers=2)
        config.train.update(steps=1, eval_every=1, save_every=1, log_every=1)
        config.eval.update(sets=2, samples=1)
    return config


def train_graphs(workdir):
    return task.run(tiny_graphs(), str(workdir))


def train(workdir, *arguments, **options):
    return task.run(tiny(*arguments, **options), str(workdir))
