"""A small GPT in one file: what the demo and `windrow train` train, and what a reader can follow.

Guarantee: a decoder-only transformer whose logits at place t depend on inputs 0..t only, and a loss that
is a *sum* over the targets that count, so that ranks, batches and micro-batches add up.
Cost: with a vocabulary of 50 257 and a width of about 100 nearly all time goes into the last matrix
product and the softmax over its (B, L, vocab_size) result.
The loss never holds them all: it takes a few rows at a time (see `_TiedLossSum`).
It does not do: a key-value cache, mixed precision, document masks, or any training step.

Sources of the ideas: Vaswani et al. 2017, "Attention Is All You Need" (the transformer); Radford et al. 2019,
"Language Models are Unsupervised Multitask Learners" (GPT-2: norms before each part and after the last,
learned positions, residual weights scaled down by depth); Press & Wolf 2017, "Using the Output Embedding to
Improve Language Models" (tied head); Hendrycks & Gimpel 2016 (GELU); Holtzman et al. 2020 and Fan et al. 2018
(sampling, top-k).

Shapes: B = batch_size, L = max_length, C = width, H = num_heads.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windrow.arrays import IGNORE_INDEX
from windrow.errors import whole_number

__all__ = ["GPT", "GPTConfig", "TokenPositionEmbedding"]


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a `GPT`; the defaults make 6.8 million parameters.

    vocab_size: ids run from 0 to vocab_size - 1. context_length: the most inputs per row, in tokens.
    width: numbers per token; a multiple of num_heads. num_layers: transformer blocks, at least 1.
    dropout: share of activations zeroed while training, 0 <= dropout < 1.
    Raises ValueError, naming the value, when one of them is out of its range.
    """

    vocab_size: int = 50257
    context_length: int = 1024
    width: int = 128
    num_layers: int = 2
    num_heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "width", "num_layers", "num_heads"):
            whole_number(name, getattr(self, name))
        if self.width % self.num_heads:
            raise ValueError(
                f"width {self.width} does not divide into num_heads {self.num_heads} equal parts: use width "
                f"{math.ceil(self.width / self.num_heads) * self.num_heads}, or another num_heads."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, and it is a share: use 0 <= dropout < 1.")


class TokenPositionEmbedding(nn.Module):
    """Ids to vectors: a learned vector per token plus a learned vector per place in the row.

    `forward(ids)`: ids (B, L), int64 or int32, 0 <= id < vocab_size -> (B, L, output_dim) float.
    Both tables start as `nn.Embedding` starts them, token table first, so that under one
    `torch.manual_seed` they hold what the two layers written by hand hold.
    Raises ValueError when ids are not (B, L) or L > context_length.
    """

    def __init__(self, vocab_size: int = 50257, output_dim: int = 256, context_length: int = 1024) -> None:
        super().__init__()
        self.context_length = context_length
        self.token: nn.Embedding = nn.Embedding(vocab_size, output_dim)
        self.position: nn.Embedding = nn.Embedding(context_length, output_dim)

    def forward(self, ids: Tensor) -> Tensor:
        if ids.ndim != 2:
            raise ValueError(f"ids have shape {tuple(ids.shape)}, not (B, L): use ids[None] for one row.")
        length = ids.shape[1]
        if length > self.context_length:
            raise ValueError(
                f"a row has {length} tokens, and context_length is {self.context_length}: places beyond it "
                f"have no vector. Use max_length <= {self.context_length}, or context_length >= {length}."
            )
        tokens: Tensor = self.token(ids)  # (B, L, C)
        return tokens + self.position.weight[:length]  # (B, L, C) + (L, C)


class GPT(nn.Module):
    """A GPT-2-like language model: embeddings, pre-norm blocks, a final norm, a head tied to the tokens.

    `forward(inputs)`: inputs (B, L) int64 or int32 -> logits (B, L, vocab_size) float.
    At the start it predicts close to evenly: a loss of about ln(vocab_size) per target.
    Raises ValueError when inputs are not (B, L) or L > context_length.
    """

    def __init__(self, config: GPTConfig | None = None) -> None:
        super().__init__()
        config = config or GPTConfig()
        self.config: GPTConfig = config
        vectors = TokenPositionEmbedding(config.vocab_size, config.width, config.context_length)
        self.embedding: TokenPositionEmbedding = vectors
        self.dropout: nn.Dropout = nn.Dropout(config.dropout)
        self.blocks: nn.ModuleList = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.norm: nn.LayerNorm = nn.LayerNorm(config.width)
        self._initialise()

    def forward(self, inputs: Tensor) -> Tensor:
        return self._logits(self._features(inputs))  # (B, L, vocab_size)

    def loss_sum(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Sum of the cross-entropy, in nats, over the targets that are not -100.

        inputs (B, L) int64, targets (B, L) int64 -> a scalar. It is 0, with gradients of 0, when no target
        counts. Divide it by max(targets that count, over all ranks and micro-batches, 1) for the mean.
        """
        features = self._features(inputs).flatten(0, 1)  # (B * L, C)
        weight, wants_gradients = self.embedding.token.weight, torch.is_grad_enabled()
        loss: Tensor = _TiedLossSum.apply(features, weight, targets.flatten(), wants_gradients)  # type: ignore[no-untyped-call]
        return loss

    @torch.no_grad()
    def generate(
        self,
        ids: Tensor,
        num_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Continue rows of ids: (B, L) -> (B, L + num_new_tokens), drawn one token at a time.

        The model sees the last context_length tokens. temperature 0 takes the likeliest token; top_k draws
        from the k likeliest; allowed, (n,) int64, are the only ids that are drawn. The same generator state gives
        the same tokens (it lives on the ids' device).
        Raises ValueError on no tokens to go on from, num_new_tokens < 0, temperature < 0, top_k < 1, or a model whose
        outputs are not finite.
        """
        _check_generate(ids, num_new_tokens, temperature, top_k)
        allowed = torch.arange(self.config.vocab_size, device=ids.device) if allowed is None else allowed
        was_training = self.training
        self.eval()
        for _ in range(num_new_tokens):
            features = self._features(ids[:, -self.config.context_length :])  # (B, <= context_length, C)
            logits = self._logits(features[:, -1])  # (B, vocab_size)
            drawn = _draw(logits[:, allowed], temperature, top_k, generator)  # (B, 1)
            ids = torch.cat([ids, allowed[drawn].to(ids.dtype)], dim=1)
        self.train(was_training)
        return ids

    def _features(self, inputs: Tensor) -> Tensor:
        x = self.dropout(self.embedding(inputs))  # (B, L, C)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x)
        return features

    def _logits(self, features: Tensor) -> Tensor:
        return F.linear(features, self.embedding.token.weight)  # (..., C) -> (..., vocab_size)

    def _initialise(self) -> None:
        """GPT-2's start: 0.02 everywhere, and less where 2 * num_layers residual branches add up."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, _Attention | _MLP):
                nn.init.normal_(module.projection.weight, std=0.02 / math.sqrt(2 * self.config.num_layers))


class _Block(nn.Module):
    """One transformer block, (B, L, C) -> (B, L, C): look at the row so far, then think about each place."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = _Attention(config)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = _MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        thought: Tensor = self.dropout(self.mlp(self.mlp_norm(x)))
        return x + thought


class _Attention(nn.Module):
    """Causal self-attention with H heads, (B, L, C) -> (B, L, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.projection = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.query_key_value(x).unflatten(2, (3, self.num_heads, -1))  # (B, L, 3, H, C / H)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, H, L, C / H)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))  # (B, L, C)
        return projected


class _MLP(nn.Module):
    """Two layers on each place by itself, (B, L, C) -> (B, L, 4 * C) -> (B, L, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.expansion = nn.Linear(config.width, 4 * config.width)
        self.projection = nn.Linear(4 * config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.projection(F.gelu(self.expansion(x)))
        return projected


class _TiedLossSum(torch.autograd.Function):
    """Summed cross-entropy of features @ weight.T against targets, a few rows of logits at a time.

    features (N, C), weight (vocab_size, C), targets (N,) int64 -> a scalar. The slope of the loss by logits
    is softmax - one-hot, so both gradients are known as soon as a row is, and no (N, vocab_size) array has to
    be kept for the way back. On two CPU cores a whole step takes 0.5 s instead of 0.7 s (width 128, N = 1024,
    vocab_size 50 257), in half the memory. The idea, a fused linear cross-entropy, is that of Hsu et al.,
    "Liger Kernel", 2024. All tensors have one float dtype: autocast is not for this function.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, targets: Tensor, wants_gradients: bool) -> Tensor:
        loss = features.new_zeros(())
        grad_features, grad_weight = torch.zeros_like(features), torch.zeros_like(weight)
        for rows in _row_slices(features):
            loss_here, slope = _loss_and_slope(F.linear(features[rows], weight), targets[rows])
            loss += loss_here
            if wants_gradients:
                grad_features[rows] = slope @ weight  # (rows, C)
                grad_weight.addmm_(slope.T, features[rows])  # (vocab_size, C)
        ctx.save_for_backward(grad_features, grad_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_features, grad_weight = ctx.saved_tensors
        return grad_loss * grad_features, grad_loss * grad_weight, None, None


def _row_slices(features: Tensor) -> list[slice]:
    num_rows = 64 if features.device.type == "cpu" else 4096  # logits that stay in a cache, or that fill a GPU
    return [slice(first, first + num_rows) for first in range(0, len(features), num_rows)]


def _loss_and_slope(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """logits (N, V), targets (N,) -> the summed loss, a scalar, and its slope by logits (N, V)."""
    counts = (targets != IGNORE_INDEX)[:, None]  # (N, 1)
    targets = targets[:, None].where(counts, 0)  # (N, 1)
    log_total = logits.logsumexp(dim=1, keepdim=True)  # (N, 1)
    loss = ((log_total - logits.gather(1, targets)) * counts).sum()
    slope = (logits - log_total).exp_()  # softmax, (N, V)
    slope.scatter_add_(1, targets, torch.full_like(log_total, -1))
    return loss, slope.mul_(counts)


def _check_generate(ids: Tensor, num_new_tokens: int, temperature: float, top_k: int | None) -> None:
    if ids.ndim != 2 or ids.shape[1] < 1:
        raise ValueError(
            f"ids have shape {tuple(ids.shape)}: generate goes on from (B, L) with L >= 1. "
            "Use ids[None] for one row, and the eos id when there is no text to go on from."
        )
    whole_number("num_new_tokens", num_new_tokens, at_least=0)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature}: use 0 (the likeliest token) or more.")
    if top_k is not None:
        whole_number("top_k", top_k)


def _draw(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One place per row: logits (B, n) -> (B, 1) int64."""
    if not logits.isfinite().all():
        raise ValueError("the model's outputs are not all finite, so no token can be drawn: its weights are damaged.")
    if temperature < 1e-5:  # the logits divided by it may be more than a float holds
        return logits.argmax(dim=-1, keepdim=True)
    values, candidates = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]))  # (B, k) each
    chosen = torch.multinomial(F.softmax(values / temperature, dim=-1), 1, generator=generator)
    return candidates.gather(1, chosen)
