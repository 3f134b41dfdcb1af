"""Pieces that configs share, as functions that return dicts."""

from collections.abc import Collection

from ml_collections.config_dict import placeholder

from jaxrec.core.config import did_you_mean


def check_argument(argument: str, known: Collection[str], file: str) -> None:
    """Refuses an argument of a config that is none of the known ones."""
    if argument not in known:
        near, known = did_you_mean(argument, known), ", ".join(known)
        what = f"configs/{file}:{argument}"
        raise ValueError(f"{what} is unknown{near} Accepted: {known}")


def data(name: str, **overrides) -> dict:
    """Where the interactions come from and how they become sequences."""
    return {
        "name": name,  # a name of the catalogue, or "custom"
        "path": "",  # data directory; for "custom" the file
        "titles": "",  # file with item titles; "" is the catalogue's own
        "cache": "",  # where prepared arrays are kept; "" is the user's cache
        "format": "auto",
        "columns": {"user": "", "item": "", "time": "", "rating": ""},
        # A preset fills the keys that are not set here, explicit ones win.
        "preset": "",
        "min_rating": placeholder(float),
        "min_user_events": placeholder(int),
        "min_item_events": placeholder(int),
        "core": "",
        "dedup": "",
        "order": "",
        "ties": "",
        "split": "leave_one_out",
        "min_length": 3,
        "valid_fraction": 0.1,
        "test_fraction": 0.1,
        **overrides,
    }


def synthetic(**overrides) -> dict:
    """A world of drifting interests whose best possible prediction is known."""
    return {
        "name": "synthetic",
        "num_users": 5000,
        "num_items": 500,
        "clusters": 32,  # interests
        "memberships": 3,  # interests that an item serves
        "zipf": 1.0,  # popularity within an interest
        "stickiness": 0.9,  # an interest stays from event to event
        "drift": 0.8,  # or moves on, mostly to the next one in the user's direction
        "successor": 0.02,  # an item is followed by its own successor
        "noise": 0.1,  # any item
        "events_min": 20,
        "events_max": 50,
        "seed": 0,
        **overrides,
    }


def walks(**overrides) -> dict:
    """Generated walks in the shape of XLong, for tests of scale."""
    return {
        "name": "walks",
        "num_users": 69_691,
        "num_items": 2_122_932,
        "num_events": 959,
        "reach": 20,
        "jump": 0.1,
        "seed": 0,
        "cache": "",  # where the arrays are kept; "" is the user's cache
        **overrides,
    }


def loss(**overrides) -> dict:
    """Cross-entropy over all items, an estimate of it, or a loss against negatives.

    An option that the named loss does not read is refused unless it is as here.
    """
    return {
        # softmax, sampled_softmax, uniform_negatives, bpr, bce or gbce
        "name": "softmax",
        "chunk": 0,  # positions whose scores exist at one time; 0 chooses
        "catalogue_chunk": 0,  # of softmax: items at one time; 0 takes all
        # Negatives per block of positions (sampled_softmax) or per target. 0 chooses:
        # 1 for bpr and bce, 256 for gbce, else 1000.
        "samples": 0,
        "negatives": "popularity",  # or uniform, of sampled_softmax
        "mask_hits": False,  # of uniform_negatives: leave out draws of the target
        "calibration": 0.75,  # of gbce, 0 to 1; 0 is binary cross-entropy
        **overrides,
    }


def batch(**overrides) -> dict:
    """How training histories become rows."""
    return {
        "size": 128,  # windows
        "length": 200,  # longest window, and what evaluation looks at
        "layout": "packed",  # packed or padded
        "windows": "released",  # or shifted: cut anew in every epoch
        # Stochastic shared embeddings: how probably an item or a user is another one.
        "sse_item": 0.0,
        "sse_windows": 1.0,  # share of the windows in which items are
        "sse_user": 0.0,  # of models with user vectors
        "unknown_user": 0.1,  # of the same: so that new users have a trained vector
        **overrides,
    }


def optim(**overrides) -> dict:
    """AdamW as in the released LRURec."""
    return {
        "name": "adamw",
        "lr": 1e-3,
        "schedule": "constant",
        "warmup": 0,
        "final_lr": 0.0,
        "weight_decay": 0.01,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-9,
        "clip_norm": 5.0,
        "bias_correction": True,  # of the moments of adam and adamw
        **overrides,
    }


def train(**overrides) -> dict:
    """How long, how often, and what decides which parameters are best."""
    return {
        "steps": 1000,
        "log_every": 50,
        "eval_every": 500,
        "save_every": 500,
        "eval_first": False,
        "monitor": "recall@10",
        "patience": 10,  # evaluations without improvement; 0 never stops early
        **overrides,
    }


def evaluation(**overrides) -> dict:
    """Full ranking as in the released LRURec: the model's window is masked."""
    return {
        "mask": "window",
        "ties": "optimistic",
        "repeat_targets": "keep",
        "batch": 256,
        "max_users": 0,  # rank only this many targets a part, drawn at random; 0 is all
        "sampled_negatives": 0,  # also rank among this many; 0 does not
        "floors": True,
        # Weights of log(1 + training events of an item) less its average, added to the
        # score, to be tried on validation beside 0; () tries none.
        "popularity": (),
        **overrides,
    }


def parallel(**overrides) -> dict:
    """Devices: `mode` jit or pmap, `model` shards of the item table, and
    micro-batches per device (0: eight on a CPU, whose caches they fit, else one)."""
    return {"mode": "jit", "model": 1, "micro": 1, **overrides}


def clustering(encoder: dict, generator: dict, **overrides) -> dict:
    """A clustering process: the model, how it is trained and how it is tested.

    `encoder` and `generator` say which modules of `jaxbio.clustering` and with what.
    """
    width = encoder["dim"]
    return {
        "entry": "jaxbio.clustering.task",
        "seed": 42,
        "model": {
            "variant": "acp",  # or acp_s, ccp
            "latent": "mixture",  # or gaussian, none
            "dim": width,
            "hidden": width,
            "heads": 4,
            "seeds": 16,  # inducing points
            "head_scale": True,  # products over the root of a head's width
            "norm": False,
            "components": 16,  # of latent mixture
            "latent_dim": width,  # of latent gaussian
            "relative": True,  # points are also seen from the anchor
        },
        "encoder": encoder,
        "generator": generator,
        "batch": {
            "sets": 32,
            "steps": 2,  # of each set, drawn anew every time
            "draws": 8,  # of a Gaussian z
        },
        "optim": optim(
            lr=1e-3, schedule="cosine", warmup=100, weight_decay=0.0, clip_norm=1.0
        )
        | {"l2": 0.0},  # in the gradient, as published
        "train": train(steps=10000, eval_every=1000, monitor="elbo", patience=0),
        # Sets; samples of each for the best of them; orders of clusters and draws of a
        # Gaussian z for probabilities.
        "eval": {"sets": 256, "samples": 16, "orders": 1, "draws": 40},
        "parallel": {"mode": "jit", "micro": 1},
        **overrides,
    }
