"""The three limits on servers that are known: to the token, in time under noise, and right."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable

import pytest
from support.known_context import LAWS, KnownContext, SimulatedContext

from pytest_llmbench.context.accepted import AcceptedSearch
from pytest_llmbench.context.announced import Announced
from pytest_llmbench.context.in_time import Effort, InTimeSearch
from pytest_llmbench.context.needles import KINDS, needle, needles
from pytest_llmbench.context.questions import ContextQuestion
from pytest_llmbench.context.right import Rightness, find_right, right_limit, up_to
from pytest_llmbench.context.side_checks import Subject, prefix_cache, shared_pool
from pytest_llmbench.runs.context_document import (
    LimitDocument,
    ProbeDocument,
    PromiseDocument,
    ReasonDocument,
    RefusalCode,
    RefusalDocument,
)

PLAIN = needle("one", "en", 0.5, "1")
PROMISE = PromiseDocument(latency_s=2.0, quantile=0.95)


def accepted(known: KnownContext, announced: int | None = None, longest: int = 100_000) -> tuple[LimitDocument, int]:
    server = SimulatedContext(known)
    return asyncio.run(AcceptedSearch(server, PLAIN, 256, longest, announced).find()), server.asked


@pytest.mark.parametrize("limit", [256, 257, 511, 8191, 70_001, 99_999])
@pytest.mark.parametrize("beyond", ["refuse", "cut"])
def test_what_is_accepted_is_found_to_the_token_in_few_probes(limit: int, beyond: str) -> None:
    found, asked = accepted(KnownContext(limit=limit, beyond=beyond, says_limit=False))  # type: ignore[arg-type]
    assert (found.tokens, found.low, found.high, found.decided) == (limit, limit, limit, True)
    assert asked == found.probes <= 2 * math.log2(100_000 - 256)
    assert found.reason.code == {"refuse": "refused", "cut": "cut"}[beyond]


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_what_a_server_announces_is_tried_first(off: int) -> None:
    found, asked = accepted(KnownContext(limit=4096 + off, says_limit=False), announced=4096)
    assert found.tokens == 4096 + off
    assert asked <= 5


def test_a_server_that_announces_what_is_not_true_is_believed_no_further() -> None:
    found, asked = accepted(KnownContext(limit=3000, says_limit=False), announced=4096)
    assert found.tokens == 3000
    assert asked <= 2 * math.log2(100_000)


def test_a_refusal_that_names_the_limit_saves_the_bisection() -> None:
    found, asked = accepted(KnownContext(limit=32_768))
    assert found.tokens == 32_768
    assert asked <= 5


def test_nothing_that_is_accepted_and_everything_that_is_are_told_apart() -> None:
    nothing, _ = accepted(KnownContext(limit=100))
    everything, asked = accepted(KnownContext(limit=10**6))
    assert (nothing.tokens, nothing.reason.code) == (0, "never")
    assert (everything.tokens, everything.high, everything.reason.code) == (100_000, None, "end_of_range")
    assert asked == 2


def test_below_the_shortest_prompt_nothing_is_exact() -> None:
    found, _ = accepted(KnownContext(limit=100))
    assert (found.low, found.high, found.decided) == (0, 255, False)


def test_a_shortest_prompt_longer_than_what_may_be_tried_is_asked_once() -> None:
    server = SimulatedContext(KnownContext(limit=330))
    search = AcceptedSearch(server, PLAIN, 320, 303, spent=lambda: server.asked >= 9)
    found = asyncio.run(search.find())
    assert (found.tokens, server.asked) == (320, 1)


def test_no_prompt_is_sent_for_what_is_accepted_once_the_time_is_over() -> None:
    server = SimulatedContext(KnownContext(limit=5000, says_limit=False))
    search = AcceptedSearch(server, PLAIN, 256, 100_000, spent=lambda: server.asked >= 4)
    found = asyncio.run(search.find())
    assert server.asked == 4
    assert found.low <= 5000 <= (found.high or 0)
    assert (found.decided, found.reason.code) == (False, "stopped")


def test_memory_that_runs_out_and_servers_that_die_are_believed_when_it_happens_twice() -> None:
    def out_of_memory(length: int) -> RefusalCode | None:
        return "out_of_memory" if length > 5000 else None

    found, _ = accepted(KnownContext(limit=10**6, loses=out_of_memory))
    assert (found.tokens, found.reason.values["code"]) == (5000, "out_of_memory")
    results: list[RefusalCode | None] = [None, "server_gone"]
    once = iter(results)
    found, asked = accepted(KnownContext(limit=10**6, loses=lambda _length: next(once, None)))
    assert (found.tokens, asked) == (100_000, 3)


def in_time(known: KnownContext, promise: PromiseDocument = PROMISE, *, probes: int = 40) -> LimitDocument:
    effort = Effort(probes, 0.02, 16)
    search = InTimeSearch(SimulatedContext(known), PLAIN, promise, (256, known.limit), effort)
    found = asyncio.run(search.find())
    assert found is not None
    return found


SWEPT = (256, 512, 1024, 2048, 4096, 8144)


def in_time_after_a_sweep(known: KnownContext, *slow: int, quantile: float = 0.95) -> LimitDocument:
    """As a test with default settings searches: 30 questions at each length came before; those in `slow` took 5 s."""
    server, asked = SimulatedContext(known), needles((0.0, 0.25, 0.5, 0.75, 1.0), KINDS, ("en", "fr"), 1, 1)
    promise = PromiseDocument(latency_s=3.0, quantile=quantile)
    search = InTimeSearch(server, PLAIN, promise, (256, known.limit), Effort(60, 0.02, 1))

    async def find() -> LimitDocument | None:
        swept = [await server.ask(ContextQuestion("sweep", length, one, 48)) for length in SWEPT for one in asked]
        for place in slow:
            swept[place] = swept[place].model_copy(update={"first_token_s": 5.0, "total_s": 5.0})
        return await search.find(swept)

    found = asyncio.run(find())
    assert found is not None
    return found


@pytest.mark.parametrize(("truth", "noise"), [(7372, 0.15), (7372, 0.3), (3686, 0.3)])
def test_many_prompts_at_one_length_settle_nothing_by_a_few_at_the_next(truth: int, noise: float) -> None:
    def law(tokens: int) -> float:
        return 3 * tokens / truth / math.exp(1.6448536 * noise)

    held = 0
    for seed in range(6):
        found = in_time_after_a_sweep(KnownContext(limit=8191, law=law, noise=noise, seed=seed))
        assert not found.decided
        held += found.low <= truth <= (found.high or 8191)
    assert held >= 5


@pytest.mark.parametrize("slow", [0, 35, 100])
def test_one_slow_answer_of_a_sweep_does_not_end_what_is_in_time(slow: int) -> None:
    found = in_time_after_a_sweep(KnownContext(limit=8191, law=lambda _: 0.2, noise=0.1), slow)
    assert (found.tokens, found.low, found.high) == (8191, 8191, None)
    assert (found.decided, found.reason.code) == (True, "end_of_range")


def test_slow_answers_at_the_longest_length_keep_it_from_being_settled() -> None:
    found = in_time_after_a_sweep(KnownContext(limit=8191, law=lambda _: 0.2, noise=0.1), 170)
    assert (found.tokens, found.low, found.high, found.decided) == (8191, 4096, None, False)


@pytest.mark.parametrize("late", [5, 6])
def test_a_length_that_is_late_too_often_is_not_in_time_though_the_cost_hardly_rises(late: int) -> None:
    known = KnownContext(limit=8144, law=lambda _: 0.5, noise=0.05)
    found = in_time_after_a_sweep(known, *range(180 - late, 180))
    assert (found.decided, found.probes) == (False, 60)
    assert found.low < 8144


def test_prompts_that_time_out_after_late_answers_that_settle_nothing_end_what_is_in_time() -> None:
    asked = itertools.count()
    known = KnownContext(
        limit=8144,
        law=lambda _: 0.2,
        noise=0.1,
        loses=lambda length: "timeout" if next(asked) >= 180 and length > 2500 else None,
    )
    found = in_time_after_a_sweep(known, 178, 179)
    assert found.low <= found.tokens <= (found.high or 0) < 8144
    assert (found.decided, found.reason.code) == (False, "late")
    assert found.tokens <= 2500


def test_a_server_that_answers_nothing_more_after_its_sweep_breaks_its_promise_at_all_lengths() -> None:
    asked = itertools.count()
    known = KnownContext(limit=8144, law=lambda _: 0.2, loses=lambda _: "timeout" if next(asked) >= 180 else None)
    found = in_time_after_a_sweep(known, 178, 179)
    assert (found.tokens, found.decided, found.reason.code) == (0, True, "never")
    assert found.probes < 30  # each of them waits for its time-out


def after_a_sweep_that_loses(known: KnownContext, *lost: int, first_token_s: float | None = None) -> LimitDocument:
    """As `in_time_after_a_sweep`, where the questions at these places of the sweep timed out after 30 s."""
    server, asked = SimulatedContext(known), needles((0.0, 0.25, 0.5, 0.75, 1.0), KINDS, ("en", "fr"), 1, 1)
    search = InTimeSearch(server, PLAIN, PROMISE, (256, known.limit), Effort(60, 0.02, 1))
    late = {"refusal": RefusalDocument(code="timeout", text=""), "first_token_s": first_token_s, "total_s": 30.0}

    async def find() -> LimitDocument | None:
        swept = [await server.ask(ContextQuestion("sweep", length, one, 48)) for length in SWEPT for one in asked]
        told = [one.model_copy(update=late) if place in lost else one for place, one in enumerate(swept)]
        return await search.find(told)

    found = asyncio.run(find())
    assert found is not None
    return found


@pytest.mark.parametrize("law", [lambda _: 0.2, lambda tokens: tokens / 4000], ids=["even", "rising"])
def test_prompts_that_time_out_too_often_break_the_promise_that_the_others_keep(law: Callable[[int], float]) -> None:
    found = after_a_sweep_that_loses(KnownContext(limit=8144, law=law, noise=0.05), *range(0, 180, 5))
    assert (found.tokens, found.low, found.reason.code) == (0, 0, "never")
    assert found.reason.values == {"share_timed_out": pytest.approx(0.2, abs=0.03), "promised_s": 2.0}


@pytest.mark.parametrize("law", [lambda _: 0.2, lambda tokens: tokens / 4000], ids=["even", "rising"])
def test_a_prompt_of_many_that_times_out_breaks_no_promise(law: Callable[[int], float]) -> None:
    known = KnownContext(limit=8144, law=law, noise=0.05)
    found, without = after_a_sweep_that_loses(known, 35, 100), after_a_sweep_that_loses(known)
    assert (found.tokens, found.low, found.high) == (without.tokens, without.low, without.high)


def test_one_time_out_of_the_search_ends_nothing() -> None:
    asked = itertools.count()
    known = KnownContext(
        limit=8144, law=lambda tokens: tokens / 4000, noise=0.05, loses=lambda _: "timeout" if not next(asked) else None
    )
    found = in_time(known, probes=60)
    assert found.low <= known.in_time(2.0, 0.95) <= (found.high or 0)
    assert found.reason.code == "late"


def test_time_outs_of_the_search_do_not_end_it_below_lengths_that_the_sweep_answered() -> None:
    asked = itertools.count()
    known = KnownContext(limit=8144, law=lambda _: 0.2, loses=lambda _: "timeout" if 177 <= next(asked) < 182 else None)
    found = in_time_after_a_sweep(known)
    assert found.probes > 2
    assert (found.high, found.decided, found.reason.code) == (None, False, "late")
    assert found.tokens > 5605  # 27 of 30 were answered at 8144


def test_refusals_now_and_then_do_not_end_the_search_at_a_length_that_the_sweep_answered() -> None:
    asked = itertools.count()
    known = KnownContext(
        limit=8144,
        law=lambda tokens: tokens / 3100,
        noise=0.1,
        loses=lambda length: "http" if next(asked) >= 180 and length == 8144 else None,
    )
    found = in_time_after_a_sweep(known)
    assert found.probes > 2
    assert (found.high, found.reason.code) == (None, "end_of_range")


def test_a_length_whose_only_prompt_of_the_sweep_timed_out_is_looked_at_again() -> None:
    asked = itertools.count()
    known = KnownContext(limit=8144, law=lambda _: 0.2, loses=lambda _: "timeout" if next(asked) == 5 else None)
    server = SimulatedContext(known)
    search = InTimeSearch(server, PLAIN, PROMISE, (256, known.limit), Effort(60, 0.02, 1))

    async def find() -> LimitDocument | None:
        return await search.find([await server.ask(ContextQuestion("sweep", length, PLAIN, 48)) for length in SWEPT])

    asyncio.run(find())
    assert search.probes[0].length == 8144


def test_a_time_out_elsewhere_is_not_the_reason_of_a_limit_at_which_answers_become_late() -> None:
    known = KnownContext(limit=8144, law=lambda tokens: tokens / 4000, noise=0.05)
    found = after_a_sweep_that_loses(known, 35)
    assert found.reason.code == "late"
    assert found.reason.values == {"seconds": pytest.approx(1.84, abs=0.1), "promised_s": 2.0}


def test_lengths_from_which_on_every_prompt_times_out_end_what_is_in_time() -> None:
    known = KnownContext(limit=8144, law=lambda _: 0.2, noise=0.05, loses=lambda n: "timeout" if n > 5000 else None)
    found = in_time_after_a_sweep(known)
    assert found.tokens <= 5000 <= (found.high or 0) <= 1.02 * found.tokens
    assert (found.decided, found.reason.code, found.reason.values["code"]) == (True, "refused", "timeout")
    assert found.probes <= 12


def test_an_answer_that_began_in_time_and_timed_out_later_kept_a_promise_of_its_first_token() -> None:
    known = KnownContext(limit=8144, law=lambda _: 0.2, noise=0.05)
    found = after_a_sweep_that_loses(known, *range(150, 180), first_token_s=0.2)
    assert (found.tokens, found.decided, found.reason.code) == (8144, True, "end_of_range")


def test_where_every_prompt_times_out_the_time_out_is_told() -> None:
    found = in_time(KnownContext(loses=lambda _: "timeout"))
    assert (found.tokens, found.low, found.reason.code) == (0, 0, "refused")
    assert found.reason.values["code"] == "timeout"


def test_too_few_prompts_below_the_longest_length_show_no_lateness() -> None:
    found = in_time(KnownContext(limit=100_000, law=lambda _: 0.2), probes=5)
    assert (found.tokens, found.high, found.decided, found.reason.code) == (4096, None, False, "stopped")


def test_a_promise_of_every_answer_is_broken_by_one() -> None:
    found = in_time_after_a_sweep(KnownContext(limit=8191, law=lambda _: 0.2, noise=0.1), 100, quantile=1.0)
    assert 1024 <= found.tokens < 2048
    assert (found.high, found.reason.code) == (2047, "late")


@pytest.mark.parametrize("law", LAWS)
def test_the_longest_prompt_in_time_is_found_within_its_interval(law: str) -> None:
    known = KnownContext(limit=60_000, law=LAWS[law], noise=0.02)
    truth, found = known.in_time(2.0, 0.95), in_time(known)
    assert found.low <= truth <= (found.high or 0)
    assert found.tokens == pytest.approx(truth, rel=0.03)
    assert (found.decided, found.reason.code) == (True, "late")
    assert found.probes <= 40


def test_more_noise_takes_more_probes_and_too_few_are_not_decided() -> None:
    known = KnownContext(limit=60_000, noise=0.3)
    found = in_time(known, probes=15)
    assert not found.decided
    assert found.low < known.in_time(2.0, 0.95) < (found.high or 0)


def test_a_promise_that_every_prompt_keeps_ends_with_the_lengths_that_were_asked_for() -> None:
    found = in_time(KnownContext(limit=2000, noise=0.02))
    assert (found.tokens, found.high, found.decided, found.reason.code) == (2000, None, True, "end_of_range")
    assert found.probes <= 10
    assert up_to(found, 2010).reason.code == "not_accepted"


def test_an_end_of_its_own_stays_however_wide_its_interval_is() -> None:
    late = ReasonDocument(code="late", values={"seconds": 2.1, "promised_s": 2.0})
    found = LimitDocument(tokens=2293, low=0, high=None, decided=False, probes=60, reason=late)
    assert up_to(found, 8191) == found


def test_a_promise_that_not_even_the_shortest_prompt_keeps_is_never_kept() -> None:
    found = in_time(KnownContext(noise=0.02), PromiseDocument(latency_s=0.05, quantile=0.95))
    assert (found.tokens, found.low, found.reason.code) == (0, 0, "never")


def test_lengths_that_are_lost_again_and_again_end_the_search_below_them() -> None:
    lost = KnownContext(limit=60_000, loses=lambda length: "out_of_memory" if length > 3000 else None)
    found = in_time(lost, PromiseDocument(latency_s=10.0, quantile=0.95))
    assert 1000 < found.tokens <= 3000
    assert found.reason.code == "refused"


def right(truth: Callable[[float, int], float], margin: float = 0.1) -> LimitDocument | None:
    server = SimulatedContext(KnownContext(limit=10**6, right=truth, seed=5))
    asked = needles((0.0, 0.5, 1.0), KINDS, ("en", "fr"), 3, 1)

    async def ask_all(length: int) -> list[ProbeDocument]:
        return [await server.ask(ContextQuestion("sweep", length, one, 16)) for one in asked]

    async def find() -> LimitDocument | None:
        by_length = {length: await ask_all(length) for length in (512, 1024, 2048, 4096)}
        return await find_right(by_length, ask_all, Rightness(margin, 0.05))

    return asyncio.run(find())


def test_a_model_that_is_right_at_all_lengths_is_right_to_the_end() -> None:
    found = right(lambda _depth, _length: 1.0)
    assert found is not None
    assert (found.tokens, found.low, found.high, found.decided) == (4096, 4096, None, True)
    assert found.reason.code == "end_of_range"


def test_the_length_from_which_facts_are_missed_is_bracketed() -> None:
    found = right(lambda _depth, length: 0.98 if length <= 1500 else 0.3)
    assert found is not None
    assert found.low <= 1500
    assert 1024 <= found.tokens <= 1500 <= (found.high or 0) < 1650
    assert found.reason.code == "fewer_found"
    assert found.reason.values["share_at_shortest"] == pytest.approx(0.98, abs=0.06)


def test_a_model_that_finds_little_at_the_shortest_length_is_never_right() -> None:
    found = right(lambda _depth, _length: 0.1)
    assert found is not None
    assert (found.tokens, found.reason.code) == (0, "never")


def test_facts_of_one_prompt_are_not_as_many_as_that_of_several() -> None:
    """Nine of 36 are surely less than half; three prompts of twelve are not."""
    alone, together = (
        {512: [answered(place, found, facts) for place, found in enumerate([facts] * 3 + [0] * 9)]} for facts in (1, 3)
    )
    found = [right_limit(probes, Rightness(0.1, 0.05)) for probes in (alone, together)]
    assert [limit.reason.code for limit in found if limit] == ["end_of_range", "end_of_range"]
    fewer = {512: [answered(place, found, 3) for place, found in enumerate([1] * 9 + [0] * 3)]}
    never = right_limit(fewer, Rightness(0.1, 0.05))
    assert never is not None
    assert (never.reason.code, never.high) == ("never", 511)


def answered(place: int, found: int, facts: int, length: int = 512) -> ProbeDocument:
    asked = {"sought": "sweep", "length": length, "prompt_tokens": length, "needle": str(place), "facts": facts}
    return ProbeDocument.model_validate({"id": f"{length}-{place}", "found": found, **asked})


@pytest.mark.parametrize(("lost_at_the_end", "low", "high"), [(0, 2048, None), (30, 512, 4095)])
def test_an_interval_of_facts_with_two_ends_may_miss_half_as_often_at_each(
    lost_at_the_end: int, low: int, high: int | None
) -> None:
    """30 facts that are all found rule out a fall by a tenth at 5 % (0.9 to the 30th), and not at 2.5 %."""
    lost = {512: 0, 2048: 0, 4096: lost_at_the_end}
    probes = {
        length: [answered(place, int(place >= count), 1, length) for place in range(30)]
        for length, count in lost.items()
    }
    found = right_limit(probes, Rightness(0.1, 0.05))
    assert found is not None
    assert (min(found.low, 2048), found.high) == (low, high)


def test_what_nobody_was_asked_has_no_limit() -> None:
    async def nobody(_length: int) -> list[ProbeDocument]:
        raise AssertionError

    assert asyncio.run(find_right({}, nobody, Rightness(0.1, 0.05))) is None


def test_pairs_of_prompts_are_not_sent_once_the_time_is_over() -> None:
    server = SimulatedContext(KnownContext())
    subject = Subject(Announced(8192, slots=2), 8192, 512, spent=lambda: server.asked >= 2)
    assert asyncio.run(shared_pool(server, PLAIN, subject)) is None
    assert server.asked == 2


@pytest.mark.parametrize("remembers", [True, False])
def test_a_server_that_does_not_say_what_it_remembers_shows_it_by_its_time(remembers: bool) -> None:  # noqa: FBT001
    server = SimulatedContext(KnownContext(prefix_cache=remembers))
    found = asyncio.run(prefix_cache(server, PLAIN, Subject(Announced(), 8192, 512)))
    assert (found is not None) is remembers
