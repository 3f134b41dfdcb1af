"""Units of successive parts of a recording that are one, by their templates."""

import numpy as np

from jaxbio.clustering.spikes.templates import similarity


def link(parts: list[np.ndarray], cosine: float, shift: int) -> list[np.ndarray]:
    """Names the units of all parts.

    A part's units are matched one to one to all units named before, each in its latest
    form, so that the sum of cosines is greatest; a unit may be absent for some parts,
    and drift slowly to any form.

    Args:
        parts: Per part (units, time, channels) white templates.
        cosine: Least cosine of two templates of one unit.
        shift: Most samples between their troughs.

    Returns:
        Per part (units,) int names, counted from 0 over all parts.
    """
    from scipy import optimize

    latest: list[np.ndarray] = []
    names = []
    for templates in parts:
        name = np.full(len(templates), -1)
        if latest and len(templates):
            alike = similarity(np.stack(latest), templates, shift)[0]
            alike = np.where(alike >= cosine, alike, 0)
            old, new = optimize.linear_sum_assignment(alike, maximize=True)
            real = alike[old, new] > 0
            name[new[real]] = old[real]
        for unit, template in enumerate(templates):
            if name[unit] < 0:
                name[unit] = len(latest)
                latest.append(template)
            else:
                latest[name[unit]] = template
        names.append(name)
    return names
