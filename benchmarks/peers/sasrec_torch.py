"""A SASRec-like transformer in PyTorch: what serving without a recurrent state costs.

After Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018): item
table plus learned positions, causal attention with one head, position-wise network of
width D with ReLU, scores against the item table. It differs from the paper where users
of today do: LayerNorm stands before both parts of a block and feeds queries, keys and
values alike, there is no sqrt(D) at the embedding, and training is by full cross
entropy. PyTorch's fused attention is used, which is its fastest form.
"""

from collections.abc import Callable

from benchmarks.peers.lrurec_torch import load, train_step
from benchmarks.peers.reference import HIDDEN, LAYER_NORM_EPSILON
from benchmarks.peers.torch_extra import compile_for_gpu, import_torch

torch = import_torch()
nn, functional = torch.nn, torch.nn.functional

__all__ = ["SASRec", "load", "recommend", "train_step"]


class Block(nn.Module):
    """x + attention(LN(x)), then x + W_2 relu(W_1 LN(x))."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.attention_layer_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.feed_layer_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.w_1 = nn.Linear(dim, dim)
        self.w_2 = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, seen):
        """Maps x (b, t, d); `seen` is (b, t, t), or None for all that is earlier."""
        query, key, value = self.qkv(self.attention_layer_norm(x)).chunk(3, -1)
        mixed = functional.scaled_dot_product_attention(
            query[:, None],
            key[:, None],
            value[:, None],
            attn_mask=None if seen is None else seen[:, None],
            is_causal=seen is None,
        )
        x = x + self.dropout(self.output(mixed[:, 0]))
        inner = self.dropout(functional.relu(self.w_1(self.feed_layer_norm(x))))
        return x + self.dropout(self.w_2(inner))


class SASRec(nn.Module):
    """The transformer; parameters as PyTorch draws them, the tables scaled to 0.02.

    Args:
        items: Catalogue size N.
        length: Longest history.
        dim: Width D.
        blocks: Number of blocks.
        dropout: Rate, everywhere the same.
    """

    def __init__(
        self,
        items: int,
        length: int = 200,
        dim: int = 64,
        blocks: int = 2,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.token = nn.Embedding(items + 1, dim)
        self.position = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(Block(dim, dropout) for _ in range(blocks))
        self.last_layer_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=0.02)

    def hidden(self, tokens, full: bool = False):
        """Returns the outputs (b, t, d) of tokens (b, t), left padded with 0.

        Args:
            tokens: (b, t), t at most the longest history.
            full: Promises that nothing is padded, which needs no mask.
        """
        length = tokens.shape[1]
        x = self.dropout(self.token(tokens) + self.position.weight[-length:])
        seen = None
        if not full:
            square = torch.ones(length, length, dtype=torch.bool, device=tokens.device)
            itself = torch.eye(length, dtype=torch.bool, device=tokens.device)
            seen = (square.tril() & (tokens > 0)[:, None]) | itself
        for block in self.blocks:
            x = block(x, seen)
        return self.last_layer_norm(x)

    def loss(self, tokens, labels):
        """Returns the mean cross entropy over targets: labels (b, t), 0 is none."""
        scores = self.hidden(tokens) @ self.token.weight.T
        return functional.cross_entropy(
            scores.reshape(-1, scores.shape[-1]), labels.reshape(-1), ignore_index=0
        )


def recommend(
    model: SASRec, k: int, threads: int, *, full: bool = True, compiled: bool = False
) -> Callable[..., tuple["torch.Tensor", "torch.Tensor"]]:
    """Returns a function from histories (b, t) to the k best scores and ids, (b, k).

    Every call encodes the whole history again and scores the last position only. Id 0
    is never recommended.

    Args:
        model: On its device; is put into evaluation mode.
        k: Number of items.
        threads: CPU threads of PyTorch, set at every call.
        full: Whether histories are never padded.
        compiled: Whether to compile, on a GPU only.

    Raises:
        ValueError: If `compiled` is asked for on a CPU.
    """
    model.eval()

    def answer(tokens):
        scores = model.hidden(tokens, full)[:, -1] @ model.token.weight.T
        scores[:, 0] = HIDDEN
        return torch.topk(scores, k)

    if compiled:
        answer = compile_for_gpu(answer, model.token.weight.device.type)

    def call(tokens):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return tuple(answer(tokens))

    return call
