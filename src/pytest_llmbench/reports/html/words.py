"""What the page's scripts say."""

from __future__ import annotations

from pytest_llmbench.core.locale import N_, NN_, UNSCORED, Words, thousands_mark

_TEXTS = {
    "search": N_("Search"),
    "search_hint": N_("words in prompts, answers, names; press /"),
    "category": N_("Category"),
    "adapter": N_("Adapter"),
    "metric": N_("Metric"),
    "outcome": N_("Outcome"),
    "change": N_("Change"),
    "finish": N_("Answers"),
    "all": N_("all"),
    "better": N_("improved"),
    "worse": N_("worse"),
    "unpaired": N_("not comparable"),
    "finish_length": N_("cut at the token limit"),
    "finish_timeout": N_("timed out"),
    "finish_stop": N_("ended normally"),
    "reasoning": N_("Thinking, not scored"),
    "reset": N_("Clear filters"),
    "open_all": N_("Open all on this page"),
    "close_all": N_("Close all"),
    "case": N_("Case"),
    "difference": N_("Difference"),
    "latency": N_("Latency (s)"),
    "count": N_("{shown} of {total} results"),
    "of_all": N_("of the run's {count} results: those that moved most or score lowest, and others at even distances"),
    "nothing": N_("Nothing matches. Clear a filter or search for less."),
    "pages": N_("Page {page} of {pages}"),
    "first": N_("First"),
    "previous": N_("Previous"),
    "next": N_("Next"),
    "last": N_("Last"),
    "pager": N_("Pages of the table"),
    "prompt": N_("Prompt"),
    "expected": N_("Expected"),
    "tool": N_("Tool"),
    "keywords": N_("Keywords"),
    "reference": N_("Reference"),
    "calls": N_("Calls"),
    "faults": N_("What is wrong"),
    "scores": N_("Scores"),
    "empty": N_("(empty answer)"),
    "lost": N_("no answer"),
    "absent": N_("No answer was recorded."),
    "seconds": N_("{value} s"),
    "cached": N_("from the cache"),
    "cut": N_("Shortened in this report: the run's journal has the whole answer."),
    "prompt_cut": N_("The prompt was truncated to fit the model."),
    "legend": N_("Struck through: only in base. Underlined: only in the adapter's answer."),
    "identical": N_("Both answers are the same, word for word."),
    "same_beginning": N_(
        "Both answers begin alike, and are shortened in this report: the run's journal has them whole."
    ),
    "other_calls": N_("Both answers have the same words, and make other calls."),
    "too_long": N_("Too long to mark the words that differ."),
    "theme_auto": N_("automatic"),
    "theme_light": N_("light"),
    "theme_dark": N_("dark"),
    "printed": N_("Printed: at most {count} results, with the answers of open rows and of those that got worse."),
    "details": N_("Details of {case}"),
}
_TOKENS = NN_("{count} token", "{count} tokens")


def script_texts(say: Words) -> dict[str, str]:
    """Each text with its placeholders, by the name that the scripts know it by."""
    texts = {name: say.translated(text) for name, text in _TEXTS.items()}
    return texts | {
        "finish_error": say.in_context("answer", "failed"),
        "same": say.in_context("one result", "unchanged"),
        "token": say.plural(*_TOKENS, 1, count="{count}"),
        "tokens": say.plural(*_TOKENS, 2, count="{count}"),
        "unscored": UNSCORED,
        "thousands": thousands_mark(say.language),
    }
