"""fMRLRec (Wang et al., EMNLP 2024 Findings): one training, recommenders of every size.

    python -m jaxrec.main --config=configs/fmrlrec.py --workdir=runs/nested
    python -m jaxrec.main --config=configs/fmrlrec.py:beauty --workdir=runs/beauty

The argument names the data: synthetic (the default, no download), games2018,
industrial, beauty, toys, yelp, or custom with --config.data.path=FILE. What items are
made of is the section features: by default their texts, encoded without any download;
--config.features.path=FILE takes what `python -m jaxrec.features` wrote.

    --config.features.kind=random       the control: random vectors as features
    --config.features.kind=none         vectors trained from nothing but the sequences
    --config.model.own_vectors=False    features alone, as published

Protocol of the paper: 5-core data, the last 50 events, full ranking, **history not
masked**, selection on NDCG@10 of the largest size. Behind a name "@lrurec"
(`fmrlrec.py:beauty@lrurec`) is LRURec's, which leaves the items of the window out and
selects on Recall@10; synthetic, where nobody gets an item twice, has that one by
default. Figures of the two are not to be compared. `configs/lrurec.py:beauty
--config.eval.mask=none --config.train.monitor=ndcg@10` is LRURec under the paper's.

Not yet run.
"""

import os
import sys

from ml_collections import ConfigDict

sys.path.insert(0, os.path.dirname(__file__))
import common  # noqa: E402

# Optimiser and schedule are the paper's but for the learning rate, the number of
# steps and the sampled softmax of the larger catalogues, which are ours.
_DATA = {
    "synthetic": {"dropout": 0.1, "lr": 8e-3, "steps": 400, "every": 50},
    "games2018": {"steps": 8000, "every": 500, "sampled": True},
    "industrial": {"steps": 500, "every": 100, "lr": 3e-3},
    "beauty": {"steps": 4000, "every": 250, "sampled": True},
    "toys": {"steps": 4000, "every": 250, "sampled": True},
    "yelp": {"steps": 8000, "every": 500, "sampled": True},
    "custom": {"steps": 3000, "every": 250},
}
_PROTOCOLS = {
    "paper": ({"mask": "none"}, "ndcg@10"),
    "lrurec": ({"mask": "window"}, "recall@10"),
}


def get_config(argument: str = "synthetic") -> ConfigDict:
    """The configuration for one data set, under one protocol."""
    name, _, protocol = argument.partition("@")
    common.check_argument(name, list(_DATA), "fmrlrec.py")
    synthetic = name == "synthetic"
    if protocol:
        common.check_argument(
            argument, [f"{name}@{p}" for p in _PROTOCOLS], "fmrlrec.py"
        )
    protocol = protocol or ("lrurec" if synthetic else "paper")
    chosen, (evaluation, monitor) = _DATA[name], _PROTOCOLS[protocol]
    dropout = chosen.get("dropout", 0.5)
    config = ConfigDict(
        {
            "entry": "jaxrec.tasks.next_item",
            "seed": 42,
            "data": common.synthetic() if synthetic else common.data(name),
            "features": {
                "kind": "given",  # or random, or none
                "negatives": "seen",  # or all, new items too
                "path": "",  # of python -m jaxrec.features; "" encodes the data's texts
                "modalities": (),  # which of the file's; () is all
                "text_dim": 256,  # of the encoder that needs no download
            },
            "model": {
                "name": "fmrlrec",
                # Published: up to 1024, for which a GPU is wanted.
                "sizes": (8, 16, 32, 64) if synthetic else (8, 16, 32, 64, 128),
                "size_weights": (),  # () is 1 / K each
                "own_vectors": True,
                "blocks": 2,
                "dropout": dropout,
                "dropout_lru": dropout,
                "dropout_own": 0.3,  # items without own_vectors in a step
                # Published for shopping; the synthetic world rewards a long memory.
                "r_min": 0.8 if synthetic else 0.0,
                "r_max": 0.99 if synthetic else 0.1,
                "compute_dtype": "float32",
                "scan": "auto",
            },
            "loss": common.loss(name="sampled_softmax", samples=2048)
            if chosen.get("sampled")
            else common.loss(),
            # The first item of a sample is a target too, predicted from the padding.
            "batch": common.batch(length=48 if synthetic else 50, bos_target=True),
            "optim": common.optim(
                lr=chosen.get("lr", 1e-3), schedule="cosine", warmup=100
            ),
            "train": common.train(
                steps=chosen["steps"],
                eval_every=chosen["every"],
                save_every=chosen["every"],
                monitor=monitor,
            ),
            "eval": common.evaluation(**evaluation),
            "parallel": common.parallel(micro=1),
        }
    )
    return config.lock()
