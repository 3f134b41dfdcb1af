"""ACP (Pakman et al., arXiv 2010.15727) on mixtures of clusters in space.

    python -m jaxbio.main --config=configs/acp_points.py --workdir=runs/points
    python -m jaxbio.main --config=configs/acp_points.py:crp2d-tau4 --workdir=runs/tau4

The argument names what is learned; the shipped models of the same names were made so.

    points-2d       the published test bed: CRP(.7), at most 12 clusters, 50 to 199
                    points, means N(0, 10^2), noise 1, medians taken away
    points-nd       tables of 2 to 32 columns, Gaussian, heavy-tailed or stretched
                    clusters of any noise; columns are centred and scaled, and turned
                    to the principal axes
    crp2d-tau2, crp2d-tau4, crp2d-tau10
                    3 to 8 points, means N(0, tau^2), not centred: the posterior can be
                    enumerated (`jaxbio.clustering.exact`)

`NAME@paper` is the published architecture and optimiser on the same data: a Gaussian
latent, width 128, Adam at 1e-4 with L2 in the gradient; with
`--config.model.variant=ccp` or `acp_s` those models. Ours has a mixture for the latent,
and points relative to the anchor (`jaxbio.clustering.model`). `NAME@ncp` is the Neural
Clustering Process, one point at a time (`jaxbio.clustering.ncp`).

Seed 42, one run each, `python -m benchmarks.clustering`, CPU (Intel Xeon), 2026-11-26,
jax 0.10.2; ± is one standard error over sets:

    points-2d       AMI of one posterior sample .955 ± .004, of the best of 8 .972 ±
                    .004; less compiled Gibbs, paired, 95 %: -.002 (-.009 to .005) and
                    -.001 (-.004 to .001); best step 8,000
    crp2d, 6 points total variation to the exact posterior, 2,000 samples: tau 2 .062,
                    tau 4 .029, tau 10 .020 (an exact sampler: .046, .020, .007);
                    -ELBO less its entropy .014, .008, .008 nats
    points-nd       300 sets of its generator (`--only tables`): AMI of one posterior
                    sample .622 ± .020, of the consensus of 32 .749 ± .020; Gaussian
                    mixtures by BIC .741 ± .019, HDBSCAN .492 ± .024; best step 10,000
    points-2d, ccp  256 sets (`--only variants --model points-2d/ccp=runs/ccp`), a run
                    with --config.model.variant=ccp, best step 8,000: 3.94 ± .40 nats
                    where ACP has 2.84 ± .35, 1.10 more (95 %: .85 to 1.34); AMI of one
                    sample .037 less (.025 to .049)
    crp2d-tau4, ncp 256 sets (`--model crp2d-tau4/ncp=runs/ncp`, 2026-11-27), best step
                    10,000: 1.02 ± .10 nats where ACP has .98 ± .10, .042 more (95 %:
                    .008 to .076); AMI of one sample .033 less (-.018 to .084)
    crp2d-tau4, acp_s   the same (`--model crp2d-tau4/acp_s=runs/acp_s`): 1.00 ± .10
                    nats, .018 more (-.018 to .054); AMI of one sample .036 less (-.006
                    to .078)
    @paper          not yet run
"""

import os
import sys

from ml_collections import ConfigDict

sys.path.insert(0, os.path.dirname(__file__))
import common  # noqa: E402

_SMALL = {  # tau, steps
    "crp2d-tau2": (2.0, 6000),
    "crp2d-tau4": (4.0, 10000),
    "crp2d-tau10": (10.0, 6000),
}
_NAMES = ["points-2d", "points-nd", *_SMALL]


def get_config(argument: str = "points-2d") -> ConfigDict:
    """The configuration of one model."""
    name, at, kind = argument.partition("@")
    common.check_argument(name, _NAMES, "acp_points.py")
    if at and kind not in ("paper", "ncp"):
        raise ValueError(f"acp_points.py:{argument}: after the @ want 'paper' or 'ncp'")
    config = _base()
    if name in _SMALL:
        tau, config.train.steps = _SMALL[name]
        config.generator.update(min_points=3, max_points=8, max_clusters=8)
        config.generator.update(spread=tau, centre=False)
        config.encoder.scale = tau
        config.model.seeds = 8
        config.batch.sets = 256
        # Late steps differ by thousandths of a nat: few sets would choose by chance.
        config.eval.sets = 2048
    if name == "points-nd":
        config.generator.update(dims=32, min_dims=2, min_points=20, max_points=200)
        config.generator.update(prior="mfm", rate=3.0)
        config.generator.update(shape="mixed", noise_ratio=3.0, spread=4.0)
        config.generator.update(equal_distance=True, standardise=True, principal=True)
        config.encoder.update(dims=32, scale=1.0, distance=True)
    if kind == "paper":
        _as_published(config)
    if kind == "ncp":
        slots = config.generator.max_clusters
        config.model = {"variant": "ncp", "dim": 64, "clusters_dim": 128}
        config.model.update(hidden=64, slots=slots)
        config.batch.steps = 16  # points of each set
    return config.lock()


def _as_published(config: ConfigDict) -> None:
    wide = 128
    config.model.update(latent="gaussian", relative=False, head_scale=False)
    config.model.update(dim=wide, hidden=wide, latent_dim=wide, seeds=32)
    config.encoder.update(dim=wide, hidden=wide, scale=1.0)
    config.batch.update(sets=32, steps=config.generator.max_clusters, draws=40)
    config.optim.update(name="adam", lr=1e-4, schedule="constant", warmup=0)
    config.optim.update(clip_norm=0.0, l2=0.01, eps=1e-8)


def _base() -> ConfigDict:
    encoder = {
        "name": "points.encoder",
        "dims": 2,
        "dim": 64,
        "hidden": 64,
        "scale": 10.0,  # coordinates are divided by it
        "distance": False,
    }
    generator = {
        "name": "points.mixtures",
        "dims": 2,
        "min_dims": 0,  # 0: all sets have `dims` coordinates
        "min_points": 50,
        "max_points": 199,
        "prior": "crp",  # or mfm, with `rate`
        "alpha": 0.7,
        "rate": 2.0,
        "max_clusters": 12,
        "spread": 10.0,
        "equal_distance": False,
        "noise": 1.0,
        "shape": "gaussian",  # or student, anisotropic, mixed
        "stretch": 0.5,
        "noise_ratio": 1.0,
        "centre": True,
        "standardise": False,
        "principal": False,
    }
    return ConfigDict(common.clustering(encoder, generator))
