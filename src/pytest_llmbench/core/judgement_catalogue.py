"""The words of what a report says first, and of what is to be known beside its scores; `catalogue` takes them in."""

from __future__ import annotations

ENGLISH = {
    "language": "en",
    "verdict_title": "Verdict",
    "no_verdict": "NO VERDICT",
    "cut_short": "CUT SHORT: {results} of {planned} results. A part of a run has no verdict.",
    "cut_by_limit": "LIMITED to the first cases ({cases}, benchmark.limit). A part of the cases has no verdict.",
    "nothing_judged": "NO VERDICT: no metric that judges is scored for both the base and a fine-tune.",
    "not_compared": "NO VERDICT: this document was not held against its base.",
    "others_pass": "Better too: {metrics}.",
    "others_fail": "Worse: {metrics}.",
    "others_inconclusive": "No change shown: {metrics}.",
    "silent_categories": (
        "Category by category nothing is shown for {count} of {total} questions: {metrics}. They have too few cases, or"
        " changed too little."
    ),
    "silent_metric": "{metric} in {count} of {total}",
    # beside the scores
    "cut_length": (
        "{count} of {total} answers of {variant} were cut at the token limit: their scores judge the beginning"
        " alone, and"
        " are lower for it (generation.max_new_tokens)."
    ),
    "cut_timeout": (
        "{count} of {total} answers of {variant} ran out of time: their scores judge what there was by then, and"
        " are lower"
        " for it (generation.timeout)."
    ),
    "relevance_saturates": (
        "Relevance is full from 30% of a tool's terms on: one of three is enough, and more makes no difference."
    ),
    "batched_speed": (
        "Latency and tokens per second are no comparison here: answers shared batches of up to {batch}, where a"
        " short one"
        " waits for the long ones beside it. Ask one at a time for that (generation.batch_size: 1)."
    ),
    "cosine_similar": (
        "Mean cosine similarity of {variant} to the base {value}, of answers to different cases {unrelated}: little has"
        " changed."
    ),
    "cosine_adapted": (
        "Mean cosine similarity of {variant} to the base {value}, of answers to different cases {unrelated}: a visible"
        " adaptation."
    ),
    "cosine_different": (
        "Mean cosine similarity of {variant} to the base {value}, of answers to different cases {unrelated}: hardly"
        " nearer to the base's answer than to one to another question."
    ),
    "judged_above": "The verdict says what these cases prove of others of their kind; the tables describe these cases.",
    "gain": "{variant}: {metric} {base} -> {tuned}, {gain} (paired results: {count}).",
    # timings
    "phase_total_s": "the whole session",
    "phase_load_s": "loading",
    "phase_collection_s": "collection",
    "phase_generation_s": "generation",
    "phase_scoring_s": "scoring",
    "phase_gate_s": "gate",
    "phase_reports_s": "reports",
    "phase_other_s": "the rest (start, collection, tests, reports)",
    # settings
    "settings_changed": "Settings that differ from their defaults",
    "settings_default": "all settings have their defaults",
}

FRENCH = {
    "language": "fr",
    "verdict_title": "Verdict",
    "no_verdict": "PAS DE VERDICT",
    "cut_short": "INTERROMPUE : {results} résultats sur {planned}. Une partie d'exécution n'a pas de verdict.",
    "cut_by_limit": ("LIMITÉE aux premiers cas ({cases}, benchmark.limit). Une partie des cas n'a pas de verdict."),
    "nothing_judged": "PAS DE VERDICT : aucune métrique qui juge n'est notée à la fois pour la base et un fine-tuning.",
    "not_compared": "PAS DE VERDICT : ce document n'a pas été comparé à sa base.",
    "others_pass": "Mieux aussi : {metrics}.",
    "others_fail": "Moins bien : {metrics}.",
    "others_inconclusive": "Aucun écart établi : {metrics}.",
    "silent_categories": (
        "Catégorie par catégorie, rien n'est établi pour {count} questions sur {total} : {metrics}. Elles ont trop"
        " peu de"
        " cas, ou ont trop peu changé."
    ),
    "silent_metric": "{metric} dans {count} sur {total}",
    # beside the scores
    "cut_length": (
        "{count} des {total} réponses de {variant} sont coupées à la limite de jetons : leurs scores ne jugent que le"
        " début, et en sont plus bas (generation.max_new_tokens)."
    ),
    "cut_timeout": (
        "{count} des {total} réponses de {variant} ont dépassé le délai : leurs scores jugent ce qui existait alors, et"
        " en sont plus bas (generation.timeout)."
    ),
    "relevance_saturates": (
        "La pertinence est entière dès 30 % des termes d'un outil : un sur trois suffit, et davantage ne change rien."
    ),
    "batched_speed": (
        "Latence et jetons par seconde ne se comparent pas ici : les réponses partageaient des lots de {batch} au plus,"
        " où une réponse courte attend les longues. Posez une question à la fois pour cela (generation.batch_size: 1)."
    ),
    "cosine_similar": (
        "Similarité cosinus moyenne de {variant} avec la base {value}, entre réponses à des cas différents"
        " {unrelated} :"
        " peu de changement."
    ),
    "cosine_adapted": (
        "Similarité cosinus moyenne de {variant} avec la base {value}, entre réponses à des cas différents"
        " {unrelated} :"
        " adaptation visible."
    ),
    "cosine_different": (
        "Similarité cosinus moyenne de {variant} avec la base {value}, entre réponses à des cas différents"
        " {unrelated} :"
        " à peine plus proche de la réponse de la base que de celle à une autre demande."
    ),
    "judged_above": (
        "Le verdict dit ce que ces cas prouvent pour d'autres du même genre ; les tableaux décrivent ces cas-ci."
    ),
    "gain": "{variant} : {metric} {base} -> {tuned}, {gain} (résultats appariés : {count}).",
    # timings
    "phase_total_s": "toute la session",
    "phase_load_s": "chargement",
    "phase_collection_s": "collecte",
    "phase_generation_s": "génération",
    "phase_scoring_s": "notation",
    "phase_gate_s": "contrôle",
    "phase_reports_s": "rapports",
    "phase_other_s": "le reste (démarrage, collecte, tests, rapports)",
    # settings
    "settings_changed": "Réglages qui diffèrent de leurs valeurs par défaut",
    "settings_default": "tous les réglages ont leurs valeurs par défaut",
}
