"""ACP (Pakman et al., arXiv 2010.15727) on spikes: the clusterer of a spike sorter.

    python -m jaxbio.main --config=configs/acp_spikes.py --workdir=runs/spikes

A problem is what a detector takes on one channel: snippets of 32 samples on 7 channels
at 30 kHz, with collisions, coloured noise, and small clusters
(`jaxbio.clustering.spikes.simulate`). The model sees 12 numbers of each, along the
principal axes of the whitened snippets of a problem, and where each comes to if all are
moved to where it is crowded (`jaxbio.clustering.spikes.modes`); `:network` has a
residual network along time instead, as published.

Seed 42, one run of 5,000 steps that then went on to 14,000 (the schedule of the
learning rate was made anew), best step 11,000, CPU (Intel Xeon), 2026-11-26 and 27, jax
0.10.2; ± is one standard error over problems:

    64 problems of the simulator    AMI of one posterior sample .641 ± .027, of the most
                                    probable of 16 .669 ± .031
    32 problems that were made otherwise (`python -m benchmarks.clustering --only
    problems`, JAXREC_DATA_DIR)     one sample .675 ± .032, consensus of 32 .813 ± .022,
                                    of 128 .807 ± .026 (2.3 ± .4 clusters away), the
                                    most probable of 128 .724 ± .042 (1.4 ± .2 away);
                                    HDBSCAN on the same features .805 ± .032, paired
                                    .002 ± .021 less; calibration error .017
    generated recordings A, B, C, D by the whole sorter (`--only recordings`), mean
                                    accuracy .988, .941, .997, .724; 1, 0, 0, 0 units
                                    that are none
    :network                        not yet run
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
        "min_spikes": 300,
        "max_spikes": 896,
        "max_points": 384,
        "prior": "mixed",  # crp, with `alpha`, or mfm, with `rate`
        "alpha": 0.7,
        "rate": 4.0,
        "max_clusters": 12,
        "probe": "linear",  # or hexagonal
        "depth": (6.0, 40.0),
        "collisions": 0.25,
        "features": _FEATURES if argument == "features" else 0,
    }
    config = ConfigDict(common.clustering(encoder, generator))
    # To draw a problem costs more than a step on it.
    config.batch.sets, config.batch.steps = 16, 4
    config.train.steps, config.train.eval_every = 14000, 500
    config.eval.sets = 64
    return config.lock()
