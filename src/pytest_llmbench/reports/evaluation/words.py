"""What the reports of an evaluation say, in English and French."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.wording import Words

_EN = {
    "decimal_mark": ".",
    "title": "Evaluation on {test_set}",
    "asked": "{questions} questions; base {base}, {adapters}; {quantization}",
    "adapters": "fine-tuned: {paths}",
    "no_adapter": "no adapter",
    "retrieval": "retrieval: {method} over {chunks}, {passages} passages a question",
    "scores": "Scores (means over the questions; ↓ less is better)",
    "metric": "metric",
    "comparisons": "Differences, question by question (95 % interval; verdicts at {alpha} over all of them, Holm)",
    "compared": "compared",
    "effect": "better by",
    "interval": "95 % interval",
    "verdict": "verdict",
    "better": "better",
    "worse": "worse",
    "no difference shown": "no difference shown",
    "needed": "no difference shown; some {count} questions would tell",
    "positive": "A positive number is better in every metric.",
    "corpus": "Over all answers at once (0 to 100): {found}",
    "corpus_of": "{variant} BLEU {bleu}, chrF {chrf}",
    "finishes": "Answers cut off or failed: {found}",
    "none_cut": "Every answer ended by itself.",
    "left_open": "The server left {count} streams open after the end of their answers: each answer is timed to its"
    " end, "
    "and a connection was lost with each stream.",
    "contaminated": "{variant} was trained on what it is asked here: {near} rows of {dataset} come near to the "
    "questions. There its scores measure memory; take another test set.",
    "other_form": "{variant} reads its prompts through another chat template than the base: part of the difference "
    "may be the form of the prompt.",
    "answers_failed": "{count} of {total} answers of {variant} failed and have no score. The first reason: {reason}",
    "only_thought": "{variant} spent the whole budget of each of its {total} answers on thinking: they count as"
    " empty, and its "
    "scores say nothing of what it knows. Give thinking tokens of its own (generation.max_reasoning_tokens), or "
    "switch it off (model.template_arguments, enable_thinking: false).",
    "some_only_thought": "{count} of {total} answers of {variant} ended before its thinking did: they count as"
    " empty. Give thinking "
    "tokens of its own (generation.max_reasoning_tokens), or switch it off (model.template_arguments, "
    "enable_thinking: false).",
    "forgetting": "Forgetting: general knowledge before and after",
    "perplexity": "perplexity of {texts} general texts: {variant} {value}",
    "ratio": "perplexity of {texts} general texts: {variant} {value}, {ratio} times the base's "
    "({low} to {high}): {verdict}",
    "no_perplexity": "no perplexity: a server does not tell how likely a text is",
    "answers": "Answers side by side",
    "question": "Question",
    "reference": "Reference",
    "metric_bleu": "BLEU",
    "metric_chrf": "chrF",
    "metric_rouge_1": "ROUGE-1",
    "metric_rouge_2": "ROUGE-2",
    "metric_rouge_l": "ROUGE-L",
    "metric_semantic_similarity": "similarity of sentences",
    "metric_exact_match": "exact match",
    "metric_repetition": "repetition",
    "metric_runaway_dialogue": "runaway dialogue",
    "metric_tool_accuracy": "right tool",
    "nothing": "There is nothing to compare: only one variant answered.",
}
_FR = {
    "decimal_mark": ",",
    "title": "Évaluation sur {test_set}",
    "asked": "{questions} questions ; base {base}, {adapters} ; {quantization}",
    "adapters": "fine-tuné : {paths}",
    "no_adapter": "sans adaptateur",
    "retrieval": "recherche : {method} dans {chunks}, {passages} extraits par question",
    "scores": "Scores (moyennes sur les questions ; ↓ moins vaut mieux)",
    "metric": "métrique",
    "comparisons": "Écarts, question par question (intervalle à 95 % ; verdicts à {alpha} pour l'ensemble, Holm)",
    "compared": "comparaison",
    "effect": "mieux de",
    "interval": "intervalle à 95 %",
    "verdict": "verdict",
    "better": "meilleur",
    "worse": "moins bon",
    "no difference shown": "aucun écart démontré",
    "needed": "aucun écart démontré ; {count} questions environ trancheraient",
    "positive": "Un nombre positif est meilleur, pour toutes les métriques.",
    "corpus": "Sur toutes les réponses à la fois (0 à 100) : {found}",
    "corpus_of": "{variant} BLEU {bleu}, chrF {chrf}",
    "finishes": "Réponses coupées ou manquées : {found}",
    "none_cut": "Toutes les réponses se sont terminées d'elles-mêmes.",
    "left_open": "Le serveur a laissé {count} flux ouverts après la fin de leurs réponses : chaque réponse est "
    "chronométrée jusqu'à sa fin, et chaque flux a coûté une connexion.",
    "contaminated": "{variant} a appris ce qui lui est demandé ici : {near} lignes de {dataset} sont proches "
    "des questions. Ses scores y mesurent la mémoire ; prenez un autre jeu de test.",
    "other_form": "{variant} lit ses demandes à travers un autre modèle de conversation que la base : une part "
    "de l'écart peut venir de la forme de la demande.",
    "answers_failed": "{count} des {total} réponses de {variant} ont échoué, sans score. La première raison : {reason}",
    "only_thought": "{variant} a passé tout le budget de chacune de ses {total} réponses à réfléchir : elles"
    " comptent comme "
    "vides, et ses scores ne disent rien de ce que le modèle sait. Donnez des jetons propres à la réflexion "
    "(generation.max_reasoning_tokens), ou coupez-la (model.template_arguments, enable_thinking: false).",
    "some_only_thought": "{count} des {total} réponses de {variant} se sont arrêtées avant la fin de la réflexion"
    " : elles comptent "
    "comme vides. Donnez des jetons propres à la réflexion (generation.max_reasoning_tokens), ou coupez-la "
    "(model.template_arguments, enable_thinking: false).",
    "forgetting": "Oubli : connaissances générales avant et après",
    "perplexity": "perplexité de {texts} textes généraux : {variant} {value}",
    "ratio": "perplexité de {texts} textes généraux : {variant} {value}, {ratio} fois celle de la base "
    "({low} à {high}) : {verdict}",
    "no_perplexity": "pas de perplexité : un serveur ne dit pas la vraisemblance d'un texte",
    "answers": "Réponses côte à côte",
    "question": "Question",
    "reference": "Référence",
    "metric_bleu": "BLEU",
    "metric_chrf": "chrF",
    "metric_rouge_1": "ROUGE-1",
    "metric_rouge_2": "ROUGE-2",
    "metric_rouge_l": "ROUGE-L",
    "metric_semantic_similarity": "similarité des phrases",
    "metric_exact_match": "réponse exacte",
    "metric_repetition": "répétition",
    "metric_runaway_dialogue": "dialogue inventé",
    "metric_tool_accuracy": "bon outil",
    "nothing": "Rien à comparer : une seule variante a répondu.",
}
_LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": _EN, "fr": _FR}


def evaluation_words(language: str) -> Words:
    """The words of `en` or `fr`. Raises UsageError for another language."""
    if language not in _LANGUAGES:
        raise UsageError(f"language {language!r} is not one of {', '.join(_LANGUAGES)}; set output.language")
    return Words(language, _LANGUAGES[language])
