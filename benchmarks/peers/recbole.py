"""What RecBole 1.2.1 costs and reaches on MovieLens-100K and Amazon Beauty.

RecBole is not run here: its releases pin versions that do not live beside ours. The
figures were measured in November 2026 on one CPU core with Python 3.11.7, PyTorch
2.13.0 and numpy 1.26.4: width 64, 2 layers, full cross-entropy, 128 rows per batch;
one row is one target, since every prefix is written out. Autograd's anomaly mode,
which the package turns on for every sequential model and which costs it 1.6 to 4.2
times, was off. Where a range was measured, the end that is better for RecBole stands.
"""

from typing import NamedTuple


class Peer(NamedTuple):
    """One model on one data set.

    Attributes:
        model: Its name.
        data: Name of the data set in our configs.
        length: Most events of a history.
        targets_per_cpu_s: Training targets per second of one core.
        start_cpu_s: From the start of the program to the first step.
        evaluation_cpu_s: One full ranking of the test targets.
        peak_mb: Peak memory of the process.
        ndcg10: Test NDCG@10 with the history masked after `ndcg10_cpu_s` seconds of
            training (still rising); None where it was not measured.
        ndcg10_cpu_s: See `ndcg10`.
    """

    model: str
    data: str
    length: int
    targets_per_cpu_s: float
    start_cpu_s: float
    evaluation_cpu_s: float
    peak_mb: float
    ndcg10: float | None = None
    ndcg10_cpu_s: float | None = None


PEERS = (
    Peer("SASRec", "ml100k", 50, 730, 8.1, 0.4, 841, 0.0861, 200),
    Peer("SASRec", "ml100k", 200, 105, 8.1, 2.1, 2027),
    Peer("GRU4Rec", "ml100k", 50, 1840, 8.0, 0.14, 642, 0.1026, 283),
    Peer("SASRec", "beauty", 50, 620, 10.6, 11.7, 986, 0.0188, 211),
    Peer("GRU4Rec", "beauty", 50, 1420, 10.1, 4.7, 828),
)
