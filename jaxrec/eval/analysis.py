"""The analyses of the AE / AR study of any trained run: low rank and inductive bias.

    found = jaxrec.eval.analyse("runs/x")

reads the best parameters of a run and its data, shows the model the histories of some
users as evaluation does, and measures

    views     the attention of every block and head on the n x n positions of each user
              that are no padding, by `jaxrec.eval.low_rank` and `.inductive_bias`, each
              figure beside that of its controls (`.attention_controls`):
                all         as it is
                lower       of attention both ways, the part at keys not after the
                            query, for comparison with a causal model
                recurrence  of a recurrent model, which has no attention: the
                            response of its recurrences by distance
    tables    singular values of the item table (rows of items) and of the outputs
              behind the histories of these users, beside those of Gaussian tables of
              the same shape

A model that sees both ways is asked as in evaluation: its mask token stands behind the
history and is one of the n positions; the row of the mask token is the one that
answers.
"""

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

import jaxrec.data
from jaxrec.core.run_directory import (
    IDS_FILE,
    best_params,
    check_is_run,
    feature_dims,
    read_config,
)
from jaxrec.core.time_bias import with_next
from jaxrec.data.splits import Cases, Split
from jaxrec.eval import inductive_bias, low_rank
from jaxrec.eval.attention_tally import Tally
from jaxrec.eval.batching import case_batches
from jaxrec.eval.protocol import part_of
from jaxrec.models import (
    config_of_run,
    mask_token_of,
    model_module,
    times_of,
    users_of,
    window_of,
)

EXAMPLE_POSITIONS = 20  # of the one user whose matrices are kept, as in the study
DRAWS = 3
_BATCH = 32
_SAY_EVERY = 5.0  # seconds
_SHORTEST = 2  # events of a history: one position has no choice


def analyse(
    workdir: str | os.PathLike[str],
    part: str = "test",
    users: int = 500,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Measures what a trained model does with histories.

    Args:
        workdir: Directory of a run. Its data must be where the run found them.
        part: "test" or "valid": histories are those of its targets.
        users: How many users, drawn by the seed from those with a history of two or
            more events; all if there are no more.
        seed: Of the users and the controls. Two runs on the same data get the same
            users.
        draws: How many random matrices beside each user.

    Returns:
        What JSON can hold: "workdir", "backbone", "data", "part", "users", "seed",
        "draws", "causal", "pointwise", "blocks", "history" (mean, least and most events
        seen), "views" (see the module and `Tally.summary`), "tables" ("items" and
        "users", each "model" and "random" with "rows", "figures" and
        "singular_values") and "example" (None without attention), the matrices of one
        user.

    Raises:
        FileNotFoundError: The directory is no run, or its data are not there.
        ValueError: An argument is out of range, the data are not those of the run, or
            no history is long enough.
    """
    for name, value in (("users", users), ("draws", draws)):
        if value < 1:
            raise ValueError(f"{name}: want 1 or more, got {value}")
    check_is_run(workdir)
    run = _open(workdir)
    cases, lengths = _drawn(run, part, users, seed)
    example = int(np.abs(lengths - EXAMPLE_POSITIONS).argmin())
    tallies: dict[str, Tally] = {}
    hidden, found = np.zeros((0, 0)), None
    for number, weights, output in _watched(run, cases):
        if not hidden.size:
            hidden = np.zeros((len(cases), len(output)), np.float32)
        hidden[number] = output
        if weights is None:
            continue
        views = {"all": weights}
        if run.token is not None:
            views["lower"] = inductive_bias.not_after(weights)
        for view, some in views.items():
            if view not in tallies:
                tallies[view] = Tally(seed, draws, run.pointwise)
            tallies[view].add(some, int(lengths[number]))
        if number == example:
            user = run.split.sequences.user_ids[cases.user[number]]
            found = {"user": str(user), "weights": weights.tolist()}
    views = {view: tally.summary() for view, tally in tallies.items()}
    if hasattr(run.module, "impulse"):
        views["recurrence"] = {"model": _recurrence(run)}
    return {
        "workdir": str(workdir),
        "backbone": run.config["model"]["name"],
        "data": run.split.sequences.name,
        "part": part,
        "users": len(cases),
        "seed": seed,
        "draws": draws,
        "causal": run.token is None,
        "pointwise": run.pointwise,
        "blocks": run.cfg.blocks,
        "history": {
            "mean": float(lengths.mean()),
            "least": int(lengths.min()),
            "most": int(lengths.max()),
        },
        "views": views,
        "tables": {
            "items": _table(_item_table(run), seed, draws),
            "users": _table(hidden, seed, draws),
        },
        "example": found,
    }


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """A trained model with its data."""

    config: Mapping[str, Any]
    split: Split
    module: Any
    cfg: Any
    params: Any
    user_numbers: np.ndarray | None

    @property
    def token(self) -> int | None:
        return mask_token_of(self.module, self.cfg)

    @property
    def pointwise(self) -> bool:
        return getattr(self.module, "POINTWISE", False)

    @property
    def window(self) -> int:
        """How many of the last events evaluation shows the model."""
        own = window_of(self.module, self.cfg)
        return own or self.config["batch"]["length"]


def _open(workdir) -> _Run:
    config = read_config(workdir)
    if not config.get("data"):
        raise ValueError(f"{workdir}: its config has no data section")
    module = model_module(config["model"]["name"])
    split = jaxrec.data.load(config["data"])
    with np.load(os.path.join(workdir, IDS_FILE)) as arrays:
        same = np.array_equal(arrays["item_ids"], split.sequences.item_ids)
        user_numbers, features = None, tuple(feature_dims(arrays).values())
        if config["model"].get("users"):
            user_numbers = arrays["user_numbers"]
    if not same:
        raise ValueError(
            f"the data of {split.sequences.name!r} are not those that the run in "
            f"{workdir} was trained on: its items are others"
        )
    items, users = split.sequences.items, split.sequences.users
    cfg = config_of_run(config, items, users, features)
    params = best_params(workdir, lambda key: module.init(key, cfg))
    return _Run(config, split, module, cfg, params, user_numbers)


def _drawn(run: _Run, part: str, users: int, seed: int) -> tuple[Cases, np.ndarray]:
    """Some cases of a part, and how many events of each history the model sees."""
    cases = part_of(run.split, part)
    length = cases.position - run.split.sequences.offsets[cases.user]
    long = np.flatnonzero(length >= _SHORTEST)
    if not len(long):
        raise ValueError(
            f"the {part} part of {run.split.sequences.name} has no history of "
            f"{_SHORTEST} or more events"
        )
    some = np.sort(np.random.default_rng(seed).permutation(long)[:users])
    return (
        Cases(cases.user[some], cases.position[some]),
        np.minimum(length[some], run.window),
    )


def _watched(
    run: _Run, cases: Cases
) -> Iterator[tuple[int, np.ndarray | None, np.ndarray]]:
    """For each case its number, weights (blocks, h, n, n) float64 and output (d,).

    Compiled once for each of a few lengths. There are no weights without attention.
    """

    @jax.jit
    def both(params, ids, users, times):
        given = {} if users is None else {"users": users}
        if times is not None:
            given["times"] = times
        hidden = run.module.prefill(params, run.cfg, ids, **given)[1]
        if not hasattr(run.module, "attention"):
            return None, hidden
        if run.token is not None:
            ids = jnp.pad(ids, ((0, 0), (0, 1)), constant_values=run.token)
        if users is not None:
            given["users"] = jnp.broadcast_to(users[:, None], ids.shape)
        if times is not None:
            given["times"] = with_next(times)
        return run.module.attention(params, run.cfg, ids, **given), hidden

    batches = case_batches(
        run.split.sequences,
        cases,
        window=run.window,
        masked=0,
        batch=_BATCH,
        bucket=True,
        times=times_of(run.cfg),
    )
    done, said = 0, time.monotonic()
    for batch in batches:
        users = None
        if users_of(run.cfg):
            users = run.user_numbers[cases.user[batch.number]]
        weights, hidden = jax.device_get(
            both(run.params, batch.ids, users, batch.times)
        )
        for row, number in enumerate(batch.cases):
            own = None
            if weights is not None:
                n = np.count_nonzero(batch.ids[row]) + (run.token is not None)
                own = weights[:, row, :, -n:, -n:].astype(np.float64)
            yield int(number), own, hidden[row]
            done += 1
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                logging.info("%d of %d users", done, len(cases))


def _recurrence(run: _Run) -> dict[str, Any]:
    """The response of the recurrences to an input, by distance, at the last position.

    No user and no control has a part in it.
    """
    size = run.module.impulse(run.params, run.cfg, run.window)
    mass = np.asarray(size, np.float64)
    mass /= mass.sum(1, keepdims=True)
    found = inductive_bias.distance_figures(mass)
    for k in inductive_bias.NEWEST:
        found[f"recency_{k}"] = mass[:, :k].sum(1)
    return {
        "figures": {name: {"mean": value.tolist()} for name, value in found.items()},
        "mass_by_distance": mass.tolist(),
    }


def _item_table(run: _Run) -> np.ndarray:
    table = run.params["embedding"].get("table")
    if table is None:
        table, _ = run.module.head(run.params, run.cfg)
    return np.asarray(table)[1 : run.cfg.items + 1]


def _table(table: np.ndarray, seed: int, draws: int) -> dict[str, Any]:
    """The low-rank figures of a table (n, d), beside those of Gaussian ones."""
    n, d = table.shape
    rng = np.random.default_rng(seed)
    own = low_rank.table_singular_values(table)[None, : min(n, d)]
    kinds = {
        "model": own,
        "random": low_rank.gaussian_singular_values(rng, n, d, draws),
    }
    return {
        kind: {
            "rows": n,
            "figures": {
                name: float(value.mean())
                for name, value in low_rank.figures(sigma).items()
            },
            "singular_values": sigma.mean(0).tolist(),
        }
        for kind, sigma in kinds.items()
    }
