"""The peers in PyTorch compute what the float64 restatement of the equations does."""

import math

import jax
import numpy as np
import optax
import pytest

from benchmarks.peers import lrurec_jax_published, reference, softmax_naive
from benchmarks.shapes import right_padded
from benchmarks.training import CONFIGS
from jaxrec.core.optim import make_optimiser
from jaxrec.interop import sar_from_torch, sar_to_torch
from tests.jaxrec import oracle_sar

torch = pytest.importorskip("torch", reason="peers need the extra [bench]")

from benchmarks.peers import (  # noqa: E402
    lrurec_torch,
    sar_torch,
    sasrec_torch,
    topk_torch,
)

ITEMS, DIM = 17, 8


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torch_model(state, dropout=0.0, dtype=None):
    model = lrurec_torch.LRURec(ITEMS, DIM, dropout=dropout)
    if dtype is torch.float64:
        for parameter in model.parameters():
            wide = torch.complex128 if parameter.is_complex() else torch.float64
            parameter.data = parameter.data.to(wide)
    return lrurec_torch.load(model, state)


def real_pairs(tensor):
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def is_adam(part):
    return isinstance(part, optax.ScaleByAdamState)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 64])
def test_torch_doubling_in_float64(length):
    random = np.random.default_rng(length)
    lam = 0.97 * np.exp(1j * random.uniform(0, 2 * np.pi, 4))
    padded_length = 1 << (length - 1).bit_length()
    x = random.normal(size=(2, padded_length, 4)) + 0j
    mask = np.arange(padded_length)[None] >= np.array([[padded_length - length], [0]])
    keep = np.concatenate([mask[:, :1], mask[:, :-1]], 1)
    h = lrurec_torch.doubling(*map(torch.tensor, (lam, x, mask.astype(np.float64))))
    np.testing.assert_allclose(h, reference.recurrence(lam, x, keep), atol=1e-13)


def test_torch_lrurec_has_the_released_names_and_shapes(state):
    model = lrurec_torch.LRURec(ITEMS, DIM)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == {name: value.shape for name, value in state.items()}
    assert shapes["model.lru_blocks.1.lru_layer.in_proj.weight"] == (2 * DIM, DIM)


@pytest.mark.parametrize(
    "precision, tolerance", [("float64", 1e-12), ("float32", 2e-6)]
)
def test_torch_lrurec_loss(state, batch, precision, tolerance):
    model = torch_model(state, dtype=getattr(torch, precision))
    loss = model.loss(*map(lambda ids: torch.tensor(ids).long(), batch))
    expected = reference.lrurec_loss(state, *batch)
    assert loss.item() == pytest.approx(expected, rel=tolerance)


def test_jax_and_torch_published_gradients_and_step_agree(state, batch):
    params = lrurec_jax_published.from_published(state)
    moments = lrurec_jax_published.optimizer().init(params)
    arguments = params, moments, *batch, jax.random.key(0)
    compiled = lrurec_jax_published.train_step(dropout=0.0).lower(*arguments)
    compiled = compiled.compile({"xla_backend_optimization_level": 0})
    params, moments, jax_loss = compiled(*arguments)
    (adam,) = (
        part for part in jax.tree.leaves(moments, is_leaf=is_adam) if is_adam(part)
    )

    model = torch_model(state)
    ids = [torch.tensor(value).long() for value in batch]
    torch_loss = lrurec_torch.train_step(model, threads=1)(*ids)
    assert float(jax_loss) == pytest.approx(torch_loss.item(), rel=2e-6)
    for name, parameter in model.named_parameters():
        gradient = real_pairs(parameter.grad).numpy()
        largest = abs(gradient).max()
        # The first moment is 1 - 0.9 times the first gradient.
        np.testing.assert_allclose(adam.mu[name] / 0.1, gradient, atol=1e-5 * largest)
        # Where a gradient is rounding error, so is the direction of Adam's step.
        clear = abs(gradient) > 1e-3 * largest
        np.testing.assert_allclose(
            np.asarray(params[name])[clear],
            real_pairs(parameter.detach()).numpy()[clear],
            atol=2e-6,
        )


def test_decay_goes_by_name(state):
    model = torch_model(state)
    decayed, plain = lrurec_torch.decay_groups(model, 0.25)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.25, 0.0)
    logs = model.model.lru_blocks[0].lru_layer.params_log
    assert any(parameter is logs for parameter in decayed["params"])
    assert any(parameter is model.model.bias for parameter in plain["params"])
    # embedding; per block: logs, two complex and two real matrices
    assert len(decayed["params"]) == 1 + 2 * 5


def test_gradient_is_clipped_at_norm_5(state, batch):
    ids = [torch.tensor(value).long() for value in batch]
    model = torch_model(state)
    loss = model.loss

    def steep(tokens, labels):
        return 1e4 * loss(tokens, labels)

    model.loss = steep
    lrurec_torch.train_step(model, threads=1)(*ids)
    squares = [
        real_pairs(parameter.grad).square().sum() for parameter in model.parameters()
    ]
    assert math.sqrt(sum(squares)) == pytest.approx(5.0, rel=1e-5)


def test_torch_lrurec_uses_dropout_in_training_only(state, batch):
    ids = [torch.tensor(value).long() for value in batch]
    expected = reference.lrurec_loss(state, *batch)
    torch.manual_seed(0)  # One mask in some twenty changes the loss by less.
    model = torch_model(state, dropout=0.5).train()
    assert abs(model.loss(*ids).item() - expected) > 1e-3
    assert model.eval().loss(*ids).item() == pytest.approx(expected, rel=2e-6)


def test_training_learns(batch):
    state = reference.published_parameters(ITEMS, DIM)
    ids = [torch.tensor(value).long() for value in batch]
    step = lrurec_torch.train_step(torch_model(state), threads=1, lr=0.03)
    losses = [step(*ids).item() for _ in range(60)]
    assert losses[0] == pytest.approx(math.log(ITEMS + 1), rel=0.05)
    assert losses[-1] < 0.5 * losses[0]


def test_bfloat16_step_has_about_the_same_loss(state, batch):
    ids = [torch.tensor(value).long() for value in batch]
    plain = lrurec_torch.train_step(torch_model(state), 1)(*ids).item()
    narrow = lrurec_torch.train_step(torch_model(state), 1, bfloat16=True)(*ids).item()
    assert narrow != plain
    assert narrow == pytest.approx(plain, rel=0.02)


def test_torch_lrurec_step_equals_the_parallel_form(state):
    tokens = torch.tensor([[3, 9, 1, 17, 17], [5, 4, 3, 2, 1]])
    model = torch_model(state).eval()
    expected = reference.lrurec_hidden(state, tokens.numpy())
    carried = model.start(2)
    with torch.inference_mode():
        for t in range(5):
            carried, hidden = model.step(carried, tokens[:, t])
            np.testing.assert_allclose(hidden, expected[:, t], atol=2e-5)


def test_step_top_k(state):
    model = torch_model(state)
    call = topk_torch.step_top_k(model, k=4, threads=1)
    _, (scores, ids) = call(model.start(1), torch.tensor([7]))
    hidden = reference.lrurec_hidden(state, np.array([[7]]))[0]
    table = state["embedding.token.weight"].astype(np.float64)
    every = table @ hidden[0] + state["model.bias"]
    order = 1 + np.argsort(-every[1:])[:4]
    assert ids[0].tolist() == order.tolist()
    np.testing.assert_allclose(scores[0], every[order], atol=1e-5)


def test_top_k():
    random = np.random.default_rng(0)
    table, queries = random.normal(size=(50, 6)), random.normal(size=(3, 6))
    scores, rows = topk_torch.top_k(torch.tensor(table), 7, threads=1)(
        torch.tensor(queries)
    )
    expected_scores, expected_rows = reference.top_k(table, queries, 7)
    assert rows.tolist() == expected_rows.tolist()
    np.testing.assert_allclose(scores, expected_scores, atol=1e-12)


def sasrec_and_state(dtype):
    torch.manual_seed(0)
    model = sasrec_torch.SASRec(ITEMS, length=7, dim=DIM, dropout=0.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.to(dtype)
    return model, {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "precision, tolerance", [("float64", 1e-12), ("float32", 2e-6)]
)
def test_sasrec_loss(batch, precision, tolerance):
    model, state = sasrec_and_state(getattr(torch, precision))
    hidden = reference.sasrec_hidden(state, batch.tokens).reshape(-1, DIM)
    labels = batch.labels.reshape(-1)
    table = state["token.weight"]
    total = reference.softmax_ce(hidden, table, 0.0, labels, labels > 0)
    ids = [torch.tensor(value).long() for value in batch]
    loss = sasrec_torch.train_step(model, threads=1)(*ids)
    assert loss.item() == pytest.approx(total / batch.targets, rel=tolerance)


def test_sasrec_recommends_from_the_last_position():
    model, state = sasrec_and_state(torch.float64)
    tokens = np.random.default_rng(1).integers(1, ITEMS + 1, (2, 7))
    hidden = reference.sasrec_hidden(state, tokens)[:, -1]
    expected = reference.top_k(state["token.weight"][1:], hidden, 5)
    for full in (True, False):
        call = sasrec_torch.recommend(model, 5, threads=1, full=full)
        scores, ids = call(torch.tensor(tokens))
        assert ids.tolist() == (expected[1] + 1).tolist()
        np.testing.assert_allclose(scores, expected[0], atol=1e-12)


def sar_case(batch, heads, dropout=0.0):
    """The model, its parameters and a right padded batch, one row of it full."""
    rows = right_padded(batch)
    rng = np.random.default_rng(heads)
    state = oracle_sar.random_state(rng, ITEMS, DIM, 2, rows.tokens.shape[1])
    model = sar_torch.SAR(ITEMS, 7, DIM, heads=heads, dropout=dropout)
    return sar_torch.load(model, state), state, rows


def tensors(rows):
    return [torch.tensor(value).long() for value in rows]


@pytest.mark.parametrize("heads", [1, 2])
def test_sar_loss_and_gradients(batch, heads):
    model, state, rows = sar_case(batch, heads)
    assert (rows.tokens > 0).all(1).any() and (rows.tokens == 0).any()
    choices = oracle_sar.Choices(heads=heads)
    loss = model.double().loss(*tensors(rows))
    loss.backward()
    expected = oracle_sar.loss(state, *rows, choices)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    gradients = oracle_sar.gradients(state, *rows, choices)
    found = {name: p.grad.numpy() for name, p in model.named_parameters()}
    assert found.keys() == gradients.keys() - {"bias.weight"}
    for name, value in found.items():
        np.testing.assert_allclose(value, gradients[name], atol=1e-12, err_msg=name)


def test_sar_trains_as_ours_does(batch):
    """Three updates of one's optimiser on the other's gradients are the other's."""
    model, state, rows = sar_case(batch, heads=1)
    step = sar_torch.train_step(model, threads=1, lr=0.01)
    options = CONFIGS["sasrec"]["optim"]
    options = {**options, "lr": 0.01, "schedule": "constant", "warmup": 0}
    cfg, params = sar_from_torch(state, heads=1, causal=True)
    optimiser = make_optimiser(options, 3, lambda path: False)
    moments, update = optimiser.init(params), jax.jit(optimiser.update)
    choices = oracle_sar.Choices()
    for _ in range(3):
        now = sar_to_torch(cfg, params)
        gradients = oracle_sar.gradients(now, *rows, choices)
        expected = oracle_sar.loss(now, *rows, choices)
        assert step(*tensors(rows)).item() == pytest.approx(expected, rel=1e-5)
        _, gradients = sar_from_torch(gradients, heads=1, causal=True)
        params, moments, _ = update(optimiser.pool(gradients), moments, params)
    assert expected < 0.99 * oracle_sar.loss(state, *rows, choices)


def test_sar_uses_dropout_in_training_only(batch):
    model, state, rows = sar_case(batch, heads=1, dropout=0.5)
    expected = oracle_sar.loss(state, *rows, oracle_sar.Choices())
    assert abs(model.train().loss(*tensors(rows)).item() - expected) > 1e-3
    loss = model.eval().loss(*tensors(rows)).item()
    assert loss == pytest.approx(expected, rel=2e-6)


def test_naive_softmax():
    random = np.random.default_rng(2)
    x, table, bias = (random.normal(size=s) for s in ((6, 4), (9, 4), (9,)))
    labels, weights = random.integers(0, 9, 6), np.array([1, 0, 2.5, 1, 0, 1])
    problem = x, table, bias, labels, weights
    call = softmax_naive.softmax_ce_and_gradients_torch(threads=1)
    loss, gradients = call(*map(torch.tensor, problem))
    assert loss.item() == pytest.approx(reference.softmax_ce(*problem), rel=1e-13)
    with jax.enable_x64(True):
        _, expected = softmax_naive.softmax_ce_and_gradients(*problem)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


def test_a_model_of_another_size_does_not_load(state):
    with pytest.raises(RuntimeError, match="embedding.token.weight"):
        lrurec_torch.load(lrurec_torch.LRURec(ITEMS + 1, DIM), state)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lrurec_torch.train_step(
            lrurec_torch.LRURec(3, 4), threads=1, compiled=True
        ),
        lambda: sasrec_torch.recommend(
            sasrec_torch.SASRec(3, 4, 4), 1, threads=1, compiled=True
        ),
        lambda: topk_torch.top_k(torch.zeros(3, 4), 1, threads=1, compiled=True),
        lambda: topk_torch.step_top_k(
            lrurec_torch.LRURec(3, 4), 1, threads=1, compiled=True
        ),
        lambda: softmax_naive.softmax_ce_and_gradients_torch(1, compiled=True),
    ],
)
def test_compiled_peers_are_for_gpus(make):
    with pytest.raises(ValueError, match="for GPU peers, the device is 'cpu'"):
        make()
