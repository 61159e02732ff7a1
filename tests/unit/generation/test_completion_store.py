from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import InUseError
from pytest_llmbench.core.records import Completion, Finish
from pytest_llmbench.generation.completion_store import (
    JOURNAL,
    OLD_JOURNAL,
    CompletionCache,
    CompletionJournal,
    content_key,
    copy_journal,
    drop_journal,
    journal_in,
    stored_completions,
)


def completion(text: str = "bonjour", finish: Finish = "stop") -> Completion:
    return Completion("suite/case", 0, "base", text, finish, completion_tokens=2, embedding="AACAPw==")


def test_a_journal_gives_back_what_another_wrote(tmp_path: Path) -> None:
    CompletionJournal(tmp_path / "run").add("k", completion("é\n\u2028\N{GRINNING FACE}"))
    assert CompletionJournal(tmp_path / "run").get("k") == completion("é\n\u2028\N{GRINNING FACE}")


def test_opening_a_journal_makes_nothing_on_disk(tmp_path: Path) -> None:
    assert CompletionJournal(tmp_path / "run").get("k") is None
    assert not (tmp_path / "run").exists()


def test_a_later_completion_of_the_same_key_wins(tmp_path: Path) -> None:
    journal = CompletionJournal(tmp_path)
    journal.add("k", completion("first"))
    journal.add("k", completion("second"))
    for reader in (journal, CompletionJournal(tmp_path)):
        found = reader.get("k")
        assert found is not None
        assert found.text == "second"


def test_two_writers_see_each_others_completions_at_once(tmp_path: Path) -> None:
    one, other = CompletionJournal(tmp_path), CompletionJournal(tmp_path)
    one.add("a", completion("one"))
    other.add("b", completion("other"))
    for journal in (one, other):
        assert {key: found.text for key, found in journal.get_all("abc").items()} == {"a": "one", "b": "other"}


def test_what_was_committed_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib\n"
        "from pytest_llmbench.core.records import Completion\n"
        "from pytest_llmbench.generation.completion_store import CompletionJournal\n"
        "journal = CompletionJournal(pathlib.Path(sys.argv[1]))\n"
        "journal.add('k', Completion('suite/case', 0, 'base', 'said', 'stop'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "run"], check=False).returncode == -signal.SIGKILL
    copy_journal(tmp_path / "run" / JOURNAL, tmp_path)
    for folder in (tmp_path / "run", tmp_path):
        found = CompletionJournal(folder).get("k")
        assert found is not None
        assert found.text == "said"


def test_the_journal_of_an_older_version_is_taken_over_as_far_as_its_lines_are_whole_and_dropped_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    later = {"key": "later", **completion().to_json(), "a_key_of_a_later_version": 1}
    lines = ['{"key": "bare"}', "\x00\x00", json.dumps(later)]
    (tmp_path / OLD_JOURNAL).write_text("\n".join(lines) + '\n{"key": "to')
    assert list(stored_completions(tmp_path / OLD_JOURNAL)) == [completion()]
    journal = CompletionJournal(tmp_path)
    assert journal.get_all(["bare", "later"]) == {"later": completion()}
    assert journal_in(tmp_path) == tmp_path / JOURNAL
    assert not (tmp_path / OLD_JOURNAL).exists()
    journal.close()
    assert list(stored_completions(tmp_path / JOURNAL)) == [completion()]
    drop_journal(tmp_path)
    assert journal_in(tmp_path) is None
    drop_journal(tmp_path)
    told = "the answers of a stopped run are dropped; resuming goes on from one with the same settings"
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / JOURNAL}: {told}"]


def test_a_journal_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"no database" * 500)
    with pytest.raises(NotReadyError, match=r"completions\.sqlite cannot be used .*; free some space, then resume"):
        CompletionJournal(tmp_path)


@pytest.mark.parametrize("finish", ["error", "timeout"])
def test_an_answer_that_failed_is_kept_in_its_run_and_forgotten_on_resume(tmp_path: Path, finish: Finish) -> None:
    journal = CompletionJournal(tmp_path)
    journal.add("k", completion(finish=finish))
    assert journal.get("k") is not None
    assert CompletionJournal(tmp_path).get("k") is None


def test_a_process_that_comes_later_knows_what_failed_in_its_session(tmp_path: Path) -> None:
    CompletionJournal(tmp_path, session="before").add("earlier", completion(finish="timeout"))
    CompletionJournal(tmp_path, session="now").add("k", completion(finish="timeout"))
    assert CompletionJournal(tmp_path, session="now").get_all(["earlier", "k"]).keys() == {"k"}
    assert CompletionJournal(tmp_path, session="then").get_all(["earlier", "k"]) == {}


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
        NotReadyError, match=r"cannot write .*completions\.sqlite: Not a directory; free some space, then resume"
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
