"""Retrieval in PyTorch: one matrix product and `torch.topk`, alone and after a step."""

from collections.abc import Callable

from benchmarks.peers.reference import HIDDEN
from benchmarks.peers.torch_extra import compile_for_gpu, import_torch

torch = import_torch()

Answer = tuple["torch.Tensor", "torch.Tensor"]


def top_k(
    table: "torch.Tensor", k: int, threads: int, *, compiled: bool = False
) -> Callable[["torch.Tensor"], Answer]:
    """Returns a function from queries (b, d) to the k best scores and rows, (b, k).

    Args:
        table: (v, d), on its device.
        k: Number of rows.
        threads: CPU threads of PyTorch, set at every call.
        compiled: Whether to compile, on a GPU only.

    Raises:
        ValueError: If `compiled` is asked for on a CPU.
    """

    def answer(queries):
        return torch.topk(queries @ table.T, k)

    if compiled:
        answer = compile_for_gpu(answer, table.device.type)

    def call(queries):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return tuple(answer(queries))

    return call


def step_top_k(
    model: "torch.nn.Module", k: int, threads: int, *, compiled: bool = False
) -> Callable[["torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", Answer]]:
    """Returns a function (state, ids) -> (state, (scores, ids)) that serves one event.

    Args:
        model: A `benchmarks.peers.lrurec_torch.LRURec`; is put into evaluation mode.
        k: Number of items; id 0 is never among them.
        threads: CPU threads of PyTorch, set at every call.
        compiled: Whether to compile, on a GPU only.

    Raises:
        ValueError: If `compiled` is asked for on a CPU.
    """
    model.eval()

    def answer(state, ids):
        state, hidden = model.step(state, ids)
        scores = model.score(hidden)
        scores[:, 0] = HIDDEN
        return state, torch.topk(scores, k)

    if compiled:
        answer = compile_for_gpu(answer, model.model.bias.device.type)

    def call(state, ids):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            state, best = answer(state, ids)
            return state, tuple(best)

    return call
