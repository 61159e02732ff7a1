"""What a user asks of a model: cases, suites, and the vocabulary they are judged by."""

from pytest_llmbench.cases.suites import Case, Vocabulary, load_cases, load_vocabulary

__all__ = ["Case", "Vocabulary", "load_cases", "load_vocabulary"]
