"""ACP (Pakman et al., arXiv 2010.15727) on spikes: the clusterer of a spike sorter.

    python -m jaxbio.main --config=configs/acp_spikes.py --workdir=runs/spikes

A problem is what a detector takes on one channel: snippets of 32 samples on 7 channels
at 30 kHz, with collisions, coloured noise, and small clusters
(`jaxbio.clustering.spikes.simulate`). The model sees 12 numbers of each, the directions
in which the whitened snippets of a problem differ most; `:network` has a residual
network along time instead, as published.

Not yet run to the end: after 1,500 steps one posterior sample had an AMI of .370 ± .029
on 64 problems of the simulator (seed 42, CPU, 2026-11-26).
"""

import os
import sys

from ml_collections import ConfigDict

sys.path.insert(0, os.path.dirname(__file__))
import common  # noqa: E402

_FEATURES = 12


def get_config(argument: str = "features") -> ConfigDict:
    """The configuration of the model."""
    common.check_argument(argument, ["features", "network"], "acp_spikes.py")
    encoder = {
        "name": "spikes.shapes",
        "dims": _FEATURES,
        "dim": 64,
        "hidden": 64,
        "jitter": 0.08,
    }
    if argument == "network":
        encoder = {"name": "spikes.encoder", "dim": 64, "widths": (32, 64)}
    generator = {
        "name": "spikes.simulate",
        "min_spikes": 200,
        "max_spikes": 1024,
        "max_points": 512,
        "prior": "crp",  # or mfm, with `rate`
        "alpha": 0.7,
        "rate": 4.0,
        "max_clusters": 12,
        "probe": "linear",  # or hexagonal
        "collisions": 0.3,
        "features": _FEATURES if argument == "features" else 0,
    }
    config = ConfigDict(common.clustering(encoder, generator))
    # To draw a problem costs more than a step on it.
    config.batch.sets, config.batch.steps = 16, 4
    config.train.steps, config.train.eval_every = 5000, 500
    config.eval.sets = 64
    return config.lock()
