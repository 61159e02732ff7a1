from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import InUseError
from pytest_llmbench.core.records import Completion, Finish
from pytest_llmbench.generation.completion_store import JOURNAL, CompletionCache, CompletionJournal, content_key


def completion(text: str = "bonjour", finish: Finish = "stop") -> Completion:
    return Completion("suite/case", 0, "base", text, finish, completion_tokens=2, embedding="AACAPw==")


def test_a_journal_gives_back_what_another_wrote(tmp_path: Path) -> None:
    CompletionJournal(tmp_path / "run").add("k", completion("é\n\u2028\N{GRINNING FACE}"))
    assert CompletionJournal(tmp_path / "run").get("k") == completion("é\n\u2028\N{GRINNING FACE}")


def test_opening_a_journal_makes_nothing_on_disk(tmp_path: Path) -> None:
    assert CompletionJournal(tmp_path / "run").get("k") is None
    assert not (tmp_path / "run").exists()


def test_a_later_line_of_the_same_key_wins(tmp_path: Path) -> None:
    journal = CompletionJournal(tmp_path)
    journal.add("k", completion("first"))
    journal.add("k", completion("second"))
    for reader in (journal, CompletionJournal(tmp_path)):
        found = reader.get("k")
        assert found is not None
        assert found.text == "second"


@given(st.integers(0))
def test_a_journal_cut_anywhere_keeps_every_whole_line_and_takes_new_ones(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    journal = CompletionJournal(folder)
    for key in "abc":
        journal.add(key, completion(f"réponse {key}"))
    whole = (folder / JOURNAL).read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    (folder / JOURNAL).write_bytes(kept)
    resumed = CompletionJournal(folder)
    assert [key for key in "abc" if resumed.get(key)] == list("abc")[: kept.count(b"\n")]
    resumed.add("d", completion("after"))
    again = CompletionJournal(folder)
    assert again.get("d") == completion("after")
    assert [key for key in "abc" if again.get(key)][: kept.count(b"\n")] == list("abc")[: kept.count(b"\n")]


def test_two_writers_see_each_others_lines_after_a_refresh(tmp_path: Path) -> None:
    one, other = CompletionJournal(tmp_path), CompletionJournal(tmp_path)
    one.add("a", completion("one"))
    other.add("b", completion("other"))
    one.add("c", completion("one again"))
    other.refresh()
    one.refresh()
    for journal in (one, other):
        assert [found.text for key in "abc" if (found := journal.get(key))] == ["one", "other", "one again"]
    assert len((tmp_path / JOURNAL).read_text().splitlines()) == 3


def test_lines_that_are_no_completions_are_passed_over(tmp_path: Path) -> None:
    later = {"key": "later", **completion().to_json(), "a_key_of_a_later_version": 1}
    lines = ['{"key": "bare"}', "\x00\x00", json.dumps(later)]
    (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n")
    journal = CompletionJournal(tmp_path)
    assert journal.get("bare") is None
    assert journal.get("later") == completion()


def test_an_answer_that_failed_is_kept_in_its_run_and_forgotten_on_resume(tmp_path: Path) -> None:
    journal = CompletionJournal(tmp_path)
    journal.add("k", completion(finish="error"))
    journal.refresh()
    assert journal.get("k") is not None
    assert CompletionJournal(tmp_path).get("k") is None


def test_a_part_that_is_claimed_is_nobody_elses_until_it_is_done(tmp_path: Path) -> None:
    one, other = CompletionJournal(tmp_path), CompletionJournal(tmp_path)
    with one.claimed("batch", blocking=True):
        with pytest.raises(InUseError), other.claimed("batch", blocking=False):
            pass
        with other.claimed("another", blocking=False):
            pass
    with other.claimed("batch", blocking=False):
        pass


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = CompletionJournal(tmp_path / "file" / "run")
    with pytest.raises(
        NotReadyError, match=r"cannot write .*completions\.jsonl: Not a directory; free some space, then resume"
    ):
        journal.add("k", completion())
    with pytest.raises(NotReadyError, match="cannot write"), journal.claimed("batch", blocking=True):
        pass


IDENTITY = {"weights": "abc", "adapter": ""}
QUESTION = {"case": "a/b", "messages": [{"role": "user", "content": "été"}], "seed": 42, "epoch": 0}


def test_a_content_key_does_not_depend_on_the_order_of_keys() -> None:
    same = {key: QUESTION[key] for key in reversed(QUESTION)}
    assert content_key(IDENTITY, QUESTION) == content_key({"adapter": "", "weights": "abc"}, same)


def test_whatever_changes_the_answer_changes_the_content_key() -> None:
    changed = [
        ({**IDENTITY, "weights": "abd"}, QUESTION),
        ({**IDENTITY, "adapter": "x"}, QUESTION),
        (IDENTITY, {**QUESTION, "seed": 43}),
        (IDENTITY, {**QUESTION, "epoch": 1}),
        (IDENTITY, {**QUESTION, "messages": [{"role": "user", "content": "ete"}]}),
        (IDENTITY, {**QUESTION, "messages": [{"role": "system", "content": "été"}]}),
    ]
    keys = {content_key(*one) for one in [(IDENTITY, QUESTION), *changed]}
    assert len(keys) == 1 + len(changed)


def test_the_cache_gives_back_what_was_put_and_says_that_it_is_cached(tmp_path: Path) -> None:
    writer, reader = CompletionCache(tmp_path / "deep" / "c.sqlite"), CompletionCache(tmp_path / "deep" / "c.sqlite")
    assert reader.get(["k"]) == {}
    assert not reader.path.exists()
    writer.put("k", completion("first"))
    writer.put("k", completion("second"))
    found = reader.get(["k", "unknown"])
    assert list(found) == ["k"]
    assert (found["k"].text, found["k"].cached) == ("second", True)
    writer.close()
    reader.close()


@pytest.mark.parametrize("finish", ["error", "timeout"])
def test_an_answer_that_failed_or_ran_out_of_time_is_not_cached(tmp_path: Path, finish: Finish) -> None:
    cache = CompletionCache(tmp_path / "c.sqlite")
    cache.put("k", completion(finish=finish))
    assert cache.get(["k"]) == {}
    cache.close()


def test_a_cache_that_cannot_be_locked_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "c.lock").mkdir()
    cache = CompletionCache(tmp_path / "c.sqlite")
    with pytest.raises(NotReadyError, match=r"c\.sqlite cannot be used .*set generation\.cache: false"):
        cache.put("k", completion())


def test_a_corrupt_cache_is_one_message_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"no database" * 500)
    cache = CompletionCache(path)
    with pytest.raises(
        NotReadyError, match=r"c\.sqlite cannot be used .*delete it, or set generation\.cache: false"
    ) as raised:
        cache.get(["k"])
    assert raised.value.names == ("generation.cache",)
    cache.close()
