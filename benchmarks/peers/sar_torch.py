"""SASRec as the AE / AR study has it, in PyTorch: what `jaxrec.models.sar` computes.

Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018), in the form of
Yue et al., "Your Causal Self-Attentive Recommender Hosts a Lonely Neighborhood" (WSDM
2025), written from the equations: rows padded on the right, slots as positions, item
vectors times sqrt(D), residuals from the normalised stream, dropout on the attention
probabilities and around the ReLU, scores of all N + 2 columns. Parameters have the
names of the study's released model. PyTorch's own attention is used, and scores are
made at targets only: both are the faster way.

`benchmarks.peers.sasrec_torch` is a textbook transformer, for what serving costs.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.peers import lrurec_torch
from benchmarks.peers.reference import LAYER_NORM_EPSILON
from benchmarks.peers.torch_extra import import_torch, trained_by

torch = import_torch()
nn, functional = torch.nn, torch.nn.functional


class Attention(nn.Module):
    """Causal multi-head attention with dropout of the probabilities."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.linear_layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))
        self.output_linear = nn.Linear(dim, dim)
        self.heads, self.dropout = heads, dropout

    def forward(self, x):
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in self.linear_layers
        )
        # Padding stands behind every position that counts: the causal mask hides it.
        y = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=True,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output_linear(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """dropout(W_2 relu(dropout(W_1 x + b_1)) + b_2)."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.w_1 = nn.Linear(dim, 4 * dim)
        self.w_2 = nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        inner = functional.relu(self.dropout(self.w_1(x)))
        return self.dropout(self.w_2(inner))


class Block(nn.Module):
    """q = LN(x), x = q + attention(q); r = LN(x), x = r + feed-forward(r)."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.attn_layernorm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.attn = Attention(dim, heads, dropout)
        self.fwd_layernorm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.fwd = FeedForward(dim, dropout)

    def forward(self, x):
        x = self.attn_layernorm(x)
        x = self.fwd_layernorm(x + self.attn(x))
        return x + self.fwd(x)


class Embedding(nn.Module):
    """dropout(E[id] sqrt(D) + P[slot])."""

    def __init__(self, rows: int, length: int, dim: int, dropout: float):
        super().__init__()
        self.token = nn.Embedding(rows, dim, padding_idx=0)
        self.position = nn.ModuleDict({"pe": nn.Embedding(length, dim)})
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens):
        places = self.position["pe"].weight[: tokens.shape[1]]
        x = self.token(tokens) * math.sqrt(self.token.embedding_dim)
        return self.dropout(x + places)


class SAR(nn.Module):
    """The causal pre-norm encoder; fill it with `load`.

    Args:
        items: Catalogue size N.
        length: Longest history L.
        dim: Width D.
        blocks: Number of blocks.
        heads: Number of heads.
        dropout: Rate, everywhere the same.
    """

    def __init__(
        self,
        items: int,
        length: int,
        dim: int = 64,
        blocks: int = 2,
        heads: int = 1,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.embedding = Embedding(items + 2, length, dim, dropout)
        self.transformer_blocks = nn.ModuleList(
            Block(dim, heads, dropout) for _ in range(blocks)
        )
        self.last_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self._cross_entropy = nn.CrossEntropyLoss()

    def hidden(self, tokens):
        """Returns the outputs (b, t, d) of tokens (b, t), right padded with 0."""
        x = self.embedding(tokens)
        for block in self.transformer_blocks:
            x = block(x)
        return self.last_norm(x)

    def loss(self, tokens, labels):
        """Returns the mean cross entropy over targets: labels (b, t), 0 is none."""
        targets = labels > 0
        scores = self.hidden(tokens)[targets] @ self.embedding.token.weight.T
        return self._cross_entropy(scores, labels[targets])


def load(model: SAR, state: Mapping[str, np.ndarray]) -> SAR:
    """Copies arrays into a model under their released names.

    The released item bias, which reaches no score, is left out.

    Raises:
        RuntimeError: If a name or a shape differs (from PyTorch, which names it).
    """
    used = {name: value for name, value in state.items() if name != "bias.weight"}
    return lrurec_torch.load(model, used)


def train_step(
    model: SAR,
    threads: int,
    *,
    lr: float = 1e-3,
    bfloat16: bool = False,
    compiled: bool = False,
) -> Callable[..., "torch.Tensor"]:
    """Returns a function (tokens, labels) -> loss that trains `model` by one step.

    Args:
        model: On its device.
        threads: CPU threads of PyTorch, set at every call.
        lr: Learning rate of Adam, constant.
        bfloat16: Whether matrix products run in bfloat16 (autocast).
        compiled: Whether to compile the loss; on a CPU that needs a C++ compiler.
    """
    loss = torch.compile(model.loss) if compiled else model.loss
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.98))
    return trained_by(model, loss, optimizer, threads, bfloat16)
