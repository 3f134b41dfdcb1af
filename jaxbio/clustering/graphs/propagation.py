"""Belief propagation in the symmetric block model.

What is sent from node i to a neighbour j is how probably i is in each block when j is
not looked at. Where graphs have few short loops, as large sparse ones of the model do,
that is nearly exact, and thought to be the best that can be done in reasonable time
(Decelle, Krzakala, Moore and Zdeborova, Physical Review E 84, 2011). It finds what it
was begun near.

Blocks have the same size here, as in `jaxbio.clustering.graphs.symmetric_sbm`, where
that paper has a field that pulls them apart. That field, taken at all nodes at once,
swings; instead every sweep finds the weight of each block that gives it its share. How
many of the edges are inside blocks is learned in passing.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxbio.clustering.graphs.inputs import as_graph
from jaxbio.clustering.partitions import canonical

_SURE = 0.8  # of a node's block in the beginning
# The share of edges inside begins this much farther from that of no blocks than can be
# seen, or more: below, all that is sent fades before the share is learned.
_VISIBLE = 1.2
_SHARES = 1e-3, 1 - 1e-3
_STEPS = 200
_STILL = 1e-4  # mean change of what is sent, at which it ends
_BALANCING = 10
_LEAST = 1e-6  # share of a block


class Refined(NamedTuple):
    """Blocks of a graph of n nodes.

    Attributes:
      labels: (n,) int32, canonical; all 0 where nothing tells of two blocks.
      marginals: (n, k) float32, how probably each node is in each block.
      inside: share of the edges that are inside blocks, as learned; 1 of one block.
      evidence: by how many nats the graph is more probable with the blocks than
        without any (the Bethe approximation, at that share); 0 of one block.
    """

    labels: np.ndarray
    marginals: np.ndarray
    inside: float
    evidence: float


def refine(graph: Any, starts: Sequence[np.ndarray]) -> Refined:
    """The blocks of most evidence that belief propagation finds.

    Args:
      graph: as for `jaxbio.clustering.graphs.inputs.as_graph`; n nodes, m edges.
      starts: partitions (n,) to begin at, int from 0, each into as many blocks as are
        to be found. One block has no evidence, and is taken unless another has more
        than log(m) / 2 nats, the price of the learned share by the BIC. Of a start
        from which nothing settles (too many blocks, mostly) the evidence means little;
        it is looked at only if none that settles has enough.
    """
    graph = as_graph(graph)
    n, m = len(graph), len(graph.edges)
    none = Refined(np.zeros(n, np.int32), np.ones((n, 1), np.float32), 1.0, 0.0)
    starts = [start for start in starts if start.max() > 0]
    if not m or not starts:
        return none
    ends, real = _padded(graph.edges, n)
    most = max(int(start.max()) + 1 for start in starts)
    rows = np.full((len(starts), _power(n + 1)), -1, np.int32)
    for row, start in zip(rows, starts, strict=True):
        row[:n] = start
    found = jax.device_get(_propagate(ends, real, rows, n, most))
    enough = found.evidence > np.log(m) / 2
    if not enough.any():
        return none
    settled = enough & found.still
    taken = settled if settled.any() else enough
    best = int(np.argmax(np.where(taken, found.evidence, -np.inf)))
    blocks = int(starts[best].max()) + 1
    marginals = found.marginals[best, :n, :blocks]
    raw = marginals.argmax(1)
    labels = canonical(raw[None])[0]
    order = [raw[np.argmax(labels == new)] for new in range(labels.max() + 1)]
    order += [old for old in range(blocks) if old not in order]  # nobody's likeliest
    told = float(found.inside[best]), float(found.evidence[best])
    return Refined(labels, marginals[:, order], *told)


class _State(NamedTuple):
    sent: jax.Array  # (2 M, K), over an edge there, then back
    weight: jax.Array  # (K,), minus the log of a block's, 0 on average
    inside: jax.Array
    change: jax.Array
    step: jax.Array


class _Found(NamedTuple):
    marginals: jax.Array
    inside: jax.Array
    evidence: jax.Array
    still: jax.Array


@functools.partial(jax.jit, static_argnames="most")
def _propagate(ends, real, starts, n, most):
    """From ends (M, 2) of the edges, of which `real` (M,) are there, and starts (S, N),
    -1 beyond the n nodes; edges that are not there are at nodes beyond these."""
    begin = functools.partial(_from_one, ends, real, n, most)
    return jax.vmap(begin)(starts)


def _from_one(ends, real, n, most, start):
    source = jnp.concatenate([ends[:, 0], ends[:, 1]])
    target = jnp.concatenate([ends[:, 1], ends[:, 0]])
    there = jnp.tile(real, 2)
    blocks = start.max() + 1
    is_block = jnp.arange(most) < blocks
    is_node = jnp.arange(len(start)) < n
    edges = real.sum()

    def probabilities(logits):
        return jax.nn.softmax(jnp.where(is_block, logits, -jnp.inf), axis=-1)

    def rates(inside):
        """Of an edge in a block and across, relative to a graph without blocks."""
        return blocks * inside, blocks * (1 - inside) / (blocks - 1)

    def gathered(state):
        """What each message tells its target, and all of them together."""
        same, other = rates(state.inside)
        told = jnp.log(other + (same - other) * state.sent)
        return told, jax.ops.segment_sum(told, target, len(start))

    def balanced(total, weight):
        def once(_, weight):
            share = jnp.where(is_node[:, None], probabilities(total - weight), 0)
            weight += jnp.log(jnp.maximum(share.sum(0) * blocks / n, _LEAST))
            return weight - jnp.sum(weight, where=is_block) / blocks

        return jax.lax.fori_loop(0, _BALANCING, once, weight)

    def pairs(sent):
        """How probably the ends of an edge agree, by what they send each other."""
        there, back = jnp.split(sent, 2)
        return (there * back).sum(-1)

    def learned(sent, inside):
        """The share of edges inside blocks; and the odds of every edge."""
        same, other = rates(inside)
        agree = pairs(sent)
        odds = other + (same - other) * agree
        return jnp.mean(same * agree / odds, where=real), odds

    def sweep(state):
        told, total = gathered(state)
        weight = balanced(total, state.weight)
        answer = jnp.roll(told, len(ends), axis=0)  # of the target, left out
        fresh = probabilities(total[source] - weight - answer)
        change = jnp.mean(jnp.abs(fresh - state.sent).sum(-1), where=there) / blocks
        sent = (state.sent + fresh) / 2
        share = (state.inside + learned(sent, state.inside)[0]) / 2
        share = jnp.clip(share, *_SHARES)
        return _State(sent, weight, share, change, state.step + 1)

    def go_on(state):
        return (state.change > _STILL) & (state.step < _STEPS)

    guess = _SURE * (start[source][:, None] == jnp.arange(most)) + (1 - _SURE) / blocks
    sent = jnp.where(is_block, guess, 0)
    agree = jnp.sum(pairs(sent), where=real) / edges
    # The share in which blocks are just visible (Kesten and Stigum) is at a distance of
    # this from that of no blocks, 1 / blocks.
    least = _VISIBLE * (1 - 1 / blocks) / jnp.sqrt(2 * edges / n)
    more = jnp.maximum(agree, 1 / blocks + least)
    inside = jnp.where(agree > 1 / blocks, more, jnp.minimum(agree, 1 / blocks - least))
    inside = jnp.clip(inside, *_SHARES)
    zero = jnp.zeros(most)
    state = _State(sent, zero, inside, jnp.float32(1), jnp.int32(0))
    state = jax.lax.while_loop(go_on, sweep, state)
    _, total = gathered(state)
    weight = balanced(total, state.weight)
    logits = jnp.where(is_block, total - weight, -jnp.inf)
    of_nodes = jax.nn.logsumexp(logits, axis=-1) - jnp.log(blocks)
    _, odds = learned(state.sent, state.inside)
    evidence = jnp.sum(of_nodes, where=is_node) - jnp.sum(jnp.log(odds), where=real)
    still = state.change <= _STILL
    return _Found(probabilities(total - weight), state.inside, evidence, still)


def _padded(edges, n):
    """Ends (M, 2) of M edges, M a power of two, and which are real."""
    ends = np.full((_power(len(edges)), 2), n, np.int32)
    ends[: len(edges)] = edges
    return ends, np.arange(len(ends)) < len(edges)


def _power(count):
    """The next power of two."""
    return 1 << max(count - 1, 0).bit_length()
