from __future__ import annotations

import pytest

from pytest_llmbench.autotune.target_names import journal_name
from pytest_llmbench.autotune.targets import Target


def test_journals_of_one_target_and_of_several_hosts_have_readable_names() -> None:
    assert journal_name("org/m", "http://a:1/v1", []) == "org-m"
    others = [Target("http://a:2", "org/m"), Target("http://a:1", "other")]
    assert journal_name("org/m", "http://a:1/v1", others) == "org-m-at-a-1"


@pytest.mark.parametrize(
    "other", [Target("http://a:1/b", "org/m"), Target("http://a:1", "org-m"), Target("http://a:1/b")]
)
def test_targets_whose_names_look_the_same_have_journals_of_their_own(other: Target) -> None:
    name = journal_name("org/m", "http://a:1/v1", [other])
    assert name.startswith("org-m-at-a-1-")
    assert name == journal_name("org/m", "http://a:1/v1", [other])
    assert name != journal_name("org/m", "http://a:1/b/v1", [other])
    assert name != journal_name("org-m", "http://a:1/v1", [other])
