"""The words of the reports in each language. Every language has the same keys and the same placeholders."""

from __future__ import annotations

from pytest_llmbench.core import (
    calls_catalogue,
    judgement_catalogue,
    report_catalogue,
    routing_catalogue,
    verdict_catalogue,
)

ENGLISH = {
    "decimal_mark": ".",
    "percent": "{value}%",
    "yes": "yes",
    "no": "no",
    "unknown": "not recorded",
    "none": "none",
    # metrics
    "metric_relevance": "Relevance",
    "metric_keywords": "Keywords found (share)",
    "metric_tool_accuracy": "Tool accuracy",
    "metric_call_accuracy": "Call accuracy",
    "metric_cosine_similarity": "Cosine similarity to base",
    "metric_latency_s": "Latency (s)",
    "metric_tokens_per_s": "Tokens per second",
    # outcomes of items
    "item_passed": "passed",
    "item_failed": "failed",
    "item_skipped": "skipped",
    "item_xfailed": "xfailed",
    "item_xpassed": "xpassed",
    # sections
    "title": "LLM BENCHMARK ANALYSIS",
    "metadata": "Metadata",
    "statistics": "Overall statistics",
    "by_category": "By category",
    "improvements": "Top {count} improvements: base -> {variant}",
    "weaknesses": "Top {count} weaknesses: base -> {variant}",
    "timing": "Timing",
    "soundness": "Soundness and provenance",
    "cases": "Every case",
    "recommendations": "Recommendations",
    # metadata
    "base_model": "Base model",
    "lora_adapter": "LoRA adapter",
    "device": "Device",
    "timestamp": "Date",
    "variants": "Variants",
    "counts": "Cases",
    "counts_value": "{cases} (categories: {categories}, results: {results})",
    "outcomes": "Item outcomes",
    # tables
    "metric": "Metric",
    "difference": "Difference",
    "relative": "Relative",
    "scored": "Scored",
    "category": "Category",
    "case": "Case",
    "results": "N",
    "all": "All",
    "short_relevance": "Rel.",
    "short_keywords": "Keywords",
    "short_tool": "Tool",
    "short_calls": "Calls",
    "short_cosine": "Cosine",
    "short_change": "change",
    "outcome": "Outcome",
    "prompt": "prompt",
    "scores": "scores",
    "variant": "Variant",
    "answers": "Answers",
    "cached": "Cached",
    "latency_median": "Median (s)",
    "latency_max": "Slowest (s)",
    "speed": "Tokens/s",
    "tokens": "Tokens",
    "at_limit": "At limit",
    "timeouts": "Timeouts",
    "errors": "Errors",
    # remarks
    "unscored_note": "Unscored results are left out of every mean; '-' means that nothing was scored.",
    "unscored": "Unscored: {metric} of {variant}, {unscored} of {total}.",
    "ranked_by": "Ranked by the difference in: {metric}.",
    "no_improvements": "No case improved.",
    "no_weaknesses": "None: every case is answered in full.",
    "weakness_meaning": (
        "{shown} of {total} cases that are not answered in full: those without an answer and wrong ones first, by their"
        " lowest score."
    ),
    "category_note": (
        "Rel. is mean relevance, Keywords the mean share found, Tool the tool accuracy, Cosine the similarity to the"
        " base's answers."
    ),
    "timing_note": "Latency runs from the start of an answer's batch to its last token; cached answers keep their own.",
    # recommendations
    "effective": "Fine-tuning EFFECTIVE",
    "moderate": "Fine-tuning MODERATE",
    "insufficient": "Fine-tuning INSUFFICIENT",
    "graded": "{grade} for {variant}: {metric} {base} -> {tuned}, {gain} (paired results: {count}).",
    "gain_relative": "{value} relative",
    "gain_points": "{value} points of 100, as a mean of zero in the base has no relative improvement",
    "tally": "Results: {better} improved, {same} unchanged, {worse} worse.",
    "no_pairs": "No verdict for {variant}: no result is scored for both it and the base.",
    "one_variant": (
        "Only {variant} answered: there is nothing to compare. Run with a base and an adapter for a verdict."
    ),
    "thresholds": (
        "Grades of a proved improvement by its relative size: effective above 10%, moderate from 5% to 10%,"
        " insufficient"
        " below 5%."
    ),
    "weakest": (
        "Weakest category of {variant}: {category} ({metric} {value}). Focus there: more and closer training examples."
    ),
    "contaminated": (
        "{variant} was trained on what it is asked here: {near} rows of {dataset} come near to the cases."
        " There its scores measure memory. Train again without those rows."
    ),
    "left_open": (
        "The server left {count} streams open after the end of their answers: each answer is timed to its end, and a "
        "connection was lost with each stream."
    ),
    "other_form": (
        "{variant} reads its prompts through another chat template than the base: part of the difference may be the "
        "form of the prompt."
    ),
    "answers_failed": "{count} of {total} answers of {variant} failed and have no score. The first reason: {reason}",
    "only_thought": (
        "{variant} spent the whole budget of each of its {total} answers on thinking: they count as empty, and its "
        "scores say nothing of what it knows. Give thinking tokens of its own (generation.max_reasoning_tokens), or "
        "switch it off (model.template_arguments, enable_thinking: false)."
    ),
    "some_only_thought": (
        "{count} of {total} answers of {variant} ended before its thinking did: they count as empty. Give thinking "
        "tokens of its own (generation.max_reasoning_tokens), or switch it off (model.template_arguments, "
        "enable_thinking: false)."
    ),
    "copied_epochs": (
        "{variant} gave the same text in every epoch of all {cases} cases that were asked again, at temperature "
        "{temperature}: the server ignores temperature or seed, or answers from a cache of its own. The epochs are "
        "copies: they add no information, and intervals and verdicts rest on one answer a case."
    ),
    "worse_categories": "{variant} is worse than the base in: {categories}. Look at these before shipping.",
    "barely_differs": (
        "The answers of {variant} barely differ from the base's. Check that the training learned: loss, learning "
        "rate, steps."
    ),
    "description_only": (
        "These numbers describe the cases of this run ({count}) and nothing more. They are not a test of "
        "significance: with other cases of the same kind the difference could be smaller, or the other way round."
    ),
    # figure
    "figure_relevance": "{metric} by category",
    "figure_keywords": "Keywords found by category",
    "figure_mean_score": "Mean score",
    "figure_distribution": "Distribution of scores: {metric}",
    "figure_score": "Score",
    "figure_count": "Number of results",
    "figure_summary": "Summary",
    "figure_some": " ({shown} of {total}, greatest change)",
    "figure_nothing": "Nothing scored",
    "figure_gain": "{metric}: {gain}",
}

FRENCH = {
    "decimal_mark": ",",
    "percent": "{value} %",
    "yes": "oui",
    "no": "non",
    "unknown": "non enregistré",
    "none": "aucun",
    # metrics
    "metric_relevance": "Pertinence",
    "metric_keywords": "Mots-clés trouvés (part)",
    "metric_tool_accuracy": "Choix du bon outil",
    "metric_call_accuracy": "Appels justes",
    "metric_cosine_similarity": "Similarité cosinus avec la base",
    "metric_latency_s": "Latence (s)",
    "metric_tokens_per_s": "Jetons par seconde",
    # outcomes of items
    "item_passed": "réussi",
    "item_failed": "échoué",
    "item_skipped": "ignoré",
    "item_xfailed": "échec attendu",
    "item_xpassed": "réussite inattendue",
    # sections
    "title": "ANALYSE DU BENCHMARK LLM",
    "metadata": "Métadonnées",
    "statistics": "Statistiques globales",
    "by_category": "Par catégorie",
    "improvements": "Top {count} des améliorations : base -> {variant}",
    "weaknesses": "Top {count} des faiblesses : base -> {variant}",
    "timing": "Temps",
    "soundness": "Validité et provenance",
    "cases": "Tous les cas",
    "recommendations": "Recommandations",
    # metadata
    "base_model": "Modèle de base",
    "lora_adapter": "Adaptateur LoRA",
    "device": "Matériel",
    "timestamp": "Date",
    "variants": "Variantes",
    "counts": "Cas",
    "counts_value": "{cases} (catégories : {categories}, résultats : {results})",
    "outcomes": "Issue des tests",
    # tables
    "metric": "Métrique",
    "difference": "Différence",
    "relative": "Relatif",
    "scored": "Notés",
    "category": "Catégorie",
    "case": "Cas",
    "results": "N",
    "all": "Ensemble",
    "short_relevance": "Pert.",
    "short_keywords": "Mots-clés",
    "short_tool": "Outil",
    "short_calls": "Appels",
    "short_cosine": "Cosinus",
    "short_change": "évolution",
    "outcome": "Issue",
    "prompt": "demande",
    "scores": "scores",
    "variant": "Variante",
    "answers": "Réponses",
    "cached": "En cache",
    "latency_median": "Médiane (s)",
    "latency_max": "Maximum (s)",
    "speed": "Jetons/s",
    "tokens": "Jetons",
    "at_limit": "À la limite",
    "timeouts": "Délais",
    "errors": "Erreurs",
    # remarks
    "unscored_note": "Les résultats non notés n'entrent dans aucune moyenne ; « - » : rien n'a été noté.",
    "unscored": "Non notés : {metric} de {variant}, {unscored} sur {total}.",
    "ranked_by": "Classement par la différence de : {metric}.",
    "no_improvements": "Aucun cas ne s'améliore.",
    "no_weaknesses": "Aucune : tous les cas ont une réponse entièrement juste.",
    "weakness_meaning": (
        "{shown} des {total} cas sans réponse entièrement juste : d'abord ceux sans réponse et les faux, par leur"
        " score le"
        " plus bas."
    ),
    "category_note": (
        "Pert. : pertinence moyenne ; Mots-clés : part moyenne trouvée ; Outil : part des bons outils ; Cosinus : "
        "similarité avec les réponses de la base."
    ),
    "timing_note": (
        "La latence va du début du lot d'une réponse à son dernier jeton ; une réponse en cache garde la sienne."
    ),
    # recommendations
    "effective": "Fine-tuning EFFICACE",
    "moderate": "Fine-tuning MODÉRÉ",
    "insufficient": "Fine-tuning INSUFFISANT",
    "graded": "{grade} pour {variant} : {metric} {base} -> {tuned}, {gain} (résultats appariés : {count}).",
    "gain_relative": "{value} en relatif",
    "gain_points": "{value} points sur 100, car une moyenne nulle de la base n'a pas d'amélioration relative",
    "tally": "Résultats : {better} en hausse, {same} inchangés, {worse} en baisse.",
    "no_pairs": (
        "Pas de verdict pour {variant} : aucun résultat n'est noté à la fois pour cette variante et pour la base."
    ),
    "one_variant": (
        "Seule la variante {variant} a répondu : rien à comparer. Lancez une base et un adaptateur pour un verdict."
    ),
    "thresholds": (
        "Seuils d'une amélioration établie, en relatif : efficace au-delà de 10 %, modéré de 5 à 10 %, insuffisant en"
        " dessous de 5 %."
    ),
    "weakest": (
        "Catégorie la plus faible de {variant} : {category} ({metric} {value}). À travailler en premier : des "
        "exemples d'entraînement plus nombreux et plus proches."
    ),
    "contaminated": (
        "{variant} a appris ce qui lui est demandé ici : {near} lignes de {dataset} sont proches des cas. "
        "Ses scores y mesurent la mémoire. Réentraînez sans ces lignes."
    ),
    "left_open": (
        "Le serveur a laissé {count} flux ouverts après la fin de leurs réponses : chaque réponse est chronométrée "
        "jusqu'à sa fin, et chaque flux a coûté une connexion."
    ),
    "other_form": (
        "{variant} lit ses demandes à travers un autre modèle de conversation que la base : une part de l'écart "
        "peut venir de la forme de la demande."
    ),
    "answers_failed": "{count} des {total} réponses de {variant} ont échoué, sans score. La première raison : {reason}",
    "only_thought": (
        "{variant} a passé tout le budget de chacune de ses {total} réponses à réfléchir : elles comptent comme "
        "vides, et ses scores ne disent rien de ce que le modèle sait. Donnez des jetons propres à la réflexion "
        "(generation.max_reasoning_tokens), ou coupez-la (model.template_arguments, enable_thinking: false)."
    ),
    "some_only_thought": (
        "{count} des {total} réponses de {variant} se sont arrêtées avant la fin de la réflexion : elles comptent "
        "comme vides. Donnez des jetons propres à la réflexion (generation.max_reasoning_tokens), ou coupez-la "
        "(model.template_arguments, enable_thinking: false)."
    ),
    "copied_epochs": (
        "{variant} a donné le même texte à chaque répétition des {cases} cas posés plusieurs fois, à la température "
        "{temperature} : le serveur ignore la température ou la graine, ou répond d'un cache à lui. Les répétitions "
        "sont des copies : elles n'apportent rien, intervalles et verdicts reposent sur une réponse par cas."
    ),
    "worse_categories": (
        "{variant} fait moins bien que la base dans : {categories}. À examiner avant la mise en service."
    ),
    "barely_differs": (
        "Les réponses de {variant} diffèrent à peine de celles de la base. Vérifiez que l'entraînement a appris : "
        "perte, taux d'apprentissage, nombre de pas."
    ),
    "description_only": (
        "Ces chiffres décrivent les cas de cette exécution ({count}) et rien de plus. Ce n'est pas un test de "
        "significativité : avec d'autres cas du même genre, la différence pourrait être plus faible, ou inverse."
    ),
    # figure
    "figure_relevance": "{metric} par catégorie",
    "figure_keywords": "Mots-clés trouvés par catégorie",
    "figure_mean_score": "Score moyen",
    "figure_distribution": "Distribution des scores : {metric}",
    "figure_score": "Score",
    "figure_count": "Nombre de résultats",
    "figure_summary": "Résumé",
    "figure_some": " ({shown} sur {total}, plus grand changement)",
    "figure_nothing": "Rien n'a été noté",
    "figure_gain": "{metric} : {gain}",
}

LANGUAGES = {
    "en": ENGLISH
    | verdict_catalogue.ENGLISH
    | judgement_catalogue.ENGLISH
    | routing_catalogue.ENGLISH
    | calls_catalogue.ENGLISH
    | report_catalogue.ENGLISH,
    "fr": FRENCH
    | verdict_catalogue.FRENCH
    | judgement_catalogue.FRENCH
    | routing_catalogue.FRENCH
    | calls_catalogue.FRENCH
    | report_catalogue.FRENCH,
}
