"""Where `locale` was before; goes when nothing imports it."""

from pytest_llmbench.core.locale import UNSCORED, Words, words

__all__ = ["UNSCORED", "Words", "words"]
