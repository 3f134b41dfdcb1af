"""Nested models (fMRLRec) and recommenders of them, for the tests of serving."""

import jax
import numpy as np
import serving_runs

from jaxrec.models import fmrlrec, fmrlrec_serving
from jaxrec.serve.backbone import from_model
from jaxrec.serve.ids import ItemIds
from jaxrec.serve.recommender import Recommender

ITEMS, SIZES, FEATURES = 40, (4, 8, 16), (6, 5)

_encode = jax.jit(fmrlrec.encode, static_argnums=1)


def config(items=ITEMS, features=(), **fields):
    return fmrlrec.FMRLRecConfig(items, SIZES, features=features, blocks=1, **fields)


def params(cfg, seed=0):
    """Parameters with enough spread that scores differ clearly."""
    drawn = fmrlrec.init(jax.random.key(seed), cfg)
    if cfg.features:
        tables = feature_tables(cfg.items, seed)
        return fmrlrec.with_features(drawn, cfg, tables)
    table = drawn["embedding"]["table"]
    spread = jax.random.normal(jax.random.key(seed + 1), table.shape)
    return drawn | {"embedding": {"table": spread}}


def feature_tables(items, seed=0):
    """(items, dim) float32 of each modality."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(items, dim)).astype(np.float32) for dim in FEATURES]


def recommender(cfg, tree, *, ids=None, titles=None, lengths=(8,), **options):
    backbone = from_model(
        fmrlrec, cfg, tree, serving=fmrlrec_serving, lengths=lengths, **options
    )
    ids = serving_runs.item_ids(cfg.items) if ids is None else ids
    return Recommender(backbone, ItemIds(ids, titles))


def scores(cfg, tree, history):
    """Scores (items + 1,) after a history of item numbers, and the output (d,)."""
    ids = np.array([history or [0]], np.int32)
    hidden = np.asarray(_encode(tree, cfg, ids)[0, -1], np.float64)
    table, _ = fmrlrec.head(tree, cfg)
    return np.asarray(table, np.float64)[: cfg.items + 1] @ hidden, hidden
