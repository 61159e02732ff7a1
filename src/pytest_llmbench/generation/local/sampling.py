"""Sampling whose randomness belongs to the case: the same seed gives the same answer in any batch, order or selection.

Gumbel-max (Gumbel 1954; Maddison et al. 2014, "A* Sampling"): argmax over tokens of `log p + g`, with independent
standard Gumbel `g`, draws a token exactly from `p`. Here `g` is a pure function of (seed, case, epoch, step, token), so
no generator state is shared between the rows of a batch. The base and the fine-tune meet the same noise, which takes
sampling luck out of their paired difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.generation.rows import NO_TOKEN
from pytest_llmbench.generation.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

_GOLDEN = -7046029254386353131  # 2**64 / golden ratio as a signed 64-bit number: the increment of splitmix64
_MIX_1 = -4658895280553007687
_MIX_2 = -7723592293110705685
_FIRST_LOOK = 64  # the nucleus of a peaked distribution fits; only rows where it does not are looked at again
_SECOND_LOOK = 2048


def choose(logits: Tensor, keys: Sequence[int], steps: Sequence[int], sampling: Sampling) -> Tensor:
    """The next token of each row.

    Args:
        logits: (rows, vocabulary), any float type.
        keys: one `noise_key` a row.
        steps: how many tokens each row has so far.
        sampling: temperature and nucleus.

    Returns:
        (rows,) int64 token ids; `NO_TOKEN` where a row's logits are no numbers, or the largest is infinite.
    """
    import torch

    if sampling.greedy:
        likeliest = logits.argmax(-1, keepdim=True)
        return _where(logits.gather(-1, likeliest).isfinite(), likeliest)
    log_p, tokens = _nucleus(logits.float() / sampling.temperature, sampling.top_p)
    row_keys = torch.tensor([_step_key(key, step) for key, step in zip(keys, steps, strict=True)], device=logits.device)
    scores = log_p + gumbel(row_keys[:, None], tokens)
    best = scores.argmax(1, keepdim=True)
    return _where(~scores.gather(1, best).isnan(), tokens.gather(1, best))  # an infinite logit's probability is NaN


def _where(sound: Tensor, tokens: Tensor) -> Tensor:
    """Chosen tokens, both (rows, 1), as (rows,), but for those of rows that are not sound."""
    return tokens.masked_fill(~sound, NO_TOKEN).squeeze(-1)


def gumbel(keys: Tensor, tokens: Tensor) -> Tensor:
    """Standard Gumbel noise, a pure function of key and token (splitmix64 as a counter-based generator).

    Args:
        keys: int64, broadcastable against `tokens`.
        tokens: int64 token ids.

    Returns:
        float64 noise in the broadcast shape; equal on every device.
    """
    import torch

    bits = _splitmix(keys + (tokens + 1) * _GOLDEN)
    uniform = ((bits >> 11) & ((1 << 53) - 1)).to(torch.float64).add_(0.5).mul_(2.0**-53)
    return -torch.log(-torch.log(uniform))


def _nucleus(logits: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The smallest set of likeliest tokens whose mass reaches `top_p` (Holtzman et al. 2020), likeliest first.

    Tokens as likely as the last of them belong to it too: which of equals `topk` names first depends on the company
    that a row is in, and equals are common in bfloat16.

    Returns log-probabilities (outside the nucleus: -inf) and token ids, both (rows, k). Sorting the whole vocabulary
    costs as much as a small model's forward pass, so a short look comes first and is widened only when it must be.
    """
    import torch

    log_total = logits.logsumexp(-1, keepdim=True)
    vocabulary = logits.shape[-1]
    if top_p >= 1:
        return (logits - log_total).double(), torch.arange(vocabulary, device=logits.device).expand_as(logits)
    for width in (_FIRST_LOOK, _SECOND_LOOK, vocabulary):
        top, tokens = logits.topk(min(width, vocabulary), dim=-1)
        log_p = (top - log_total).double()
        before = log_p.exp().cumsum(-1) - log_p.exp()
        count = (before < top_p).sum(-1, keepdim=True)  # 0 where logits are no numbers
        least = top.gather(-1, (count - 1).clamp(min=0))
        if width >= vocabulary or bool((top[:, -1:] < least).all()):
            break
    return log_p.masked_fill(top < least, -torch.inf), tokens


def _step_key(key: int, step: int) -> int:
    """The key of one step, mixed so that neighbouring steps and tokens share nothing."""
    state = (key + (step + 1) * (_GOLDEN ^ _MIX_1)) & (2**64 - 1)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state = ((state ^ (state >> shift)) * factor) & (2**64 - 1)
    state ^= state >> 31
    return state - 2**64 if state >= 2**63 else state


def _splitmix(state: Tensor) -> Tensor:
    """The output function of splitmix64 (Steele et al. 2014) on int64 tensors; multiplication wraps as it should."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        state = (state ^ _logical_shift(state, shift)) * factor
    return state ^ _logical_shift(state, 31)


def _logical_shift(state: Tensor, count: int) -> Tensor:
    return (state >> count) & ((1 << (64 - count)) - 1)
