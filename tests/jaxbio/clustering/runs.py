"""A tiny trained run, for tests of what is done with one."""

from pathlib import Path

from jaxbio.clustering import task
from jaxrec.core.config_file import load_config

CONFIGS = Path(__file__).parents[3] / "configs"


def tiny(argument="points-2d", steps=4):
    """The shipped config, made so small that it trains in seconds."""
    config = load_config(f"{CONFIGS / 'acp_points.py'}:{argument}")
    with config.unlocked():
        config.model.update(dim=8, hidden=8, heads=2, seeds=2, components=3)
        config.model.latent_dim = 2
        config.encoder.update(dim=8, hidden=8)
        config.generator.update(min_points=4, max_points=12, max_clusters=4)
        config.batch.update(sets=8, draws=2)
        config.optim.warmup = 1
        config.train.update(steps=steps, eval_every=2, save_every=2, log_every=1)
        config.eval.update(sets=6, samples=3, draws=2)
    return config


def train(workdir, *arguments, **options):
    return task.run(tiny(*arguments, **options), str(workdir))
