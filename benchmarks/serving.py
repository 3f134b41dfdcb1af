"""Answers to requests: one more event, a whole history, thousands of users at once.

python -m benchmarks.serving [--quick] [--only events,age,batch,window] [--threads 1]

`jaxrec.serve.recommender.Recommender` is timed from raw ids to raw ids. The peers are
given numbers on their device and return them: a transformer that encodes the last 200
events again, and the published LRURec taking one step. Of the attention models, whose
keys and values are kept while the window has room, one such step is held against
encoding the window anew; with attention to both sides there is no other way.
"""

import dataclasses
import itertools

import jax
import numpy as np

from benchmarks import harness
from benchmarks.attempts import attempt
from benchmarks.peers import reference
from benchmarks.shapes import SERVE_ITEMS, SHAPES, Shape
from jaxrec.interop import lrurec_from_torch
from jaxrec.models import config_from, model_module, serving_module
from jaxrec.serve.backbone import Backbone, from_model
from jaxrec.serve.ids import ItemIds
from jaxrec.serve.programs import Programs
from jaxrec.serve.recommender import Recommender

PARTS = "events", "age", "batch", "window"
LENGTH, K, K_BATCH = 200, 10, 100


class Server:
    """One model in every form that answers requests.

    Args:
        shape: Catalogue size, width and blocks.
    """

    def __init__(self, shape: Shape):
        self.shape = shape
        self.published = reference.published_parameters(
            shape.items, shape.dim, shape.blocks, scale=0.2
        )
        cfg, params = lrurec_from_torch(self.published)
        self.backbone: Backbone = from_model(
            model_module("lru"), cfg, params, serving=serving_module("lru")
        )
        raw = np.concatenate([[""], np.arange(1, shape.items + 1).astype(str)])
        self.recommender = Recommender(self.backbone, ItemIds(raw))
        self.random = np.random.default_rng(0)

    def history(self, events: int) -> np.ndarray:
        """Draws item numbers (events,)."""
        return self.random.integers(1, self.shape.items + 1, events)

    def torch_lrurec(self, device: str):
        """Returns the published model in PyTorch, with the same parameters."""
        from benchmarks.peers import lrurec_torch

        shape = self.shape
        model = lrurec_torch.LRURec(shape.items, shape.dim, shape.blocks)
        return lrurec_torch.load(model, self.published).to(device)


def main(bench: harness.Benchmark) -> None:
    """Measures the parts that ``--only`` names."""
    parts = bench.options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"--only names {sorted(unknown)}; parts are {list(PARTS)}")
    shape = SHAPES["serve-1"]
    if "events" in parts or "age" in parts:
        server = Server(shape)
        if "events" in parts:
            one_event(bench, server)
            state_only(bench, server)
        if "age" in parts:
            age(bench, server, 300 if bench.quick else 10_000)
    if "events" in parts and not bench.quick:
        for items in SERVE_ITEMS[1:]:
            one_event(bench, Server(dataclasses.replace(shape, items=items)))
    if "batch" in parts:
        gpu = jax.default_backend() == "gpu"
        large = SHAPES["serve-4k"]
        if bench.quick:
            large = dataclasses.replace(large, batch=8, items=1_000)
        elif not gpu:
            large = dataclasses.replace(large, batch=512)
        many_users(bench, large, gpu)
    if "window" in parts:
        for users in (1, 8) if bench.quick else (1, 1024):
            for length in (50,) if bench.quick else (50, 200):
                window(bench, shape, users, length)


def one_event(bench: harness.Benchmark, server: Server) -> None:
    """Compares answers to one more event of one user (target P4)."""
    from benchmarks.peers import sasrec_torch, topk_torch

    torch, shape = topk_torch.torch, server.shape
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    history = server.history(LENGTH)
    tokens = torch.from_numpy(history[None]).to(device)
    sasrec = sasrec_torch.SASRec(shape.items, LENGTH, shape.dim, shape.blocks)
    encode = sasrec_torch.recommend(sasrec.to(device), K, bench.threads)
    model = server.torch_lrurec(device)
    step = topk_torch.step_top_k(model, K, bench.threads)
    carried = model.start(1)
    for event in tokens[0]:
        carried, best = step(carried, event[None])

    recommender, raw = server.recommender, history.astype(str).tolist()
    state = recommender.prefill([raw[:-1]])
    state, [answer] = recommender.observe_and_top(state, raw[-1], K, False)
    bench.agree(
        f"top {K} of {shape.items}",
        {"torch": float(best[0].sum()), "jaxrec": sum(answer.scores)},
        rtol=1e-3,
    )
    events = itertools.cycle(raw)

    def observe_and_top():
        nonlocal state
        state, answers = recommender.observe_and_top(state, next(events), K)
        return answers

    ours = "jaxrec, one event"
    result = bench.compare(
        f"top {K} after one more event",
        {
            "torch SASRec, encode again": lambda: encode(tokens),
            "torch LRURec, one step": lambda: step(carried, tokens[:, -1]),
            ours: observe_and_top,
            "jaxrec, whole history": lambda: recommender.recommend([raw], K),
        },
        twin=ours,
        latency=True,
        shape=shape.name,
        items=shape.items,
        history=LENGTH,
    )
    bench.target(
        "P4",
        result.speedup(ours),
        items=shape.items,
        p50_us=1e6 * result.seconds(ours),
        p99_us=1e6 * result.seconds(ours, 99),
    )


def state_only(bench: harness.Benchmark, server: Server) -> None:
    """Compares a step without scores to a call that only carries the state (P4b)."""
    backbone, programs = server.backbone, Programs(server.backbone.params)
    state, ids = jax.device_put(backbone.begin), np.array([3], np.int32)

    def nothing(params, state, ids):
        return state, ids

    def step():
        return programs.call("step", backbone.step, state, ids)

    result = bench.compare(
        "state of one user",
        {
            "no-op": lambda: programs.call("no-op", nothing, state, ids),
            "jaxrec step": step,
        },
        latency=True,
        shape=server.shape.name,
    )
    bench.target("P4b", result.wall["jaxrec step"] / result.wall["no-op"])


def age(bench: harness.Benchmark, server: Server, events: int) -> None:
    """Compares one more event after 10 events and after many (target S1)."""
    recommender = server.recommender
    item = recommender.ids.raw([1])[0]
    candidates = {}
    for count in (10, events):
        raw = server.history(count).astype(str).tolist()
        state = recommender.observe(recommender.prefill([raw]), item)
        candidates[f"after {count:,} events"] = lambda state=state: (
            recommender.observe_and_top(state, item, K)
        )
    young, old = candidates
    result = bench.compare(
        "one more event", candidates, latency=True, shape=server.shape.name
    )
    bench.target("S1", result.wall[old] / result.wall[young])


def many_users(bench: harness.Benchmark, shape: Shape, gpu: bool) -> None:
    """Compares one more event of many users, with their best items (target G4)."""
    from benchmarks.peers import topk_torch

    server, torch = Server(shape), topk_torch.torch
    device = "cuda" if gpu else "cpu"
    ids = server.history(shape.batch).astype(np.int32)
    model = server.torch_lrurec(device)
    torch_step = topk_torch.step_top_k(model, K_BATCH, bench.threads)
    carried, events = model.start(shape.batch), torch.from_numpy(ids).long().to(device)
    carried, _ = torch_step(carried, events)

    backbone, programs = server.backbone, Programs(server.backbone.params)

    def program(params, state, ids):
        state, hidden = backbone.step(params, state, ids)
        return state, backbone.search(params, hidden, K_BATCH)

    placed = jax.device_put(ids)

    def step(state):
        return programs.call("step and search", program, state, placed)

    state = jax.tree.map(lambda a: np.repeat(a, shape.batch, 0), backbone.begin)
    state, _ = step(jax.device_put(state))
    recommender, raw = server.recommender, ids.astype(str).tolist()
    users = recommender.observe(recommender.start(shape.batch), raw)
    answers = {
        "torch LRURec": lambda: torch_step(carried, events),
        "jaxrec": lambda: step(state),
        "jaxrec, raw ids": lambda: recommender.observe_and_top(
            users, raw, K_BATCH, False
        ),
    }
    if gpu:
        compiled = topk_torch.step_top_k(model, K_BATCH, bench.threads, compiled=True)
        if attempt(bench, "torch compiled", lambda: lambda: compiled(carried, events)):
            answers["torch compiled"] = lambda: compiled(carried, events)
    _, (their_best, _) = answers["torch LRURec"]()
    _, (our_best, _) = answers["jaxrec"]()
    _, told = answers["jaxrec, raw ids"]()
    bench.agree(
        f"top {K_BATCH} of {shape.items}",
        {
            "torch": float(their_best.sum()),
            "jaxrec": float(our_best.sum()),
            "jaxrec, raw ids": sum(sum(answer.scores) for answer in told),
        },
        rtol=1e-3,
    )
    result = bench.compare(
        f"top {K_BATCH} after one more event of many",
        answers,
        twin="jaxrec",
        calls=1 if not gpu else 5,
        work={"users": shape.batch},
        shape=shape.name,
        items=shape.items,
        batch=shape.batch,
    )
    peers = [name for name in answers if name.startswith("torch")]
    peer = min(peers, key=result.seconds)
    bench.target(
        "G4",
        result.wall[peer] / result.wall["jaxrec"],
        items=shape.items,
        batch=shape.batch,
        peer=peer,
    )


def window(bench: harness.Benchmark, shape: Shape, users: int, length: int) -> None:
    """Compares an event that fills the window: one step, or all anew (target A3)."""
    models = {
        "sasrec": ("sar", {}),
        "hstu": ("hstu", {"dim_qk": shape.dim, "dim_v": shape.dim}),
        "both sides": ("sar", {"causal": False}),
    }
    sizes = {"length": length, "dim": shape.dim, "blocks": shape.blocks}
    random = np.random.default_rng(0)
    events = random.integers(1, shape.items + 1, (users, length), dtype=np.int32)
    candidates = {}
    for title, (name, changes) in models.items():
        module = model_module(name)
        cfg = config_from(name, sizes | changes, shape.items)
        backbone = from_model(module, cfg, module.init(jax.random.key(0), cfg))
        candidates[f"{title}, anew"] = _anew(backbone, events)
        if backbone.window == length:  # Nobody sees what comes later.
            candidates[f"{title}, one step"] = _one_step(backbone, events)
            pair = {key: f() for key, f in candidates.items() if key.startswith(title)}
            sums = {key: float(abs(hidden).sum()) for key, hidden in pair.items()}
            bench.agree(f"hidden, {users} x {length}", sums, rtol=1e-4)
    result = bench.compare(
        "event that fills the window",
        candidates,
        twin="sasrec, one step",
        latency=users == 1,
        work={"users": users},
        shape=shape.name,
        batch=users,
        length=length,
    )
    for title in ("sasrec", "hstu"):
        wall = (result.wall[f"{title}, {way}"] for way in ("anew", "one step"))
        ratio = np.divide(*wall)
        bench.target("A3", ratio, model=title, batch=users, length=length)


def _anew(backbone, events):
    """A call that encodes windows (b, t)."""
    programs, placed = Programs(backbone.params), jax.device_put(events)

    def encode(params, ids):
        return backbone.prefill(params, ids)[1]

    return lambda: programs.call("anew", encode, placed)


def _one_step(backbone, events):
    """A call that adds the last event of windows (b, t) to what is kept of the others.

    It writes into the state that it is given, and then forgets the event's id.
    """
    programs, last = Programs(backbone.params), jax.device_put(events[:, -1])
    state, _ = jax.jit(backbone.prefill)(backbone.params, events[:, :-1])

    def step(params, state, ids):
        after, hidden = backbone.step(params, state, ids)
        return after | {"ids": state["ids"]}, hidden

    def call():
        nonlocal state
        state, hidden = programs.call("step", step, state, last, donate=True)
        return hidden

    return call


if __name__ == "__main__":
    flags = harness.parser(__doc__)
    flags.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    harness.run(main, "serving", flags=flags)
