"""The words that all formats of reports share; `catalogue` takes them in."""

from __future__ import annotations

ENGLISH = {
    "interval": "{low} to {high}",
    "in_order": "{place}. {name}",
    "settling_title": "What would settle what is open",
    "trainings_title": "Comparison of trainings",
    "trainings_best": "Best",
    "trend_run": "Run",
    "before_after": "Before -> after",
    "alerts_more": "and {count} more: see the job's summary or the report",
    "effort_answers": "{count} answers",
    "effort_answers_in": "{count} answers in {seconds} s",
    "effort_speed": "{value} tokens/s",
    "effort_cached": "{count} from the cache",
    "unscored_in_short": "Unscored, and left out of the means: {counts}.",
    "unscored_count": "{metric} of {variant} {unscored}/{total}",
    "pass_seconds": "Pass (s)",
    "pass_speed": "Tokens/s of the pass",
    "pass_batches": "Answers at once",
    "pass_note": (
        "Answers shared batches, so that none has a time of its own: shown is each variant's whole pass. Of several"
        " processes it has the seconds of the slowest."
    ),
    "latency_95": "95% (s)",
}

FRENCH = {
    "interval": "{low} à {high}",
    "in_order": "{place}. {name}",
    "settling_title": "Ce qui trancherait ce qui reste ouvert",
    "trainings_title": "Comparaison d'entraînements",
    "trainings_best": "Meilleur",
    "trend_run": "Exécution",
    "before_after": "Avant -> après",
    "alerts_more": "et {count} de plus : voir le résumé du job ou le rapport",
    "effort_answers": "{count} réponses",
    "effort_answers_in": "{count} réponses en {seconds} s",
    "effort_speed": "{value} jetons/s",
    "effort_cached": "{count} du cache",
    "unscored_in_short": "Non notés, et écartés des moyennes : {counts}.",
    "unscored_count": "{metric} de {variant} {unscored}/{total}",
    "pass_seconds": "Passe (s)",
    "pass_speed": "Jetons/s de la passe",
    "pass_batches": "Réponses à la fois",
    "pass_note": (
        "Les réponses ont partagé des lots : aucune n'a de durée propre. Voici la passe entière de chaque variante ; de"
        " plusieurs processus, les secondes du plus lent."
    ),
    "latency_95": "95 % (s)",
}
