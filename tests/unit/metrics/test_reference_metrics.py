"""Answers held against a reference: French words, meaning, form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.extras import required
from pytest_llmbench.core.records import Completion
from pytest_llmbench.metrics.against_reference import (
    REFERENCE_METRICS,
    FrenchWords,
    add_reference_metrics,
    corpus_scores,
)
from pytest_llmbench.metrics.degeneration import plays_turns, repetition
from pytest_llmbench.metrics.registry import MetricRegistry
from pytest_llmbench.metrics.similarity import greedy_f1
from pytest_llmbench.metrics.text import Spelling

REFERENCE = "J'augmente le volume du son."


def completion(text: str) -> Completion:
    return Completion("suite/one", 0, "base", text, "stop")


def scores(text: str, reference: str | None = REFERENCE) -> dict[str, float | None]:
    registry = MetricRegistry()
    add_reference_metrics(registry, REFERENCE_METRICS, Spelling(accent_sensitive=True))
    case = Case("suite", "one", "plus fort", (), reference=reference)
    return {name: by_variant["base"] for name, by_variant in registry.score(case, {"base": completion(text)}).items()}


def test_the_reference_itself_is_perfect_and_an_unrelated_answer_is_not() -> None:
    perfect, wrong = scores("J’augmente le volume du son"), scores("Il pleut à Lyon.")
    for name in ("rouge_1", "rouge_2", "rouge_l", "exact_match"):
        assert perfect[name] == 1.0
        assert wrong[name] == 0.0
    for name in ("bleu", "chrf", "semantic_similarity"):
        assert (perfect[name] or 0) > (wrong[name] or 0)


def test_without_a_reference_only_the_form_is_scored() -> None:
    assert {name for name, score in scores("oui", None).items() if score is not None} == {
        "repetition",
        "runaway_dialogue",
    }


def test_an_accent_apart_costs_a_word_in_rouge_and_less_in_chrf() -> None:
    bare = scores("J'eteins la lumiere.", "J'éteins la lumière.")
    assert bare["rouge_1"] == pytest.approx(0.5)  # "j'" and "la" of four words
    assert 0.5 < (bare["chrf"] or 0) < 1
    assert bare["exact_match"] == 0.0


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("“Yes.”", "yes", 1.0),
        ("是。", "是", 1.0),
        ("¿Cómo? ¡Bien!", "Cómo? ¡Bien", 1.0),
        ("**Paris**", "Paris", 1.0),
        ("[Paris] (", "Paris", 1.0),
        ("- Paris", "Paris", 1.0),
        ("-5", "5", 0.0),
        ("\N{EN DASH}5", "5", 0.0),
        ("-.5", ".5", 0.0),
        ("-$5", "$5", 0.0),
        ("-x", "x", 0.0),
        ("-Oui.", "Oui", 1.0),
        ("__init__", "init", 0.0),
        ("/etc", "etc", 0.0),
        ("−5.", "-5", 1.0),
        ("5 %", "5", 0.0),
        ("C#", "C", 0.0),
        ("?", "!", 0.0),
        ("", "*", 0.0),
        ("a.b", "ab", 0.0),
    ],
)
def test_punctuation_at_the_ends_is_no_matter(answer: str, reference: str, expected: float) -> None:
    assert scores(answer, reference)["exact_match"] == expected


def test_words_are_cut_as_french_cuts_them() -> None:
    assert FrenchWords().tokenize("L’élève d'aujourd'hui n'a qu'un rendez-vous.") == [
        "l'", "élève", "d'", "aujourd'hui", "n'", "a", "qu'", "un", "rendez", "vous",
    ]  # fmt: skip


def test_words_of_other_scripts_keep_their_vowel_signs_or_stand_letter_by_letter() -> None:
    assert FrenchWords().tokenize("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert FrenchWords().tokenize("今天很好。a_b") == ["今", "天", "很", "好", "a", "b"]


def test_corpus_scores_are_those_of_sacrebleu_and_carry_its_signature() -> None:
    found = corpus_scores([REFERENCE, REFERENCE], [REFERENCE, REFERENCE])
    assert found["bleu"] == pytest.approx(100)
    assert found["chrf"] == pytest.approx(100)
    assert "tok:13a" in found["bleu_signature"]


def test_similar_meaning_in_other_words_is_nearer_than_another_meaning() -> None:
    said = ["Je mets la musique plus fort."]
    assert greedy_f1(said, ["J'augmente le volume de la musique."]) > greedy_f1(said, ["Il pleuvra demain à Nantes."])


def test_rambling_after_the_right_answer_costs_similarity() -> None:
    assert greedy_f1([REFERENCE], [REFERENCE]) > greedy_f1([REFERENCE, "Il pleut.", "Le train part."], [REFERENCE])
    assert greedy_f1([], [REFERENCE]) == 0


def test_repetition_is_the_share_of_word_sequences_that_came_before() -> None:
    case = Case("suite", "one", "", ())
    assert repetition(case, completion("oui " * 4)) == 0
    assert repetition(case, completion("un deux trois quatre cinq six")) == 0
    assert repetition(case, completion("un deux trois quatre " * 5)) == pytest.approx(13 / 17)
    assert repetition(case, completion("请把音量" * 5)) == pytest.approx(13 / 17)


@given(st.text(max_size=80))
def test_every_score_of_any_text_is_within_bounds(text: str) -> None:
    assert all(score is None or 0 <= score <= 1 for score in scores(text).values())


@pytest.mark.parametrize(
    "text",
    [
        "GIDAF est un ensemble de technologies.\n\nUser: Très bien.\nAssistant: C'est exactement ce que nous avons.",
        "Je monte le son. Utilisateur : merci",
        "Client : bonjour\nConseiller : que puis-je faire ?",
        "C'est fait.\n**Question** : et après ?\n**Réponse** : rien.",
        "voici la réponse<|im_start|>user",
        "Oui.\n### Human:\nEt toi ?",
    ],
)
def test_an_invented_conversation_is_found(text: str) -> None:
    assert plays_turns(text)


@pytest.mark.parametrize(
    "text",
    [
        "Je monte le son.",
        "Assistant : je monte le son.",
        "Client : Dupont\nVille : Lyon\nMontant : 20 €",
        "Voici la question : faut-il partir ?",
        "L'utilisateur: c'est vous.",
        "Heure : 8 h 30",
    ],
)
def test_labels_of_fields_are_no_conversation(text: str) -> None:
    assert not plays_turns(text)


def test_a_reference_that_is_a_dialogue_leaves_runaway_dialogue_unscored() -> None:
    dialogue = "Client : bonjour\nAgent : bonjour"
    assert scores(dialogue, dialogue)["runaway_dialogue"] is None
    assert scores(dialogue)["runaway_dialogue"] == 1.0


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(NotReadyError, match=r"sacrebleu is not installed; pip install 'pytest-llmbench\[evaluate\]'"):
        required("sacrebleu.metrics")
