"""Auto-encoding or auto-regression: the controlled study (Yue et al., WSDM 2025).

    python -m jaxrec.main --config=configs/ae_ar.py:ml100k --workdir=runs/study

trains every arm (a design choice) as AE (masked items, seen from both sides) and as AR
(next items, seen from the left) with the same data, encoder, optimiser, seeds and
evaluation, and writes runs/study/report.md. The argument names the data: synthetic (the
default, no download), ml1m, ml100k, beauty, toys, games, yelp, beauty_sasrec.

    --config.study.arms="('ce', 'local')"    only these; later others join them
    --config.study.seeds=3                   seeds 42, 43, 44
    --config.search.optim.lr="(1e-3, 3e-3)"  try both in every cell, on validation
    --config.modes.ae.model.dropout=.1       AE's; run.model.dropout is AR's
    --config.study.halving=True              and give the worst up early
    --config.study.workers=2                 two processes, each on half of the cores

Arms: ce (the study's "vanilla"), local (one of two heads sees two neighbours), the
losses bpr, bce (a negative each) and gbce (256), sse_pt (user vectors, items and users
replaced at random, bce as in the study), bert4rec (the encoder of the study's
re-evaluation), the language models' albert, llama and transformer_xl; AR only: lru,
hstu. Not trained unless asked for: local_conv, local_rnn, local_initial, local_adapt,
other kinds of the local head, of which the study has no figures.

Test Recall@10 / NDCG@10, full ranking, items of the window masked, seeds 42 to 46, ±
the standard error over seeds, over users .010 / .006; CPU (Intel Xeon), 2026-11-27,
jax 0.10.2.

    ml100k, ce      AE .1436 ± .0045 / .0742 ± .0031, AR .1968 ± .0051 / .1033 ± .0022;
                    AR - AE in NDCG@10 .0291, 95 % interval .0154 to .0428, +39 % (the
                    study: +28 % over its data sets, ml100k is none of them; an earlier
                    run of the same seeds, on two threads, .0229, +29 %). AE's mask
                    probability is the best of .2, .4 and .6 on validation (seed 42)
    ml100k, local   AE .2138 ± .0021 / .1090 ± .0016, AR .2093 ± .0034 / .1090 ± .0015;
                    .0001 (-.0102 to .0103): a head that sees its neighbours alone
                    closes the gap
    ml100k, sse_pt  AE .0918 ± .0023 / .0429 ± .0006, AR .1436 ± .0024 / .0703 ± .0013;
                    .0274 (.0187 to .0361), +64 %; both under ce
    ml100k, bpr     AE .0867 ± .0055 / .0416 ± .0025, AR .1516 ± .0066 / .0742 ± .0031;
                    .0326 (.0211 to .0442)
    ml100k, bce     AE .0993 ± .0056 / .0478 ± .0024, AR .1608 ± .0027 / .0807 ± .0012;
                    .0329 (.0223 to .0434)
    ml100k, gbce    AE .0912 ± .0029 / .0453 ± .0017, AR .0759 ± .0009 / .0399 ± .0004;
                    -.0054 (-.0167 to .0059); validation stays at popularity's for the
                    first 700 steps of AE and all 600 of AR
    ml100k, bert4rec  AE .1461 ± .0052 / .0746 ± .0025, AR .1669 ± .0010 / .0852 ±
                    .0004; .0106 (.0006 to .0207)
    ml100k, llama   AE .1811 ± .0046 / .0935 ± .0014, AR .1917 ± .0058 / .0966 ± .0031;
                    .0032 (-.0079 to .0143)
    ml100k, albert  AE .1410 ± .0043 / .0724 ± .0033, AR .1739 ± .0044 / .0883 ± .0033;
                    .0159 (.0019 to .0299)
    ml100k, transformer_xl  AE .1987 ± .0029 / .1012 ± .0016, AR .2136 ± .0037 / .1140
                    ± .0027; .0128 (.0007 to .0250)
    ml100k, lru     AR .2095 ± .0030 / .1072 ± .0012
    ml100k, hstu    AR .1896 ± .0031 / .0969 ± .0019

All of ml100k in one run with --config.study.workers=2: 1 h 51 min on two cores. With
--config.study.arms="('ce','lru')" --config.study.modes="('ar',)" --config.study.seeds=3
--config.modes.ar.train.steps=200 two processes took 53 s, one 113, one on one core 101.

Larger sets, CPU (Intel Xeon), 2026-11-27, jax 0.10.2; AR - AE in NDCG@10; in brackets
what the study has. *: AR on one NVIDIA H200, bfloat16 products, jax 0.11.2 (`python -m
benchmarks.on_gpu --only ml1m-ce-ar`); the interval is of AE's five seeds against AR's
seed 42 on the CPU, .3220 / .1893, the per cent of the H200's five. With AR's dropout,
.2, AE had .2326 / .1240 on that H200, .0632 (.0564 to .0700) less:

    ml1m, ce *      AE .2628 ± .0027 / .1409 ± .0021 (.2606 / .1301), AR .3179 ± .0014 /
                    .1872 ± .0012 (.3089 / .1638); .0483 (.0413 to .0553), +33 % (+26 %)
    games, ce       AE .0899 ± .0008 / .0474 ± .0004 (.0844 / .0406), AR .1178 ± .0005 /
                    .0651 ± .0003 (.1125 / .0560); .0177 (.0159 to .0195), +37 % (+38 %)
    games, local    AE .0935 ± .0005 / .0494 ± .0003 (.0872 / .0430), AR .1158 ± .0002 /
                    .0638 ± .0003 (.1076 / .0540); .0144 (.0129 to .0159), +29 % (+26 %)
    games, bpr      AE .0488 ± .0006 / .0243 ± .0005 (.0548 / .0255), AR .0653 ± .0005 /
                    .0336 ± .0002 (.0777 / .0379); .0093 (.0079 to .0106), +38 % (+49 %)
    beauty, ce      AE .0641 ± .0006 / .0344 ± .0003, AR .0868 ± .0005 / .0515 ± .0002;
                    .0172 (.0153 to .0190), +50 %
    beauty, local   AE .0697 ± .0002 / .0382 ± .0001, AR .0834 ± .0003 / .0495 ± .0003;
                    .0113 (.0096 to .0129), +29 %
    beauty, bpr     AE .0316 ± .0005 / .0158 ± .0002, AR .0411 ± .0004 / .0212 ± .0003;
                    .0054 (.0043 to .0065), +35 %
    others          not yet run

The study searched every cell. Here dropout alone was tried, .2 and .5. With .5: AE
games ce .0728 / .0374, local .0837 / .0433, bpr .0308 / .0156, beauty .0510 / .0260,
.0563 / .0292, .0263 / .0128; AR games bpr .0522 / .0262, beauty .0754 / .0427, .0727 /
.0410, .0312 / .0157. AR on games has Recall@10 .135 on validation with ce and .5, at
most .126 with .2 (seed 42), with local .132 and .125; toys is taken as beauty, yelp and
beauty_sasrec as games. ml1m, ce as AE after 3,000 steps (seed 42) has .2406 / .1276,
with .1 .2243 / .1190; games, bpr as AR with .5 and 32,000 steps .0796 / .0414 (seed
42).
"""

import os
import sys

from ml_collections import ConfigDict

sys.path.insert(0, os.path.dirname(__file__))
import common  # noqa: E402

# Steps: an AE step teaches the masked items only, and AE converges later. Masked inputs
# are noise already, and AE takes less dropout, or as much as AR: (AE, AR).
_DATA = {
    "synthetic": {
        "length": 48,
        "dropout": (0.1, 0.1),
        "lr": 8e-3,
        "every": 50,
        "mask": 0.5,
    },
    "ml100k": {
        "length": 200,
        "size": 32,
        "dropout": (0.2, 0.2),
        "lr": 3e-3,
        "every": 100,
        "mask": 0.2,
    },
    "ml1m": {
        "length": 200,
        "dropout": (0.0, 0.2),
        "lr": 3e-3,
        "every": 500,
        "mask": 0.2,
    },
    "beauty": {"length": 50, "dropout": (0.2, 0.2), "every": 500, "mask": 0.6},
    "toys": {"length": 50, "dropout": (0.2, 0.2), "every": 500, "mask": 0.5},
    "games": {"length": 50, "dropout": (0.2, 0.5), "every": 500, "mask": 0.5},
    "yelp": {"length": 50, "dropout": (0.2, 0.5), "every": 500, "mask": 0.5},
    "beauty_sasrec": {"length": 50, "dropout": (0.2, 0.5), "every": 500, "mask": 0.6},
}
_STEPS = {  # AE, AR
    "synthetic": (1000, 400),
    "ml100k": (1600, 600),
    "ml1m": (14000, 7000),
    "beauty": (8000, 4000),
    "toys": (8000, 4000),
    "games": (16000, 8000),
    "yelp": (8000, 4000),
    "beauty_sasrec": (16000, 8000),
}
_MAIN = (
    *("ce", "local", "bpr", "bce", "gbce", "sse_pt"),
    *("bert4rec", "albert", "llama", "transformer_xl", "lru", "hstu"),
)
_SAMPLED = ("beauty", "toys", "games", "yelp", "beauty_sasrec")

# Test Recall@10 / NDCG@10 of WSDM 2025, Table 5, on the study's own preparation of the
# data; its Beauty is beauty_sasrec here. Its column "Loss-BPR" stands for losses whose
# released configs say BCE.
_PUBLISHED = {
    "beauty_sasrec": {
        "local": ((0.0371, 0.0180), (0.0477, 0.0255)),
        "sse_pt": ((0.0280, 0.0140), (0.0358, 0.0190)),
        "ce": ((0.0330, 0.0157), (0.0468, 0.0242)),
        "bpr": ((0.0168, 0.0077), (0.0237, 0.0110)),
    },
    "games": {
        "local": ((0.0872, 0.0430), (0.1076, 0.0540)),
        "sse_pt": ((0.0744, 0.0362), (0.0890, 0.0441)),
        "ce": ((0.0844, 0.0406), (0.1125, 0.0560)),
        "bpr": ((0.0548, 0.0255), (0.0777, 0.0379)),
    },
    "yelp": {
        "local": ((0.0649, 0.0345), (0.0592, 0.0329)),
        "sse_pt": ((0.0490, 0.0252), (0.0527, 0.0281)),
        "ce": ((0.0728, 0.0424), (0.0724, 0.0402)),
        "bpr": ((0.0423, 0.0197), (0.0524, 0.0274)),
    },
    "ml1m": {
        "local": ((0.2666, 0.1363), (0.3118, 0.1671)),
        "sse_pt": ((0.2040, 0.1009), (0.2523, 0.1377)),
        "ce": ((0.2606, 0.1301), (0.3089, 0.1638)),
        "bpr": ((0.1868, 0.0912), (0.2449, 0.1243)),
    },
}


def get_config(argument: str = "synthetic") -> ConfigDict:
    """The configuration for one data set."""
    common.check_argument(argument, list(_DATA), "ae_ar.py")
    chosen, (ae_steps, ar_steps) = _DATA[argument], _STEPS[argument]
    ae_dropout, dropout = chosen["dropout"]
    synthetic = argument == "synthetic"
    config = ConfigDict(
        {
            "entry": "jaxrec.study.grid",
            "seed": 42,
            "study": {
                "arms": _MAIN,  # which; () is all
                "modes": (),  # ae, ar; () is both
                "seeds": 5,  # runs of every cell, with seeds from `seed` on
                "workers": 1,  # processes that share the cells
                # Where `search` has values: how their combinations are compared.
                "search_seeds": 1,  # seeds of every combination
                "halving": False,  # give the worst up early
                "grace": 2,  # not before so many evaluations
                "reduction": 2,  # then go on with one in so many
            },
            "search": {
                "optim": {"lr": (), "weight_decay": ()},
                "model": {"dropout": (), "heads": (), "dim": ()},
                "batch": {"mask_probability": ()},  # of AE
            },
            "run": _run(argument, chosen, dropout),
            "modes": {
                "ae": {
                    "model": {"dropout": ae_dropout, "dropout_attention": ae_dropout},
                    "batch": {"mask_probability": chosen["mask"]},
                    "train": {"steps": ae_steps},
                },
                "ar": {
                    "batch": {"bos_target": False},  # as published
                    "train": {"steps": ar_steps},
                },
            },
            "arms": _arms(dropout, times=argument == "ml100k"),
            "published": {
                f"{arm}-{mode}": {"recall@10": recall, "ndcg@10": ndcg}
                for arm, both in _PUBLISHED.get(argument, {}).items()
                for mode, (recall, ndcg) in zip(("ae", "ar"), both, strict=True)
            },
        }
    )
    if synthetic:
        config.study.seeds, config.study.arms = 2, ("ce", "local")
    return config.lock()


def _run(argument, chosen, dropout):
    sampled = argument in _SAMPLED
    return {
        "model": {
            "name": "sar",
            "dim": 64,
            "blocks": 2,
            "heads": 1,
            "norm_first": True,
            "windows": (),
            "local": "window",
            "users": False,
            "dropout": dropout,
            "dropout_attention": dropout,
            "compute_dtype": "float32",
        },
        "data": common.synthetic()
        if argument == "synthetic"
        else common.data(argument),
        # Large catalogues: the full softmax estimated from 2,048 items.
        "loss": common.loss(name="sampled_softmax", samples=2048)
        if sampled
        else common.loss(),
        "batch": common.batch(size=chosen.get("size", 128), length=chosen["length"]),
        # Betas and no weight decay as in the study, which has no schedule or clip.
        "optim": common.optim(
            lr=chosen.get("lr", 1e-3),
            schedule="cosine",
            warmup=50,
            weight_decay=0.0,
            b2=0.98,
            eps=1e-8,
        ),
        # All members of a cell train to the last step of their mode.
        "train": {
            "eval_every": chosen["every"],
            "save_every": chosen["every"],
            "monitor": "recall@10",
        },
        "eval": common.evaluation(),
        "parallel": common.parallel(micro=1 if sampled else 0),
    }


def _arms(dropout, times):
    rates = {"dropout": dropout, "dropout_attention": dropout}
    encoder = {"dim": 64, "blocks": 2, "heads": 2}
    least = min(dropout, 0.2)
    return {
        "ce": {},
        "local": {"model": {"heads": 2, "windows": (0, 2)}},
        # One negative teaches little a step: with more dropout, less than it could.
        "bpr": {
            "loss": {"name": "bpr", "samples": 1},
            "ar": {"model": {"dropout": least, "dropout_attention": least}},
        },
        "bce": {"loss": {"name": "bce", "samples": 1}},
        "gbce": {"loss": {"name": "gbce", "samples": 256}},
        # As released: one window in five has four in five of its items replaced.
        "sse_pt": {
            "model": {"users": True},
            "batch": {"sse_windows": 0.2, "sse_item": 0.8, "sse_user": 0.2},
            "loss": {"name": "bce", "samples": 1},
        },
        "bert4rec": {"model": {"name": "bert4rec", **encoder, **rates}},
        "albert": {"model": {"name": "albert", **encoder, **rates}},
        "llama": {"model": {"name": "llama", **encoder}},
        "transformer_xl": {"model": {"name": "transformer_xl", **encoder, **rates}},
        "lru": {
            "modes": ("ar",),
            "model": {
                "name": "lru",
                "dim": 64,
                "blocks": 2,
                "dropout": dropout,
                "dropout_lru": dropout,
            },
        },
        "hstu": {
            "modes": ("ar",),
            "model": {
                "name": "hstu",
                "dim": 64,
                "heads": 2,
                "dim_qk": 32,
                "dim_v": 32,
                "dropout": dropout,
                "dropout_block": dropout,
                "times": times,
            },
            "loss": {"name": "uniform_negatives", "samples": 128, "mask_hits": True},
        },
        **{
            f"local_{kind}": {"model": {"heads": 2, "windows": (0, w), "local": kind}}
            for kind, w in (("conv", 2), ("rnn", 2), ("initial", 2), ("adapt", 1))
        },
    }
