"""Full-ranking metrics, the floors beside them, and analyses of trained runs."""

from jaxrec.eval.analysis import analyse
from jaxrec.eval.floors import popularity_ranks, transition_ranks
from jaxrec.eval.metrics import Ranks, summary, table
from jaxrec.eval.ranking import rank_cases, score_ranks, target_ranks
from jaxrec.eval.sampled import sampled_ranks

__all__ = [
    "Ranks",
    "analyse",
    "popularity_ranks",
    "rank_cases",
    "sampled_ranks",
    "score_ranks",
    "summary",
    "table",
    "target_ranks",
    "transition_ranks",
]
