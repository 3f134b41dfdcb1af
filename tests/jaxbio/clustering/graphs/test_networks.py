"""Laws of sparse graphs whose nodes differ in degree."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxbio.clustering.graphs import networks
from jaxbio.clustering.graphs.features import Features

PLAIN = networks.Config(
    min_points=40,
    max_points=120,
    max_clusters=4,
    degree=(8.0, 8.0),
    spread=(0.0, 0.0),
    uneven=0.0,
    evenness=(1e4, 1e4),
    features=Features(eigenvectors=0),
)


@functools.cache
def draws(cfg, count=200):
    draw = jax.jit(jax.vmap(functools.partial(networks.draw, cfg=cfg)))
    drawn = draw(jax.random.split(jax.random.key(0), count))
    return np.asarray(drawn["inputs"]["adjacency"]), np.asarray(drawn["labels"])


def test_draws_are_graphs_of_sizes_and_blocks_as_asked():
    adjacency, labels = draws(PLAIN)
    sizes = (labels >= 0).sum(1)
    assert sizes.min() >= 40 and sizes.max() <= 120
    # Even in the logarithm: as many below the root of both ends' product as above.
    assert np.mean(sizes < (40 * 120) ** 0.5) == pytest.approx(0.5, abs=0.12)
    np.testing.assert_array_equal(labels >= 0, np.arange(120) < sizes[:, None])
    np.testing.assert_array_equal(adjacency, adjacency.swapaxes(1, 2))
    assert set(np.unique(adjacency)) == {0, 1}
    assert not np.einsum("bii->bi", adjacency).any()
    assert not adjacency[labels < 0].any()
    blocks = [len(set(row[row >= 0])) for row in labels]
    # P(k) = sqrt(k / 4) - sqrt((k - 1) / 4)
    assert np.mean(np.equal(blocks, 1)) == pytest.approx(0.5, abs=0.12)
    assert max(blocks) == 4


def test_as_many_graphs_are_one_block_as_asked():
    _, labels = draws(dataclasses.replace(PLAIN, single=0.1))
    blocks = labels.max(1) + 1
    assert np.mean(blocks == 1) == pytest.approx(0.1, abs=0.06)
    # P(k) of more: sqrt((k - 1) / 3) - sqrt((k - 2) / 3)
    assert np.mean(blocks == 2) == pytest.approx(0.9 * 3**-0.5, abs=0.1)


def test_mean_degrees_are_as_asked():
    adjacency, labels = draws(PLAIN)
    mean = adjacency.sum((1, 2)) / (labels >= 0).sum(1)
    # A node has no edge to itself: a share 1 / n is lost, more in a block of its own.
    assert mean.mean() == pytest.approx(8 * 0.97, rel=0.03)


@pytest.mark.parametrize("mixing", [0.3, 0.9])
def test_a_walk_keeps_its_block_as_asked(mixing):
    cfg = dataclasses.replace(PLAIN, mixing=(mixing, mixing), min_points=120)
    adjacency, labels = draws(cfg)
    kept = []
    for edges, row in zip(adjacency, labels, strict=True):
        k = row.max() + 1
        if k > 1:
            inside = (edges * (row[:, None] == row)).sum() / edges.sum()
            kept.append((inside - 1 / k) / (1 - 1 / k))
    assert np.mean(kept) == pytest.approx(mixing, abs=0.03)


def test_nodes_differ_in_degree():
    spread = {}
    for sd in (0.0, 1.0):
        adjacency, labels = draws(dataclasses.replace(PLAIN, spread=(sd, sd)), 60)
        degrees = [a.sum(0)[row >= 0] for a, row in zip(adjacency, labels, strict=True)]
        spread[sd] = np.mean([d.std() / d.mean() for d in degrees])
    # Poisson: 1 / sqrt(8).
    assert spread[0.0] == pytest.approx(0.35, abs=0.03) and spread[1.0] > 0.7


def test_friends_of_friends_are_friends_in_blocks_with_a_shape():
    found = {}
    for name, local in {"plain": 0.0, "local": 1.0}.items():
        cfg = dataclasses.replace(
            PLAIN, local=local, reach=(0.5, 0.5), mixing=(0.6, 0.6), min_points=120
        )
        adjacency, labels = draws(cfg)
        paths = np.einsum("bij,bjk->bik", adjacency, adjacency)
        paths *= 1 - np.eye(120)
        inside = adjacency * (labels[:, :, None] == labels[:, None])
        several = labels.max(1) > 0
        found[name] = (
            (paths * adjacency).sum() / paths.sum(),
            adjacency.sum() / labels.size,
            inside[several].sum() / adjacency[several].sum(),
        )
    closed, degree, kept = zip(found["plain"], found["local"], strict=True)
    assert closed[1] > 2 * closed[0] and closed[1] > 0.2
    # How many edges there are, and how many of them stay inside, is as before.
    assert degree[1] == pytest.approx(degree[0], rel=0.12)  # some are sure
    assert kept[1] == pytest.approx(kept[0], abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_clusters": 0}, "max_clusters: want 1 or more, got 0"),
        ({"degree": (0.0, 4.0)}, "degree: want two numbers above 0, the smaller first"),
        ({"spread": (1.0, 0.5)}, "spread: want two numbers of at least 0, the small"),
        ({"mixing": (0.5, 1.5)}, "mixing: want at most 1"),
        ({"reach": (0.0, 1.0)}, "reach: want two numbers above 0, the smaller first"),
        ({"local": 1.5}, "local: want a share, got 1.5"),
        ({"single": -0.1}, "single: want a share, got -0.1"),
        ({"min_points": 1}, "min_points, max_points: want 2 <= min_points"),
    ],
)
def test_impossible_generators_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        networks.Config(**options)
