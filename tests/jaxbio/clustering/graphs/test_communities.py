"""From overlapping communities to problems with a partition."""

import numpy as np
import pytest

from jaxbio.clustering.graphs.communities import (
    best_matches,
    problems,
    single_labels,
    split,
)
from jaxbio.clustering.graphs.graph import from_pairs


def chain(count=8, size=10, shared=2):
    """Cliques in a row; each shares nodes with the next and has one more edge to it."""
    step = size - shared
    members = [np.arange(k * step, k * step + size) for k in range(count)]
    pairs = [(a, b) for m in members for a in m for b in m if a < b]
    pairs += [(m[shared], m[-1] + 2) for m in members[:-1]]
    nodes = 100 + np.arange(members[-1][-1] + 1)
    members = [m.astype(np.int32) for m in members]
    return from_pairs(nodes, np.array(pairs), communities=members)


def test_only_nodes_in_exactly_one_community_have_a_label():
    graph = chain(3)
    labels = single_labels(graph)
    assert labels.dtype == np.int32
    for node, label in enumerate(labels):
        homes = [k for k, m in enumerate(graph.communities) if node in m]
        assert label == (homes[0] if len(homes) == 1 else -1)


def test_problems_are_touching_communities_without_shared_nodes():
    graph = chain()
    drawn = problems(graph, 30, seed=0, communities=(2, 3), size=(10, 100))
    assert len(drawn) == 30
    counts = set()
    for problem in drawn:
        at = problem.nodes - 100
        homes = [
            {k for k, m in enumerate(graph.communities) if node in m} for node in at
        ]
        chosen = set.union(*(home for home in homes if len(home) == 1))
        counts.add(len(set(problem.labels)))
        for home, label in zip(homes, problem.labels, strict=True):
            (one,) = home & chosen
            same = problem.labels == label
            assert all(one in homes[i] for i in np.flatnonzero(same))
        assert set(problem.labels) == set(range(len(set(problem.labels))))
        assert 10 <= len(problem) <= 100 and len(problem.edges) >= len(problem) - 1
    assert counts == {2, 3}


def test_best_matches_of_communities():
    graph = chain(2)  # nodes 0 to 9 and 8 to 17
    labels = np.array([0] * 8 + [1] * 10)
    # 8 of 10 with precision 1 beat 2 of 10 with precision 1 / 5; 10 of 10 match.
    np.testing.assert_allclose(best_matches(graph, labels), [16 / 18, 1])
    np.testing.assert_allclose(best_matches(graph, np.zeros(18, int)), [20 / 28] * 2)
    np.testing.assert_allclose(best_matches(graph, np.arange(18)), [2 / 11] * 2)


def test_draws_follow_the_seed():
    one, again, other = (
        [list(p.nodes) for p in problems(chain(), 5, seed=s, size=(5, 99))]
        for s in (1, 1, 2)
    )
    assert one == again != other


def test_sides_of_a_split_share_no_node():
    graph = chain(20)
    training, tests = split(graph, 0.3, seed=0)
    assert len(tests.communities) == 6 and 0 < len(training.communities) <= 14
    sides = [set(np.concatenate(side.communities)) for side in (training, tests)]
    assert not sides[0] & sides[1]
    clear = [m for m in map(set, graph.communities) if not m & sides[1]]
    assert len(clear) == len(training.communities)
    with pytest.raises(ValueError, match="fraction: 1"):
        split(graph, 1, seed=0)


def test_limits_that_nothing_meets_are_refused():
    with pytest.raises(ValueError, match="0 of 2 found .* 500 to 600 nodes"):
        problems(chain(), 2, seed=0, size=(500, 600))
    with pytest.raises(ValueError, match="among 0 communities"):
        problems(from_pairs(np.arange(3), np.array([(0, 1)])), 1, seed=0)
