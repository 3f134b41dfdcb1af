"""The published form of LRURec in PyTorch: complex maps and recursive doubling.

Written from the equations of Yue et al., "Linear Recurrent Units for Sequential
Recommendation" (WSDM 2024), as their released code applies them (yueqirex/LRURec):
real input cast to complex, full complex matrices, left padding to a power of two once
before the first block, one doubling round per level with the mask looked at where
chunks meet, LayerNorm after every residual, exact GELU, scores of every position and
cross entropy over N + 1 columns that ignores label 0. Parameters have the names of the
released model, so that its ``state_dict`` loads here and ours loads there.
"""

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.peers.reference import LAYER_NORM_EPSILON, is_decayed
from benchmarks.peers.torch_extra import compile_for_gpu, import_torch, trained_by

torch = import_torch()
nn, functional = torch.nn, torch.nn.functional


class LRULayer(nn.Module):
    """LayerNorm(dropout(Re(W_out h + b_out)) + x), h the states of the recurrence."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.params_log = nn.Parameter(torch.zeros(3, 2 * dim))
        self.in_proj = nn.Linear(dim, 2 * dim, dtype=torch.complex64)
        self.out_proj = nn.Linear(2 * dim, dim, dtype=torch.complex64)
        self.layer_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        """Maps x (b, p, d) under mask (b, p), p a power of two."""
        lam, gamma = self.poles()
        h = gamma * self.in_proj(x.to(self.in_proj.weight.dtype))
        y = self.out_proj(doubling(lam, h, mask)).real
        return self.layer_norm(self.dropout(y) + x)

    def step(self, state, x):
        """Maps a state (b, 2 d) and one input x (b, d) to the next of both."""
        lam, gamma = self.poles()
        u = gamma * self.in_proj(x.to(self.in_proj.weight.dtype))
        state = lam * state + u
        return state, self.layer_norm(self.out_proj(state).real + x)

    def poles(self):
        """Returns lambda, complex, and the gain gamma, real, both (2 d,)."""
        nu, theta, gamma = torch.exp(self.params_log)
        return torch.exp(torch.complex(-nu, theta)), gamma


class FeedForward(nn.Module):
    """LayerNorm(dropout(W_2 dropout(GELU(W_1 x + b_1)) + b_2) + x)."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.w_1 = nn.Linear(dim, 4 * dim)
        self.w_2 = nn.Linear(4 * dim, dim)
        self.layer_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        inner = self.dropout(functional.gelu(self.w_1(x)))
        return self.layer_norm(self.dropout(self.w_2(inner)) + x)


class Block(nn.Module):
    """A recurrence, then a position-wise network."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.lru_layer = LRULayer(dim, dropout)
        self.feed_forward = FeedForward(dim, dropout)

    def forward(self, x, mask):
        return self.feed_forward(self.lru_layer(x, mask))


class Embedding(nn.Module):
    """LayerNorm(dropout(E[id])); row 0 is an ordinary row."""

    def __init__(self, items: int, dim: int, dropout: float):
        super().__init__()
        self.token = nn.Embedding(items + 1, dim)
        self.layer_norm = nn.LayerNorm(dim, LAYER_NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens):
        return self.layer_norm(self.dropout(self.token(tokens)))


class Backbone(nn.Module):
    """The blocks and the item bias."""

    def __init__(self, items: int, dim: int, blocks: int, dropout: float):
        super().__init__()
        self.lru_blocks = nn.ModuleList(Block(dim, dropout) for _ in range(blocks))
        self.bias = nn.Parameter(torch.zeros(items + 1))


class LRURec(nn.Module):
    """The published model; fill it with `load`.

    Args:
        items: Catalogue size N.
        dim: Width D.
        blocks: Number of blocks.
        dropout: Rate, everywhere the same.
    """

    def __init__(
        self, items: int, dim: int = 64, blocks: int = 2, dropout: float = 0.2
    ):
        super().__init__()
        self.embedding = Embedding(items, dim, dropout)
        self.model = Backbone(items, dim, blocks, dropout)

    def hidden(self, tokens):
        """Returns the outputs (b, t, d) of tokens (b, t)."""
        length = tokens.shape[1]
        missing = (1 << (length - 1).bit_length()) - length
        x = functional.pad(self.embedding(tokens), (0, 0, missing, 0))
        mask = functional.pad(tokens > 0, (missing, 0)).to(x.dtype)
        for block in self.model.lru_blocks:
            x = block(x, mask)
        return x[:, missing:]

    def score(self, hidden):
        """Returns scores (..., items + 1) of outputs (..., d)."""
        return hidden @ self.embedding.token.weight.T + self.model.bias

    def loss(self, tokens, labels):
        """Returns the mean cross entropy over targets: labels (b, t), 0 is none."""
        scores = self.score(self.hidden(tokens))
        return functional.cross_entropy(
            scores.reshape(-1, scores.shape[-1]), labels.reshape(-1), ignore_index=0
        )

    def start(self, batch: int):
        """Returns the state (b, blocks, 2 d) of users without history."""
        width = self.model.lru_blocks[0].lru_layer.params_log.shape[1]
        return torch.zeros(
            (batch, len(self.model.lru_blocks), width),
            dtype=self.model.lru_blocks[0].lru_layer.in_proj.weight.dtype,
            device=self.model.bias.device,
        )

    def step(self, state, ids):
        """Maps a state and one event ids (b,) to the next state and outputs (b, d)."""
        x, states = self.embedding(ids), []
        for index, block in enumerate(self.model.lru_blocks):
            after, x = block.lru_layer.step(state[:, index], x)
            x = block.feed_forward(x)
            states.append(after)
        return torch.stack(states, 1), x


def doubling(lam, x, mask):
    """Returns h_t = lam mask_{t-1} h_{t-1} + x_t by recursive doubling.

    Args:
        lam: (h,) complex.
        x: (b, p, h) complex, p a power of two.
        mask: (b, p), 0 at padding, which must all be at the left.
    """
    shape, half, powers = x.shape, 1, lam[None]
    while half < shape[1]:
        chunks = x.reshape(-1, 2 * half, shape[2])
        left, right = chunks[:, :half], chunks[:, half:]
        joined = mask.reshape(-1, 2 * half)[:, half - 1, None, None]
        right = right + powers * (joined * left[:, -1:])
        x = torch.cat([left, right], 1)
        powers = torch.cat([powers, powers * powers[-1]])
        half *= 2
    return x.reshape(shape)


def load(model: nn.Module, state: Mapping[str, np.ndarray]) -> nn.Module:
    """Copies arrays into a model under the names of its ``state_dict``.

    Raises:
        RuntimeError: If a name or a shape differs (from PyTorch, which names it).
    """
    model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    return model


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Returns AdamW's parameter groups: decayed by name, as released."""
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[is_decayed(name)].append(parameter)
    return [
        {"params": groups[True], "weight_decay": weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]


def train_step(
    model: nn.Module,
    threads: int,
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    bfloat16: bool = False,
    compiled: bool = False,
) -> Callable[..., "torch.Tensor"]:
    """Returns a function (tokens, labels) -> loss that trains `model` by one step.

    Args:
        model: On its device, with a method ``loss(tokens, labels)``.
        threads: CPU threads of PyTorch, set at every call.
        lr: Learning rate, constant.
        weight_decay: Of the parameters that are decayed.
        bfloat16: Whether matrix products run in bfloat16 (autocast; PyTorch leaves
            complex ones alone).
        compiled: Whether to compile the loss, on a GPU only.

    Raises:
        ValueError: If `compiled` is asked for on a CPU.
    """
    device = next(model.parameters()).device.type
    loss = compile_for_gpu(model.loss, device) if compiled else model.loss
    optimizer = torch.optim.AdamW(decay_groups(model, weight_decay), lr=lr, eps=1e-9)
    return trained_by(model, loss, optimizer, threads, bfloat16)
