"""Noise as a recording has it once filtered: coloured in time, correlated in space."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering.spikes.preprocess import band_pass, inverse_root

_CORRELATED = 40.0  # micrometres over which it falls to 1/e
_ORDER = 3  # of the filter
_TAPS = 256  # samples to either side, after which the filter's answer is over


def draw(
    key: jax.Array,
    space: jax.Array,
    windows: int,
    length: int,
    band: tuple[float, float],
    rate: float,
) -> jax.Array:
    """Draws windows of noise.

    Args:
        key: PRNG key.
        space: (channels, channels) covariance.
        windows: How many.
        length: Samples in a window.
        band: Pass band, Hz.
        rate: Samples per second.

    Returns:
        (windows, length, channels) float32 of variance 1 times that in `space`.
    """
    lags = np.arange(length)
    covariance = autocovariance(length, band, rate)[np.abs(lags[:, None] - lags)]
    root = np.linalg.inv(inverse_root(covariance, 1e-4))
    white = _normal(key, (windows, length, len(space)))
    return jnp.einsum("st,ntc,dc->nsd", root, white, jnp.linalg.cholesky(space))


def _normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers up to 4.8, two from a random word (Box and Muller, 1958).

    Random words are what costs time: `jax.random.normal` takes one for each number.
    """
    words = jax.random.bits(key, ((math.prod(shape) + 1) // 2,), "uint32")
    radius = jnp.sqrt(-2 * jnp.log(((words >> 16).astype(jnp.float32) + 0.5) / 2**16))
    angle = (words & 0xFFFF).astype(jnp.float32) * (2 * np.pi / 2**16)
    both = jnp.concatenate([radius * jnp.cos(angle), radius * jnp.sin(angle)])
    return both[: math.prod(shape)].reshape(shape)


def space_covariance(at: jax.Array, there: jax.Array, share: jax.Array) -> jax.Array:
    """Covariance of the channels of one window.

    Args:
        at: (channels, 2), micrometres.
        there: (channels,) bool; missing ones are by themselves.
        share: () of the variance that is correlated over 40 micrometres.

    Returns:
        (channels, channels), 1 on the diagonal.
    """
    distance = jnp.sqrt(((at[:, None] - at) ** 2).sum(-1))
    both = there[:, None] & there & ~jnp.eye(len(at), dtype=bool)
    together = jnp.where(both, share * jnp.exp(-distance / _CORRELATED), 0)
    return together + jnp.eye(len(at))


def symmetric_root(covariance: jax.Array) -> jax.Array:
    """As `preprocess.inverse_root`, of a covariance that needs no floor."""
    values, vectors = jnp.linalg.eigh(covariance)
    return (vectors / jnp.sqrt(values)) @ vectors.T


def filter_matrix(length: int, band: tuple[float, float], rate: float) -> np.ndarray:
    """(length, length) float32: times a signal, it is band-passed as `preprocess` does.

    The signal is zero beyond.
    """
    index = np.arange(length)
    apart = np.clip(index[:, None] - index, -_TAPS, _TAPS)
    return _response(band, rate)[apart + _TAPS].astype(np.float32)


def autocovariance(length: int, band: tuple[float, float], rate: float) -> np.ndarray:
    """(length,) of band-passed white noise, 1 at lag 0."""
    response = _response(band, rate)
    found = np.correlate(response, response, "full")
    lags = found[len(found) // 2 :][:length]
    return lags / lags[0]


@functools.cache
def _response(band: tuple[float, float], rate: float) -> np.ndarray:
    """(2 * _TAPS + 1,) the filter's answer to one sample, forwards and backwards."""
    from scipy import signal

    pulse = np.zeros(2 * _TAPS + 1)
    pulse[_TAPS] = 1
    return signal.sosfiltfilt(band_pass(*band, _ORDER, rate), pulse, padlen=0)
