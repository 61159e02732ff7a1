from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.gates import gate, judged, note, verdict
from support.rendered import markdown
from support.report_runs import full_run, relevance, result, run

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import Run
from pytest_llmbench.runs.base_comparison import with_comparison

HOSTILE = [
    "a | b\n\n# head\n",
    "`code` ``x",
    "</code></details><script>alert(1)</script><!--",
    "@everyone #12 org/repo#3 GH-4 http://evil.example www.evil.example a@evil.example",
    "![x](http://evil.example/y.png) [y](z) [^1] <https://evil.example>",
    "\\| \\\\| \\` ~~x~~ **b** __c__ $\\frac{1}{2}$ :tada: &lt; &#124;",
    "a\u202eb\u2066c\u200bd\x1b[31m\x00\ud800",
    "- x\r\n1. y\u2028> z\t=====\n---",
]


class Skeleton(HTMLParser):
    """The tags of a page with their attributes, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[Any] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def page(document: dict[str, Any], language: str = "en") -> Skeleton:
    return Skeleton(
        MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown(document, language))
    )


def quoting(text: str, *, gated: bool = True) -> dict[str, Any]:
    """A document that holds `text` wherever a user or a model can put some."""
    asked = result(f"{text}/{text}", {"relevance": {"base": 1.0, text: 0.0}}, texts={"base": text, text: text})
    some = run(asked, relevance("a/b", 0.1, 0.2), variants=("base", text), base_model=text, device=text)
    moved = [{"case": judged(None, some)["results"][0]["case"], "before": 1.0, "after": 0.0}]
    found = gate(
        verdict(variant=text, metric=text, moved=moved),
        verdict("inconclusive", variant=text, metric=text),
        verdict("fail", variant=text, metric=text, category=text),
        against="base",
        reason=text,
        notes=[note("changed_prompt", text)],
    )
    return judged(found if gated else None, some)


@pytest.mark.parametrize("gated", [True, False])
@given(st.text(min_size=1, max_size=50).filter(str.strip) | st.sampled_from(HOSTILE))
@example("base")
def test_text_of_users_and_models_forms_no_markup(gated: bool, text: str) -> None:  # noqa: FBT001
    hostile = page(quoting(f"x{text}", gated=gated))
    assert hostile.tags == page(quoting("xy", gated=gated)).tags


@pytest.mark.parametrize("text", HOSTILE)
def test_no_mention_reference_or_address_comes_through(text: str) -> None:
    words = page(quoting(text)).words
    assert not re.search(r"[@#$]\w|://|www\.|[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", words)


@pytest.mark.parametrize(
    ("outcome", "language", "first"),
    [
        ("pass", "en", "### ✅ PASS: regression gate against baseline 0007\\_accepted (abcdef01)"),
        ("fail", "en", "### ❌ FAIL: regression gate"),
        ("inconclusive", "en", "### ❔ INCONCLUSIVE: regression gate"),
        ("fail", "fr", "### ❌ ÉCHEC : contrôle de régression"),
    ],
)
def test_the_first_line_is_the_outcome(outcome: str, language: str, first: str) -> None:
    line = markdown(judged(gate(verdict(outcome))), language).splitlines()[0]
    assert line.replace("&#95;", "\\_").startswith(first)


def test_the_verdict_table_has_effect_interval_p_and_count() -> None:
    text = markdown(judged(gate(verdict(), verdict("pass", "keywords", p_adjusted=0.0001))), "en")
    assert "| Verdict | Variant | Metric | Before -> after | Change | 95% interval | p | n |" in text
    assert (
        "| ❌ fail | <code>finetuned</code> | Relevance | 0.660 -> 0.540 | -0.120 | -0.200 to -0.050 | 0.003 | 30 |"
        in text
    )
    assert "| &#60;0.001 | 30 |" in text


def test_french_has_its_own_reason_and_decimal_mark() -> None:
    text = markdown(judged(gate(verdict())), "fr")
    assert (
        "Pertinence de finetuned : de 0,660 à 0,540 (intervalle à 95 % du changement de -0,200 à -0,050, p = 0,003"
        in text
    )
    assert "fell by" not in text


def test_notes_and_what_would_settle_it_are_not_folded_away() -> None:
    text = markdown(judged(gate(verdict("inconclusive"), notes=[note()])), "en")
    seen = text[: text.index("<details>")]
    assert "Cases missing in this run: 2 cases of the baseline are not in this run: a/b, a/c" in seen
    assert "Relevance of finetuned: about 210 cases, or 4 epochs, would settle it" in seen


def test_against_the_base_both_answers_are_shown_cut_short() -> None:
    moved = [{"case": "voice_commands/cas-01", "before": 1.0, "after": 0.0}]
    long = result("voice_commands/cas-01", {}, texts={"base": "avant", "finetuned": "après " * 200})
    text = markdown(judged(gate(verdict(moved=moved), against="base", baseline=None), run(long)), "en")
    assert "answer of base: <code>avant</code>" in text
    assert "answer of finetuned: <code>après après" in text
    assert max(map(len, text.splitlines())) < 400


def test_against_a_baseline_only_this_runs_answer_is_shown() -> None:
    moved = [
        {"case": "tool_routing/cas-03", "before": 1.0, "after": 0.0},
        {"case": "gone/1", "before": 1.0, "after": 0.5},
    ]
    text = markdown(judged(gate(verdict(moved=moved))), "en")
    [moved_part] = re.findall(r"<summary>Cases that moved most</summary>(.*?)</details>", text, re.DOTALL)
    assert "answer of finetuned" in moved_part
    assert "answer of base" not in moved_part
    assert "<code>gone/1</code> 1.000 -> 0.500 (-0.500)" in moved_part


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize(
    "some_run",
    [full_run(), full_run(variants=("base",)), full_run(variants=("v1", "v2")), run()],
    ids=["two", "base", "adapters", "empty"],
)
def test_a_run_without_a_gate_is_described_not_judged(some_run: Run, language: str) -> None:
    text = markdown(judged(None, some_run), language)
    assert not re.search("[✅❌❔]", text)
    assert {"en": "not a test of significance", "fr": "pas un test de significativité"}[language] in " ".join(
        text.split()
    )


def test_a_run_without_a_gate_opens_with_the_comparison_to_its_base() -> None:
    better = run(*(relevance(f"a/{place}", 0.1, 0.9) for place in range(30)))
    text = markdown(with_comparison(judged(None, better)), "en")
    assert text.startswith("### ✅ BETTER: comparison with each adapter's own base\n\nBETTER: Relevance of finetuned")


def test_a_part_of_a_run_has_no_verdict() -> None:
    part = run(*(relevance(f"a/{place}", 0.1, 0.9) for place in range(30)), cut_short={"results": 30, "planned": 60})
    text = markdown(with_comparison(judged(None, part)), "en")
    assert text.startswith("### NO VERDICT: comparison")
    assert not re.search("[✅❌❔]|better", text)


def test_categories_that_show_nothing_are_one_sentence() -> None:
    names = [f"c{place}" for place in range(13)]
    rows = [relevance(f"{name}/{place}", 0.5, 0.5 + (-1) ** place / 10) for name in names for place in range(4)]
    text = markdown(with_comparison(judged(None, run(*rows))), "en")
    assert "nothing is shown for 13 of 13 questions" in text
    assert text.count("<code>c0</code>") == 1  # its means, and no verdict


@pytest.mark.parametrize("gated", [True, False])
def test_the_largest_run_stays_under_githubs_limit(gated: bool) -> None:  # noqa: FBT001
    worst = "$" * 300 + "\u0301" * 3000
    variants = ("base", *(f"{worst}{place}" for place in range(12)))
    texts = dict.fromkeys(variants, worst)
    rows = [
        result(f"{worst}{place}/{worst}{place}", {"relevance": dict.fromkeys(variants, place / 60)}, texts=texts)
        for place in range(60)
    ]
    moved = [{"case": row.case, "before": 1.0, "after": 0.0} for row in rows[:5]]
    verdicts = [
        verdict(outcome, worst, category, variant=variant, moved=moved)
        for outcome in ("fail", "inconclusive")
        for category in (None, worst)
        for variant in variants
    ]
    found = gate(*verdicts, against="base", reason=worst, notes=[note(message=worst)] * 40)
    text = markdown(judged(found if gated else None, run(*rows, variants=variants)), "en")
    assert len(text) < 60_000
    assert "Shortened" in text
    assert text.count("<details>") == text.count("</details>")


def test_an_unknown_language_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match="language 'de'"):
        markdown(judged(None), "de")
