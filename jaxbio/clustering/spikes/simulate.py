"""Problems to train a clusterer of spikes on: the snippets of one detection channel.

    labels ~ CRP(alpha) or a mixture of finite mixtures
    a unit: a place, a spread in space, a waveform in time, a depth
    a snippet: its unit's waveform at a random fraction of a sample, times N(1, jitter),
        often another unit's spike within a millisecond, also of one next door, which
        is deepest elsewhere, and noise, coloured in time and correlated in space

The traces that snippets are cut from were band-passed, so are the waveforms and the
noise. As a detector would, a problem keeps the snippets whose trough is deep enough and
deepest on the channel; the others become padding. Waveforms are ours, drawn from
formulas; nothing biological.

Two things differ from the description of Neural Clustering Processes for spikes (Wang
et al., 2019): templates are not from recordings, and collisions are simulated.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering.partitions import crp, mfm
from jaxbio.clustering.spikes import modes, noise, probes, snippets

_REACH = 32  # samples, a little over a millisecond: how far off a collision may be
_SLACK = 3  # samples by which noise may move a trough
_STEPS = 5  # sub-sample shifts
_TROUGH = 64  # of a long waveform
_LONG = 160
_AT_ONCE = 5  # samples between troughs that are one event
_AWAY = 0.65  # sd of a unit's place about the channel, in pitches
_NEXT_DOOR = 1.5  # the same of units that only collide


@dataclasses.dataclass(frozen=True)
class Config:
    """What problems are drawn. Pairs are the ends of a uniform distribution.

    Attributes:
        min_spikes, max_spikes: Snippets before the detector, which takes about half.
        max_points: Of those that it takes the first so many are kept; problems are
            padded to it.
        prior: Of the partition, "crp", "mfm", or "mixed": one of both per problem.
        alpha: Concentration of the CRP.
        rate: Expected number of components of the MFM, less one.
        max_clusters: Units in a problem; those who only collide come on top.
        probe: "linear", two columns; "hexagonal", which has six neighbours all around,
            by angle.
        pitch: Micrometres between electrodes.
        sample_rate: Samples per second.
        band: Pass band, Hz, of the filter that `preprocess` uses.
        depth: Noise sd on the deepest channel; uniform in its logarithm.
        width: Milliseconds of the trough.
        decay: Micrometres over which a waveform falls to a 1/e of itself.
        speed: Micrometres per millisecond of its travel.
        jitter: sd of a spike's amplitude about its unit's.
        collisions: Share of the snippets in which another unit fires too.
        correlated: Share of the noise's variance that is correlated in space.
        threshold: Noise sd of the detector.
        features: 0 for whitened snippets, else how many features of them.
    """

    min_spikes: int = 200
    max_spikes: int = 1024
    max_points: int = 512
    prior: Literal["crp", "mfm", "mixed"] = "crp"
    alpha: float = 0.7
    rate: float = 4.0
    max_clusters: int = 12
    probe: Literal["linear", "hexagonal"] = "linear"
    pitch: float = 20.0
    sample_rate: float = 30000.0
    band: tuple[float, float] = (300.0, 6000.0)
    depth: tuple[float, float] = (6.0, 60.0)
    width: tuple[float, float] = (0.2, 0.6)
    decay: tuple[float, float] = (20.0, 60.0)
    speed: tuple[float, float] = (200.0, 800.0)
    jitter: float = 0.08
    collisions: float = 0.3
    correlated: tuple[float, float] = (0.0, 0.5)
    threshold: tuple[float, float] = (5.0, 8.0)
    features: int = 0

    def __post_init__(self):
        if not 1 <= self.min_spikes <= self.max_spikes:
            raise ValueError(
                "generator.min_spikes, max_spikes: want 1 <= min_spikes <= max_spikes, "
                f"got {self.min_spikes} and {self.max_spikes}"
            )
        if not 1 <= self.max_points <= self.max_spikes:
            raise ValueError(
                f"generator.max_points: want 1 to max_spikes={self.max_spikes}, got "
                f"{self.max_points}"
            )
        for name in ("alpha", "rate", "max_clusters", "pitch", "sample_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"generator.{name}: want above 0, got {getattr(self, name)}"
                )
        for name in ("depth", "width", "decay", "speed", "threshold"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(
                    f"generator.{name}: want 0 < low <= high, got {getattr(self, name)}"
                )
        if not 0 <= self.correlated[0] <= self.correlated[1] <= 1:
            raise ValueError(
                f"generator.correlated: want shares, got {self.correlated}"
            )
        if not 0 < self.band[0] < self.band[1] < self.sample_rate / 2:
            raise ValueError(
                f"generator.band: {self.band} Hz is no pass band at "
                f"{self.sample_rate} samples per second"
            )
        if not 0 <= self.collisions <= 1 or self.jitter < 0:
            raise ValueError(
                "generator.collisions: want a share, generator.jitter: want 0 or more, "
                f"got {self.collisions} and {self.jitter}"
            )
        if not 0 <= self.features <= snippets.FUNCTIONS * snippets.CHANNELS:
            raise ValueError(
                f"generator.features: want 0 to "
                f"{snippets.FUNCTIONS * snippets.CHANNELS}, got {self.features}"
            )


def draw(key: jax.Array, cfg: Config) -> dict[str, Any]:
    """One problem.

    Returns:
        inputs: "x": (max_points, LENGTH, CHANNELS) float32 whitened snippets or, if
            `features` is not 0, (max_points, features), and "modes" and "crowds" as of
            `modes.modes`; 0 for padding.
        labels: (max_points,) int32 in [0, max_clusters), -1 for padding, which is
            last.
    """
    keys = jax.random.split(key, 5)
    layouts, there = _windows(cfg)
    u = jax.random.uniform(keys[0], (4,))
    size = cfg.min_spikes + jnp.floor(u[0] * (cfg.max_spikes + 1 - cfg.min_spikes))
    layout = jnp.floor(u[1] * len(layouts)).astype(jnp.int32)
    share = cfg.correlated[0] + (cfg.correlated[1] - cfg.correlated[0]) * u[2]
    threshold = cfg.threshold[0] + (cfg.threshold[1] - cfg.threshold[0]) * u[3]
    at, there = jnp.asarray(layouts)[layout], jnp.asarray(there)[layout]
    labels = _partition(keys[1], size, cfg)
    waveforms = _units(keys[2], at, cfg) * there
    firing = _fired(keys[3], labels, waveforms, cfg)
    space = noise.space_covariance(at, there, share)
    filtered = (cfg.band, cfg.sample_rate)
    length = snippets.LENGTH + 2 * _SLACK
    hiss = noise.draw(keys[4], space, cfg.max_spikes, length, *filtered)
    traces = _summed(waveforms, firing) + hiss * there
    cut, detected = _detected(traces, threshold)
    labels = jnp.where((labels >= 0) & detected, firing["label"], -1)
    order = jnp.argsort(labels < 0, stable=True)[: cfg.max_points]
    labels, cut = labels[order], cut[order]
    temporal = snippets.temporal_whitening(
        noise.autocovariance(snippets.LENGTH, *filtered)
    )
    x = snippets.prepare(cut, temporal, noise.symmetric_root(space))
    x = jnp.where((labels >= 0)[:, None, None], x * there, 0)
    return {"inputs": _seen(x, labels >= 0, cfg), "labels": labels.astype(jnp.int32)}


def _seen(prepared: jax.Array, valid: jax.Array, cfg: Config) -> dict[str, jax.Array]:
    """What a model is given of prepared snippets."""
    if not cfg.features:
        return {"x": prepared}
    x = snippets.features(prepared, valid, cfg.features)
    # Without jitter units spread alike as they are: hardly shortened.
    places, crowds = modes.modes(modes.shortened(x, max(cfg.jitter, 1e-3))[0], valid)
    return {"x": x, "modes": places, "crowds": crowds}


def _partition(key: jax.Array, size: jax.Array, cfg: Config) -> jax.Array:
    """Labels (max_spikes,) of the prior, -1 beyond the size."""
    most = (size, cfg.max_spikes)
    if cfg.prior == "crp":
        return crp(key, *most, cfg.alpha, cfg.max_clusters)
    if cfg.prior == "mfm":
        return mfm(key, *most, cfg.rate, cfg.max_clusters)
    choice, one, other = jax.random.split(key, 3)
    return jnp.where(
        jax.random.bernoulli(choice),
        crp(one, *most, cfg.alpha, cfg.max_clusters),
        mfm(other, *most, cfg.rate, cfg.max_clusters),
    )


def size_of(prepared: Any) -> int:
    """Number of snippets of a problem.

    Raises:
        ValueError: It is no array (n, LENGTH, CHANNELS) of finite numbers, n above 0.
    """
    shape = (snippets.LENGTH, snippets.CHANNELS)
    found = np.shape(prepared)
    if len(found) != 3 or found[1:] != shape or not found[0]:
        raise ValueError(
            f"snippets: want shape (n, {shape[0]}, {shape[1]}), n above 0, got {found}"
        )
    if not np.isfinite(prepared).all():
        raise ValueError("snippets: a value is not finite")
    return found[0]


def inputs_of(problems: Sequence[Any], size: int, cfg: Config) -> dict[str, jax.Array]:
    """Snippets, from `snippets.prepare`, as a trained model takes them.

    Args:
        problems: B channels' (n, LENGTH, CHANNELS), aligned and whitened, noise sd.
        size: Rows of each in the result, n or more.
        cfg: Of the training; `features` and `jitter` are read.

    Returns:
        As the inputs of B calls of `draw`, of so many rows.

    Raises:
        ValueError: As `size_of`.
    """
    made = [_one(prepared, size, cfg) for prepared in problems]
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *made)


def _one(prepared, size, cfg):
    count = size_of(prepared)
    x = np.zeros((size, snippets.LENGTH, snippets.CHANNELS), np.float32)
    x[:count] = prepared
    return _padded(jnp.asarray(x), jnp.arange(size) < count, cfg)


_padded = jax.jit(_seen, static_argnames="cfg")


def _units(key: jax.Array, at: jax.Array, cfg: Config) -> jax.Array:
    """Band-passed waveforms (units, _STEPS, _LONG, channels), noise sd.

    The trough of the unmoved one of each unit is at `_TROUGH` on the first channel.
    """
    units = 2 * cfg.max_clusters  # the second half only collides
    place, rest = jax.random.split(key)
    # All at once: every call of jax.random takes seconds to compile.
    u = jax.random.uniform(rest, (9, units))

    def between(ends, share):
        return ends[0] + (ends[1] - ends[0]) * share

    # Around the channel, so that a neighbour may be the nearer one, and off the probe.
    around = jnp.where(jnp.arange(units) < cfg.max_clusters, _AWAY, _NEXT_DOOR)
    away = jax.random.normal(place, (units, 2)) * around[:, None] * cfg.pitch
    off = between((5.0, 25.0), u[0])
    far = jnp.sqrt(((at - away[:, None]) ** 2).sum(-1) + off[:, None] ** 2)
    fall = jnp.exp(-far / between(cfg.decay, u[1])[:, None])
    delay = (far - far[:, :1]) / between(cfg.speed, u[2])[:, None]
    depth = jnp.exp(between(np.log(cfg.depth), u[3]))
    width = between(cfg.width, u[4])[:, None, None, None]
    shape = u[5:, :, None, None, None]
    # Milliseconds from the trough at (units, steps, samples, channels).
    shift = (jnp.arange(_STEPS) - _STEPS // 2) / _STEPS
    time = jnp.arange(-_TROUGH, _LONG - _TROUGH) + shift[:, None]
    time = time[None, :, :, None] / (cfg.sample_rate / 1000)
    time = time - delay[:, None, None, :]
    # A trough, a later and wider hill, and at times an earlier and smaller one; the
    # width of a bell at half its height is 2.355 sd.
    sd = width / 2.355
    after, before = 0.1 + 0.5 * shape[0], jnp.maximum(0.6 * shape[1] - 0.3, 0)
    late, wide = (1.0 + shape[2]) * width, (1.0 + shape[3]) * sd
    wave = -jnp.exp(-((time / sd) ** 2) / 2)
    wave += after * jnp.exp(-(((time - late) / wide) ** 2) / 2)
    wave += before * jnp.exp(-(((time + 0.8 * width) / sd) ** 2) / 2)
    band_pass = noise.filter_matrix(_LONG, cfg.band, cfg.sample_rate)
    wave = jnp.einsum("ts,uksc->uktc", band_pass, wave)
    wave = wave * fall[:, None, None, :]
    trough = wave[:, _STEPS // 2, :, 0].argmin(axis=1)
    wave = jax.vmap(lambda w, by: jnp.roll(w, by, axis=1))(wave, _TROUGH - trough)
    deepest = -wave[:, _STEPS // 2].min(axis=(1, 2))
    return wave * (depth / deepest)[:, None, None, None]


def _fired(
    key: jax.Array, labels: jax.Array, waveforms: jax.Array, cfg: Config
) -> dict[str, jax.Array]:
    """Who fires in each snippet: one unit at the trough and perhaps another nearby.

    Args:
        key: PRNG key.
        labels: (spikes,) units that the snippets are of.
        waveforms: (units, _STEPS, _LONG, channels).
        cfg: See `Config`.

    Returns:
        label: (spikes,) int32, that of the deeper unit where both troughs are nearly
            at once. unit, step, scale, offset: (2, spikes), of both units; the scale is
            an amplitude, and 0 if the second one does not fire; the offset is in
            samples after the trough.
    """
    draws, amplitudes = jax.random.split(key)
    spikes = len(labels)
    u = jax.random.uniform(draws, (5, spikes))
    # A cluster's unit, or one of next door, each as probable as any other.
    other = 1 + (u[0] * (len(waveforms) - 1)).astype(jnp.int32)
    unit = jnp.stack([labels, (labels + other) % len(waveforms)])
    step = (u[1:3] * _STEPS).astype(jnp.int32)
    scale = 1 + cfg.jitter * jax.random.normal(amplitudes, (2, spikes))
    collides = u[3] < cfg.collisions
    scale = scale * jnp.stack([jnp.ones(spikes), collides])
    offset = jnp.round((2 * u[4] - 1) * _REACH).astype(jnp.int32)
    depth = -waveforms[unit, _STEPS // 2, _TROUGH, 0] * scale
    swap = (jnp.abs(offset) <= _AT_ONCE) & (depth[1] > depth[0])
    swap = swap & (unit[1] < cfg.max_clusters)
    unit, step, scale = (jnp.where(swap, x[::-1], x) for x in (unit, step, scale))
    return {
        "label": unit[0],
        "unit": unit,
        "step": step,
        "scale": scale,
        "offset": jnp.stack([jnp.zeros_like(offset), jnp.where(swap, -offset, offset)]),
    }


def _summed(waveforms: jax.Array, firing: dict[str, jax.Array]) -> jax.Array:
    """(spikes, LENGTH + 2 * _SLACK, channels) of both units together."""
    channels = waveforms.shape[-1]
    length = (snippets.LENGTH + 2 * _SLACK) * channels
    start = _TROUGH - snippets.BEFORE - _SLACK - firing["offset"]
    rows = waveforms.reshape(-1, waveforms.shape[2] * channels)

    def cut(row, at):
        return jax.lax.dynamic_slice(rows, (row, at * channels), (1, length))[0]

    row = firing["unit"] * _STEPS + firing["step"]
    found = jax.vmap(jax.vmap(cut))(row, start) * firing["scale"][..., None]
    return found.sum(axis=0).reshape(-1, length // channels, channels)


def _detected(traces: jax.Array, threshold: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Snippets cut where the noisy trough is, and whether a detector takes them."""
    around = slice(snippets.BEFORE, snippets.BEFORE + 2 * _SLACK + 1)
    near = traces[:, around]
    start = near[:, :, 0].argmin(axis=1)
    depth = -near[:, :, 0].min(axis=1)
    cut = jax.vmap(
        lambda trace, at: jax.lax.dynamic_slice_in_dim(trace, at, snippets.LENGTH)
    )(traces, start)
    return cut, (depth > threshold) & (-near.min(axis=(1, 2)) <= depth)


@functools.cache
def _windows(cfg: Config) -> tuple[np.ndarray, np.ndarray]:
    """What `probes.windows_of` gives of the probe."""
    if cfg.probe == "linear":
        layout, order = probes.linear(16, cfg.pitch), "distance"
    else:
        layout, order = probes.hexagonal(7, cfg.pitch), "angle"
    radius = {"linear": 100.0, "hexagonal": 1.2 * cfg.pitch}[cfg.probe]
    return probes.windows_of(layout, snippets.CHANNELS, order, radius)
