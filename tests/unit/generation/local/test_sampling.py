from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from pytest_llmbench.generation.local.sampling import _nucleus, choose
from pytest_llmbench.generation.rows import NO_TOKEN
from pytest_llmbench.generation.sampling import Sampling, noise_key

PLAIN = Sampling(temperature=1.0, top_p=1.0, do_sample=True)
DEFAULT = Sampling(temperature=0.7, top_p=0.9, do_sample=True)
DRAWS = 20_000
KEYS = [noise_key(42, f"suite/{number}", 0) for number in range(DRAWS)]


def drawn(logits: torch.Tensor, sampling: Sampling, step: int = 0) -> torch.Tensor:
    """One token for each of the fixed keys."""
    return choose(logits.expand(DRAWS, -1), KEYS, [step] * DRAWS, sampling)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_tokens_are_drawn_with_the_softmax_of_their_logits(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0])
    counts = torch.bincount(drawn(logits, Sampling(temperature, 1.0, do_sample=True)), minlength=7)
    expected = (logits / temperature).double().softmax(-1) * DRAWS
    assert chisquare(counts.numpy(), expected.numpy()).pvalue > 0.01


def test_a_nucleus_is_drawn_from_as_its_own_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    counts = torch.bincount(drawn(probabilities.log(), Sampling(1.0, 0.9, do_sample=True)), minlength=4)
    assert counts[3] == 0
    assert (
        chisquare(
            counts[:3].numpy(), (probabilities[:3].double() / probabilities[:3].double().sum() * DRAWS).numpy()
        ).pvalue
        > 0.01
    )


def test_neighbouring_steps_share_no_randomness() -> None:
    logits = torch.zeros(4)
    pairs = torch.zeros(4, 4, dtype=torch.long)
    for first, second in zip(drawn(logits, PLAIN, 0).tolist(), drawn(logits, PLAIN, 1).tolist(), strict=True):
        pairs[first, second] += 1
    assert chi2_contingency(pairs.numpy()).pvalue > 0.01


def test_seed_case_and_epoch_each_change_the_noise() -> None:
    assert (
        len({noise_key(42, "a/b", 0), noise_key(43, "a/b", 0), noise_key(42, "a/c", 0), noise_key(42, "a/b", 1)}) == 4
    )


def test_the_noise_of_a_case_is_the_same_in_every_release() -> None:
    keys = [noise_key(42, name, 0) for name in ("voice_commands/open-chrome", "tool_routing/volume-up")]
    assert keys == [-927044496245498789, -8772359021190246254]
    logits = torch.linspace(0, 3, 50).expand(2, -1)
    assert [choose(logits, keys, [step] * 2, DEFAULT).tolist() for step in range(3)] == [[38, 44], [44, 48], [42, 48]]


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, list[int], list[int]]:
    """Logits of some rows, peaked or flat, with or without ties; and some of the rows, in some order."""
    rows = draw(st.integers(2, 5))
    vocabulary = draw(st.sampled_from([5, 64, 65, 300, 3000]))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scales = torch.tensor(draw(st.lists(st.sampled_from([0.0, 0.1, 1.0, 8.0]), min_size=rows, max_size=rows)))
    logits = torch.randn(rows, vocabulary, generator=random) * scales[:, None]
    if draw(st.booleans()):
        logits = (logits * 4).round() / 4  # what bfloat16 leaves of near logits
    order = draw(st.permutations(range(rows)))[: draw(st.integers(1, rows))]
    return logits, list(order), draw(st.lists(st.integers(0, 200), min_size=rows, max_size=rows))


@given(
    batches(), st.sampled_from([DEFAULT, PLAIN, Sampling(0.7, 0.5, do_sample=True), Sampling(0.0, 0.9, do_sample=True)])
)
def test_a_row_gets_the_same_token_in_any_company(
    batch: tuple[torch.Tensor, list[int], list[int]], sampling: Sampling
) -> None:
    logits, order, steps = batch
    keys = KEYS[: len(logits)]
    together = choose(logits, keys, steps, sampling)
    some = choose(logits[order], [keys[row] for row in order], [steps[row] for row in order], sampling)
    assert some.tolist() == together[order].tolist()


@given(
    st.integers(0, 2**31),
    st.sampled_from([3, 64, 65, 500, 4000]),
    st.sampled_from([0.2, 1.0, 5.0]),
    st.floats(0.01, 0.999),
)
def test_the_nucleus_is_that_of_a_whole_sort(seed: int, vocabulary: int, scale: float, top_p: float) -> None:
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale
    probabilities, order = logits[0].double().softmax(-1).sort(descending=True)
    mass = probabilities.cumsum(-1)
    assume(float((mass - top_p).abs().min()) > 1e-6)
    expected = order[: int((mass < top_p).sum()) + 1]
    log_p, tokens = _nucleus(logits, top_p)
    kept = log_p[0] > -math.inf
    assert set(tokens[0][kept].tolist()) == set(expected.tolist())
    torch.testing.assert_close(log_p[0][kept].exp().sum(), probabilities[: len(expected)].sum(), rtol=0, atol=1e-5)


def test_tokens_of_equal_logits_are_in_the_nucleus_or_out_of_it_in_any_company() -> None:
    flat = torch.zeros(1, 3000)  # which makes the look at the whole batch a wider one
    for seed in range(20):
        logits = torch.randn(1, 3000, generator=torch.Generator().manual_seed(seed)) * 4
        logits = logits.bfloat16().float()
        nuclei = []
        for batch in (logits, torch.cat([logits, flat])):
            log_p, tokens = _nucleus(batch, 0.8)
            nuclei.append(set(tokens[0][log_p[0] > -math.inf].tolist()))
        assert nuclei[0] == nuclei[1]


@pytest.mark.parametrize("sampling", [Sampling(0.7, 0.9, do_sample=False), Sampling(0.0, 0.9, do_sample=True)])
def test_greedy_takes_the_likeliest_token(sampling: Sampling) -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert choose(logits, KEYS[:2], [0, 0], sampling).tolist() == [1, 0]


def test_a_token_that_is_ruled_out_is_never_drawn() -> None:
    logits = torch.tensor([-math.inf, 0.0, 0.0])
    assert 0 not in drawn(logits, PLAIN).tolist()
    assert 0 not in drawn(logits, DEFAULT).tolist()


@pytest.mark.parametrize("sampling", [PLAIN, DEFAULT, Sampling(0, 0.9, do_sample=True)])
@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("width", [80, 3000])
def test_a_row_whose_logits_are_no_numbers_has_no_token_and_its_neighbours_have_theirs(
    sampling: Sampling, width: int, number: float
) -> None:
    whole = torch.randn(3, width, generator=torch.Generator().manual_seed(3))
    broken = whole.clone()
    broken[1, width - 10] = number
    usual, found = (choose(logits, KEYS[:3], [0] * 3, sampling).tolist() for logits in (whole, broken))
    assert found == [usual[0], NO_TOKEN, usual[2]]
