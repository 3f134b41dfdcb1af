"""Belief propagation: its equations restated, what it finds, and where it says none."""

import numpy as np
import pytest

from jaxbio.clustering.graphs import propagation, symmetric_sbm
from jaxbio.clustering.graphs.graph import from_pairs
from jaxbio.clustering.graphs.propagation import refine
from jaxbio.clustering.metrics import adjusted_mutual_info, adjusted_rand


def blocks_of(n, blocks, degree, ratio, seed=0, sign=1):
    """A graph of the symmetric block model, and its labels."""
    c_in, c_out = map(float, symmetric_sbm.rates(blocks, degree, ratio, sign))
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % blocks
    same = labels[:, None] == labels
    upper = np.triu(rng.random((n, n)) < np.where(same, c_in, c_out) / n, 1)
    return from_pairs(np.arange(n), np.argwhere(upper)), labels


def shaken(labels, share, seed=1):
    """Labels of which a share is drawn again."""
    rng = np.random.default_rng(seed)
    again = rng.integers(0, labels.max() + 1, len(labels))
    return np.where(rng.random(len(labels)) < share, again, labels)


def restated(graph, start, sweeps=200):
    """Marginals, share of edges inside and evidence: a loop over nodes in float64."""
    n, k = len(graph), start.max() + 1
    near = [[] for _ in range(n)]
    for i, j in graph.edges.tolist():
        near[i].append(j)
        near[j].append(i)
    sent = {
        (i, j): np.where(np.arange(k) == start[i], 0.8, 0) + 0.2 / k
        for i in range(n)
        for j in near[i]
    }
    pairs = [tuple(pair) for pair in graph.edges.tolist()]
    inside = np.mean([sent[i, j] @ sent[j, i] for i, j in pairs])
    least = 1.2 * (1 - 1 / k) / np.sqrt(2 * len(pairs) / n)
    more = inside > 1 / k
    inside = max(inside, 1 / k + least) if more else min(inside, 1 / k - least)
    inside = np.clip(inside, 1e-3, 1 - 1e-3)
    weight = np.zeros(k)

    def normal(logits):
        shares = np.exp(logits - logits.max())
        return shares / shares.sum()

    def told(i, j):
        across = k * (1 - inside) / (k - 1)
        return np.log(across + (k * inside - across) * sent[i, j])

    def field(weight):
        total = np.array(
            [sum(told(j, i) for j in near[i]) + np.zeros(k) for i in range(n)]
        )
        for _ in range(10):
            share = sum(normal(row - weight) for row in total)
            weight = weight + np.log(share * k / n)
            weight = weight - weight.mean()
        return total, weight

    for _ in range(sweeps):
        total, weight = field(weight)
        fresh = {(i, j): normal(total[i] - weight - told(j, i)) for i, j in sent}
        change = np.mean([np.abs(fresh[e] - sent[e]).mean() for e in sent])
        sent = {e: (sent[e] + fresh[e]) / 2 for e in sent}
        agree = np.array([sent[i, j] @ sent[j, i] for i, j in pairs])
        across = k * (1 - inside) / (k - 1)
        odds = across + (k * inside - across) * agree
        inside = (inside + np.mean(k * inside * agree / odds)) / 2
        if change <= 1e-4:
            break
    total, weight = field(weight)
    across = k * (1 - inside) / (k - 1)
    odds = [
        across + (k * inside - across) * (sent[i, j] @ sent[j, i]) for i, j in pairs
    ]
    of_nodes = np.log(np.exp(total - weight).sum(1) / k).sum()
    marginals = np.stack([normal(row - weight) for row in total])
    return marginals, inside, of_nodes - np.log(odds).sum()


@pytest.mark.parametrize(("blocks", "sign"), [(2, 1), (3, 1), (2, -1)])
def test_equations(blocks, sign):
    graph, truth = blocks_of(60, blocks, 8.0, 5.0, sign=sign)
    start = shaken(truth, 0.3)
    marginals, inside, evidence = restated(graph, start)
    found = refine(graph, [start])
    order = [found.labels[marginals.argmax(1) == block][0] for block in range(blocks)]
    np.testing.assert_allclose(found.marginals[:, order], marginals, atol=2e-4)
    assert found.inside == pytest.approx(inside, abs=1e-4)
    assert found.evidence == pytest.approx(evidence, abs=2e-3)
    assert (inside > 1 / blocks) == (sign > 0)


def test_finds_more_than_its_start_has_and_knows_how_much():
    graph, truth = blocks_of(900, 3, 10.0, 2.5)
    start = shaken(truth, 0.5)
    found = refine(graph, [start])
    assert adjusted_mutual_info(truth, found.labels) > 0.5
    assert adjusted_mutual_info(truth, start) < 0.25
    np.testing.assert_array_equal(found.labels, found.marginals.argmax(1))
    right = max(
        np.mean(np.array(order)[found.labels] == truth)
        for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    )
    assert found.marginals.max(1).mean() == pytest.approx(right, abs=0.03)
    c_in, _ = symmetric_sbm.rates(3, 10.0, 2.5, 1)
    assert found.inside == pytest.approx(float(c_in) / 30, abs=0.03)


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_evidence_tells_the_number_of_blocks(blocks):
    graph, truth = blocks_of(600, blocks, 12.0, 4.0)
    halves, split = truth // 2, truth + blocks * (np.arange(600) // 300)
    starts = [shaken(row, 0.2) for row in (halves, truth, split)]
    found = refine(graph, starts)
    assert found.marginals.shape == (600, blocks)
    assert adjusted_rand(truth, found.labels) > 0.8


@pytest.mark.parametrize(
    ("evidence", "still", "blocks"),
    [
        ((3.0, 1.0), (True, True), 1),  # log(1,000) / 2 is 3.5
        ((4.0, 3.0), (True, True), 2),
        ((4.0, 5.0), (True, True), 3),
        ((4.0, 9.0), (True, False), 2),
        ((3.0, 9.0), (True, False), 3),
        ((9.0, 8.0), (False, False), 2),
        ((3.0, 2.0), (False, False), 1),
        ((float("nan"), 4.0), (False, True), 3),
    ],
)
def test_what_settles_is_taken_if_it_has_evidence(monkeypatch, evidence, still, blocks):
    graph, truth = blocks_of(300, 3, 10.0, 5.0)
    graph = from_pairs(graph.nodes, graph.edges[:1000])
    starts = [truth % 2, truth]
    marginals = [np.eye(3)[start] for start in starts]

    def propagate(ends, real, rows, n, most):
        padded = np.pad(marginals, ((0, 0), (0, rows.shape[1] - n), (0, 0)))
        numbers = np.array([0.7, 0.6]), np.array(evidence), np.array(still)
        return propagation._Found(padded, *numbers)

    monkeypatch.setattr(propagation, "_propagate", propagate)
    found = refine(graph, starts)
    assert found.marginals.shape == (300, blocks)
    wanted = (
        (0.0, 1.0) if blocks == 1 else (evidence[blocks - 2], (0.7, 0.6)[blocks - 2])
    )
    assert (found.evidence, found.inside) == wanted


@pytest.mark.parametrize(("blocks", "degree"), [(2, 6.0), (4, 12.0)])
def test_a_start_half_of_which_is_drawn_does_as_well_as_the_truth(blocks, degree):
    """Near the threshold, where all fades that begins too far down."""
    graph, truth = blocks_of(1000, blocks, degree, 2.0)
    best = refine(graph, [truth])
    found = refine(graph, [shaken(truth, 0.5)])
    assert found.evidence == pytest.approx(best.evidence, abs=0.1)
    assert adjusted_mutual_info(best.labels, found.labels) > 0.95


@pytest.mark.parametrize("blocks", [2, 4])
def test_says_one_block_where_there_are_none(blocks):
    graph, truth = blocks_of(400, blocks, 6.0, 0.0)
    found = refine(graph, [shaken(truth, 0.5), shaken(truth // 2, 0.5)])
    assert found.labels.max() == 0 and found.evidence == 0 and found.inside == 1
    np.testing.assert_array_equal(found.marginals, np.ones((400, 1)))


def test_trees_tell_of_no_blocks():
    """On a tree the messages settle at one place only, where all blocks are alike."""
    parents = [(np.arange(1, 64) - 1) // 2, np.arange(1, 64)]
    tree = from_pairs(np.arange(64), np.stack(parents, 1))
    assert refine(tree, [np.arange(64) % 2]).labels.max() == 0


def test_graphs_without_edges_or_starts():
    empty = np.zeros((5, 5))
    assert refine(empty, [np.array([0, 1, 0, 1, 0])]).labels.tolist() == [0] * 5
    assert refine(np.ones((5, 5)), []).labels.tolist() == [0] * 5
    assert refine(np.ones((5, 5)), [np.zeros(5, int)]).labels.tolist() == [0] * 5


def test_an_isolated_node_is_unsure():
    graph, truth = blocks_of(301, 2, 9.0, 5.0)
    edges = graph.edges[(graph.edges != 300).all(1)]
    found = refine(from_pairs(np.arange(301), edges), [shaken(truth, 0.3)])
    assert found.marginals[300].max() < 0.8
    assert found.marginals[:300].max(1).mean() > 0.9
