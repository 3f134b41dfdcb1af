"""A training with RecBole, run by an interpreter of its own: its releases pin versions
that do not live beside ours.

python3.11 -m venv recbole
recbole/bin/pip install torch==2.13.0 'numpy<2' 'scipy<1.18' 'pandas<3' \\
    scikit-learn pyyaml tqdm colorlog colorama tensorboard tabulate texttable thop \\
    psutil plotly
recbole/bin/pip install --no-deps recbole==1.2.1
recbole/bin/python benchmarks/peers/recbole_training.py --help

Full cross-entropy, width 64, learning rate and layers as RecBole sets them, one row per
prefix as it writes them out. Autograd's anomaly mode, which the package turns on for
every sequential model and which costs it 1.6 to 4.2 times, is switched off again. The
data come with the place in a user's history instead of the time, because RecBole keeps
times as float32. Quality is told with the history masked, which its own evaluation does
not do, by a ranking of ours that its training does not pay for.
"""

import argparse
import json
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed


def main() -> None:
    """Trains for some CPU seconds and writes what it cost and reached as JSON."""
    options = flags().parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    settings = {
        "data_path": str(Path(options.data).resolve()),
        "load_col": {"inter": ["user_id", "item_id", "place"]},
        "TIME_FIELD": "place",
        "MAX_ITEM_LIST_LENGTH": options.length,
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "train_batch_size": options.batch,
        "eval_batch_size": 256,
        "hidden_size": 64,
        "embedding_size": 64,
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "group_by": "user",
            "order": "TO",
            "mode": "full",
        },
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "use_gpu": False,
        "show_progress": False,
        "seed": options.seed,
        "checkpoint_dir": options.data,
    }
    config = Config(model=options.model, dataset=options.name, config_dict=settings)
    init_seed(options.seed, True)
    data = create_dataset(config)
    train, valid, _ = data_preparation(config, data)
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    torch.autograd.set_detect_anomaly(False)
    ranking = Ranking(data, options.length)

    began = time.process_time()
    spent, targets, first, curve = 0.0, 0, None, []
    while spent < options.seconds:
        model.train()
        clock = time.process_time()
        for batch in train:
            trainer.optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            trainer.optimizer.step()
            now = time.process_time()
            spent, clock = spent + now - clock, now
            first = spent if first is None else first
            targets += len(batch)
            if spent >= (len(curve) + 1) * options.every:
                curve.append([began + spent, ranking.ndcg(model, 2)])
                model.train()
                clock = time.process_time()
            if spent >= options.seconds:
                break
    costs = []
    for _ in range(3):
        clock = time.process_time()
        trainer.evaluate(valid, load_best_model=False)
        costs.append(time.process_time() - clock)
    figures = {
        "start_cpu_s": began + first,
        "targets_per_cpu_s": (targets - options.batch) / (spent - first),
        "evaluation_cpu_s": float(np.median(costs)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "training_cpu_s": spent,
        "curve": curve,  # CPU seconds from the start, without rankings; valid NDCG@10
        "test_ndcg10": ranking.ndcg(model, 1),
    }
    Path(options.out).write_text(json.dumps(figures))


class Ranking:
    """Full ranking of a user's last or last but one event, history masked."""

    def __init__(self, data, length: int):
        self.length = length
        events = data.inter_feat
        users = np.asarray(events["user_id"])
        order = np.lexsort([np.asarray(events["place"]), users])
        users, items = users[order], np.asarray(events["item_id"])[order]
        borders = np.flatnonzero(np.diff(users)) + 1
        self.users = users[np.concatenate([[0], borders])]
        self.histories = np.split(items, borders)

    def ndcg(self, model, back: int) -> float:
        """Mean NDCG@10 of the events `back` from the end; ties go to the target."""
        model.eval()
        gains = []
        for start in range(0, len(self.users), 256):
            histories = [h[:-back] for h in self.histories[start : start + 256]]
            targets = [h[-back] for h in self.histories[start : start + 256]]
            shown = np.zeros((len(histories), self.length), np.int64)
            for row, history in zip(shown, histories, strict=True):
                last = history[-self.length :]
                row[: len(last)] = last
            lengths = [min(len(history), self.length) for history in histories]
            batch = Interaction(
                {
                    "user_id": torch.as_tensor(self.users[start : start + 256]),
                    "item_id_list": torch.as_tensor(shown),
                    "item_length": torch.as_tensor(lengths),
                }
            )
            with torch.no_grad():
                scores = model.full_sort_predict(batch).numpy().copy()
            own = scores[np.arange(len(targets)), targets]
            scores[:, 0] = -np.inf
            for row, history in zip(scores, histories, strict=True):
                row[history] = -np.inf
            rank = (scores > own[:, None]).sum(1)
            gains.append(np.where(rank < 10, 1 / np.log2(rank + 2), 0))
        return float(np.concatenate(gains).mean())


def flags() -> argparse.ArgumentParser:
    """Returns the flags."""
    found = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    found.add_argument("--data", required=True, help="holds NAME/NAME.inter")
    found.add_argument("--name", required=True)
    found.add_argument("--model", required=True, help="GRU4Rec, SASRec, ...")
    found.add_argument("--length", type=int, default=50, help="longest history")
    found.add_argument("--batch", type=int, default=128, help="rows, one target each")
    found.add_argument("--seconds", type=float, default=120, help="of training, CPU")
    found.add_argument("--every", type=float, default=20, help="seconds per ranking")
    found.add_argument("--seed", type=int, default=42)
    found.add_argument("--out", required=True, help="file for the figures")
    return found


if __name__ == "__main__":
    main()
