"""SAR's local heads of every kind: what they compute, and from what."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from jaxrec.interop import sar_to_torch
from jaxrec.models import _sar_local, sar
from tests.jaxrec import oracle_sar_local
from tests.jaxrec.compiling import numpy_jit

ITEMS, LENGTH = 9, 7
KINDS = ("conv", "rnn", "initial", "adapt")
SEQUENCES = ([3, 1, 4, 1], [5, 9, 2], [6, 5, 3, 8, 9, 7, 2])
# Two sequences left padded, the same right padded, the same in one row; a whole row,
# and that with other last items.
IDS = np.zeros((7, LENGTH), np.int32)
SEGMENTS = np.ones_like(IDS)
PLACES = []  # row, first slot and sequence
for n, sequence in enumerate(SEQUENCES[:2]):
    size = len(sequence)
    for row, first in ((n, LENGTH - size), (2 + n, 0), (4, 4 * n)):
        IDS[row, first : first + size] = sequence
        PLACES.append((row, first, sequence))
    SEGMENTS[4, 4 * n : 4 * n + size] = n + 1
IDS[5:] = SEQUENCES[2]
IDS[6, 4:] = [1, 4, 1]
PLACES += [(5, 0, SEQUENCES[2]), (6, 0, [6, 5, 3, 8, 1, 4, 1])]
AT = np.array([[6, 3], [6, 4], [3, 0], [2, 0], [3, 4], [6, 1], [0, 6]], np.int32)
COTANGENT = np.random.default_rng(1).normal(size=(*IDS.shape, 8)).astype("f4")
COTANGENT[IDS == 0] = 0
draw_heads = numpy_jit(_sar_local.init_local, static_argnums=1)


def config(kind, causal=True, **fields):
    windows = (0, 1 if kind == "adapt" else 2)
    sizes = {"items": ITEMS, "length": LENGTH, "dim": 8, "heads": 2, "blocks": 1}
    return sar.SARConfig(
        **sizes | {"windows": windows, "local": kind, "causal": causal} | fields
    )


@functools.cache
def make_params(cfg):
    """Parameters with enough spread that everything has a part in the outputs."""
    shapes = jax.eval_shape(lambda: sar.init(jax.random.key(0), cfg))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: rng.normal(0, 0.4, a.shape).astype("f4"), shapes)


@functools.cache
def computed(kind, causal):
    """Everything of a kind by one compilation; both ways, gradients of slots `AT`."""
    cfg = config(kind, causal)
    params = make_params(cfg)
    at = None if causal else AT

    def run(params):
        def total(params):
            hidden = sar.encode(params, cfg, IDS, segments=SEGMENTS, at=at)
            return (hidden * taken(COTANGENT, at)).sum(), hidden

        (_, some), grads = jax.value_and_grad(total, has_aux=True)(params)
        hidden = sar.encode(params, cfg, IDS, segments=SEGMENTS)
        weights = sar.attention(params, cfg, IDS, segments=SEGMENTS)
        return {"hidden": hidden, "some": some, "grads": grads, "weights": weights}

    return cfg, params, numpy_jit(run)(params)


def taken(x, at):
    return x if at is None else np.take_along_axis(x, at[..., None], 1)


def wide(params):
    return jax.tree.map(lambda a: a.astype(np.float64), params)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both-ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_attention_are_those_of_each_sequence_alone(kind, causal):
    """Padded on the left, on the right or packed, as the restatement says."""
    cfg, params, found = computed(kind, causal)
    for row, first, sequence in PLACES:
        wanted, weights = oracle_sar_local.encode(wide(params), cfg, sequence)
        own = slice(first, first + len(sequence))
        np.testing.assert_allclose(found["hidden"][row, own], wanted, atol=2e-6)
        block = found["weights"][:, row, :, own]
        np.testing.assert_allclose(block[..., own], weights, atol=1e-6)
        np.testing.assert_allclose(block.sum(-1), 1, atol=1e-6)
    heads = 1 if kind in ("conv", "rnn") else 2
    assert found["weights"].shape == (1, len(IDS), heads, LENGTH, LENGTH)
    some = taken(found["hidden"], None if causal else AT)
    np.testing.assert_allclose(found["some"], some, atol=1e-6)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both-ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_differences_of_the_restatement(kind, causal):
    cfg, params, found = computed(kind, causal)
    asked = np.zeros(COTANGENT.shape)
    for row, slots in enumerate(np.broadcast_to(np.arange(LENGTH), IDS.shape)):
        for slot in slots if causal else AT[row]:
            asked[row, slot] = COTANGENT[row, slot]

    def total(params):
        return sum(
            (oracle_sar_local.encode(params, cfg, sequence)[0] * asked[row, own]).sum()
            for row, first, sequence in PLACES
            for own in [slice(first, first + len(sequence))]
        )

    leaves, structure = jax.tree.flatten(wide(params))
    rng, size = np.random.default_rng(2), 1e-5
    for n, (path, grad) in enumerate(jax.tree.leaves_with_path(found["grads"])):
        way = rng.normal(size=grad.shape)
        sides = [
            total(structure.unflatten([*leaves[:n], leaves[n] + d, *leaves[n + 1 :]]))
            for d in (size * way, -size * way)
        ]
        slope = (sides[0] - sides[1]) / (2 * size)
        scale = max(float(np.abs(grad).max()), 0.1) * grad.size**0.5
        assert (grad * way).sum() == pytest.approx(slope, abs=1e-4 * scale), path
        # Queries and keys of conv and rnn are not used, and of keys a bias moves none.
        idle = "key" in str(path) and "bias" in str(path)
        assert np.abs(grad).max() > 1e-3 or idle, path


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_model_does_not_see_the_future(kind):
    """In rows 5 and 6 the last three items differ."""
    hidden, weights = (computed(kind, True)[2][name] for name in ("hidden", "weights"))
    np.testing.assert_array_equal(hidden[5, :4], hidden[6, :4])
    assert (np.abs(hidden[5, 4:] - hidden[6, 4:]).max(-1) > 0.01).all()
    assert (weights[:, 5, :, :4, 4:] == 0).all() and (weights[:, 5, :, 4:] > 0).any()
    both = computed(kind, False)[2]["hidden"]
    assert np.abs(both[5, :4] - both[6, :4]).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_steps_equal_encode_and_beyond_the_window_too(kind):
    cfg = config(kind)
    params = make_params(cfg)
    step = numpy_jit(sar.step, static_argnums=1)
    state, ids = sar.start(cfg, 2), np.array([SEQUENCES[2], [6, 5, 3, 8, 1, 4, 1]])
    inside = computed(kind, True)[2]["hidden"][5:]
    for t in range(LENGTH):
        state, output = step(params, cfg, state, ids[:, t])
        np.testing.assert_allclose(output, inside[:, t], atol=2e-6)
    state, output = step(params, cfg, state, np.array([4, 9]))
    for row, item in enumerate((4, 9)):
        window = [*ids[row, 1:], item]
        wanted, _ = oracle_sar_local.encode(wide(params), cfg, window)
        np.testing.assert_allclose(output[row], wanted[-1], atol=2e-6)


@pytest.mark.parametrize("kind", ["rnn", "adapt"])
def test_both_ways_the_mask_token_is_appended(kind):
    cfg = config(kind, causal=False)
    params = make_params(cfg)
    history = np.array([[0, 0, 3, 1, 4, 1]], np.int32)
    _, output = numpy_jit(sar.prefill, static_argnums=1)(params, cfg, history)
    wanted, _ = oracle_sar_local.encode(wide(params), cfg, [3, 1, 4, 1, ITEMS + 1])
    np.testing.assert_allclose(output[0], wanted[-1], atol=2e-6)


@pytest.mark.parametrize("kind", ["rnn", "adapt"])
def test_products_in_bfloat16_are_close(kind):
    cfg = config(kind, causal=False)
    half = dataclasses.replace(cfg, compute_dtype="bfloat16")
    hidden = numpy_jit(sar.encode, static_argnums=1)(make_params(cfg), half, IDS[5:])
    difference = np.abs(hidden - computed(kind, False)[2]["hidden"][5:])
    assert hidden.dtype == np.float32 and 1e-4 < difference.mean() < 0.02


def test_heads_may_be_local_in_any_order_and_reach():
    for kind, windows in (("conv", (3, 0, 1, 0)), ("adapt", (1, 0, 1, 0))):
        cfg = config(kind, heads=4, windows=windows)
        params = make_params(cfg)
        assert params["block_0"]["local"].keys() == {"head_0", "head_2"}
        hidden = numpy_jit(sar.encode, static_argnums=1)(params, cfg, IDS[5:6])
        wanted, _ = oracle_sar_local.encode(wide(params), cfg, SEQUENCES[2])
        np.testing.assert_allclose(hidden[0], wanted, atol=2e-6)


@pytest.mark.parametrize("kind", ["conv", "rnn"])
def test_without_any_global_head_there_is_no_attention_to_report(kind):
    cfg = config(kind, windows=(2, 1))
    with pytest.raises(ValueError, match=f"local='{kind}': no head has attention"):
        sar.attention(make_params(cfg), cfg, IDS)


def test_sizes_of_parameters():
    for kind, causal, shapes in (
        ("conv", True, {"kernel": (12, 4), "bias": (4,)}),
        ("conv", False, {"kernel": (20, 4), "bias": (4,)}),
        ("initial", True, {"relative": (LENGTH,)}),
        ("initial", False, {"relative": (2 * LENGTH - 1,)}),
        ("adapt", True, {"relative": (LENGTH, 4), "kernel": (4, 1)}),
        ("adapt", False, {"relative": (2 * LENGTH - 1, 4), "kernel": (4, 1)}),
    ):
        params = make_params(config(kind, causal))
        assert params["block_0"]["local"].keys() == {"head_1"}
        head = params["block_0"]["local"]["head_1"]
        assert {name: leaf.shape for name, leaf in head.items()} == shapes
        assert ("position" in params["embedding"]) == (kind == "conv")
    assert "local" not in make_params(config("window"))["block_0"]


def test_initial_parameters():
    drawn = {
        kind: draw_heads(jax.random.key(0), config(kind))["head_1"]
        for kind in ("conv", "rnn", "adapt")
    }
    for part, into, out, taps in (
        (drawn["conv"], 4, 4, 3),
        (drawn["rnn"]["input"], 4, 12, 1),
        (drawn["rnn"]["state"], 4, 12, 1),
        (drawn["adapt"], 4, 1, 1),
        ({"kernel": drawn["adapt"]["relative"]}, LENGTH, 4, 1),
    ):
        bound = math.sqrt(6 / (taps * (into + out)))
        assert 0.6 * bound < np.abs(part["kernel"]).max() <= bound
        if "bias" in part:
            bound = (taps * into) ** -0.5
            assert 0.6 * bound < np.abs(part["bias"]).max() <= bound
    two = draw_heads(jax.random.key(0), config("rnn", heads=4, windows=(0, 1, 0, 1)))
    kernels = [head["input"]["kernel"] for head in two.values()]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1
    initial = draw_heads(jax.random.key(0), config("initial", causal=False))
    wanted = [math.exp(-(d * d) / 2) for d in range(1 - LENGTH, LENGTH)]  # sigma 1
    np.testing.assert_allclose(initial["head_1"]["relative"], wanted, atol=1e-7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"local": "conf"}, "local 'conf' is unknown; did you mean 'conv'"),
        ({"windows": ()}, r"local='conv', but no head is local \(windows=\(\)\)"),
        ({"windows": (0, 0)}, r"local='conv', but no head is local"),
        ({"windows": (0, LENGTH)}, r"'conv' wants windows below the length 7, got"),
        (
            {"local": "adapt", "windows": (0, 2)},
            r"'adapt' .* want windows 1 .* \(0, 2\)",
        ),
    ],
)
def test_kinds_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        config(**{"kind": fields.pop("local", "conv"), **fields})


def test_other_kinds_have_no_released_names():
    cfg = config("conv")
    with pytest.raises(ValueError, match="local='conv': only windows have"):
        sar_to_torch(cfg, make_params(cfg))
