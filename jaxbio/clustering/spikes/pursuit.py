"""Matching pursuit over a whole recording, and what it leaves, piece by piece."""

import dataclasses

import numpy as np

from jaxbio.clustering.spikes import matching
from jaxbio.clustering.spikes.extract import shifts
from jaxbio.clustering.spikes.matching import Matches
from jaxbio.clustering.spikes.preprocess import Preprocessing, white
from jaxbio.clustering.spikes.recording import pieces


def explain(
    traces: np.ndarray,
    rate: float,
    templates: np.ndarray,
    before: int,
    fitted: Preprocessing,
    config: matching.Config,
) -> Matches:
    """Finds the spikes of known units.

    Args:
        traces: (samples, channels), noise sd; may be a memory map.
        rate: Samples per second.
        templates: (units, time, channels), noise sd.
        before: Samples of a template before its spike.
        fitted: The noise, in which templates are told apart.
        config: See `matching.Config`.

    Returns:
        The spikes of all units, in the order of time.
    """
    if len(templates) == 0:
        return _joined([])
    known = matching.dictionary(white(templates, fitted), before, config.steps)
    dead = round(config.dead * rate)
    parts = []
    # A spike beyond the margin could not touch one inside.
    margin = 3 * templates.shape[1]
    for piece in pieces(len(traces), round(rate), margin):
        whole = white(traces[piece.low : piece.high], fitted)
        found = matching.match(whole, known, dead, config)
        parts.append(_within(found, piece.start, piece.stop, piece.low))
    return _joined(parts)


def subtract(
    traces: np.ndarray,
    matches: Matches,
    templates: np.ndarray,
    before: int,
    steps: int,
    out: np.ndarray,
) -> None:
    """Writes what the spikes leave of the traces.

    Args:
        traces: (samples, channels), noise sd; may be a memory map.
        matches: The spikes.
        templates: (units, time, channels), noise sd.
        before: Samples of a template before its spike.
        steps: Sub-sample shifts that the spikes were found with.
        out: (samples, channels), an array or memory map; may be `traces`.
    """
    out[:] = traces
    length = templates.shape[1]
    variants = np.einsum("sut,ktc->ksuc", shifts(length, steps), templates)
    for spike in range(len(matches.samples)):
        waveform = variants[matches.units[spike], matches.steps[spike]]
        start = int(matches.samples[spike]) - before
        first, last = max(-start, 0), min(length, len(out) - start)
        amplitude = matches.amplitudes[spike]
        out[start + first : start + last] -= amplitude * waveform[first:last]


def _within(found: Matches, start: int, stop: int, offset: int) -> Matches:
    samples = found.samples + offset
    keep = (samples >= start) & (samples < stop)
    return dataclasses.replace(matching.chosen(found, keep), samples=samples[keep])


def _joined(parts: list[Matches]) -> Matches:
    if not parts:
        return matching.none()
    return Matches(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Matches)
        }
    )
