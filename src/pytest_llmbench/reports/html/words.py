"""The page's own words, beside those that all reports share. Every language has the same keys and placeholders."""

from __future__ import annotations

import dataclasses

from pytest_llmbench.core.wording import Words, words

_SCRIPT = "js_"
"""Keys that the page's script shows start with this."""

ENGLISH = {
    "thousands": ",",
    "colon": "{name}: {value}",
    "or": " or ",
    "this_run": "this run",
    # frame
    "page_title": "LLM benchmark",
    "skip": "Skip to the cases",
    "theme": "Theme",
    "nav_label": "Sections",
    "nav_verdict": "Verdict",
    "nav_categories": "Categories",
    "nav_routing": "Routing",
    "nav_differences": "Differences",
    "nav_cases": "Cases",
    "nav_trend": "Trend",
    "nav_provenance": "Provenance",
    "heading": "{variants} against {base}",
    "footer": "Made by pytest-llmbench. One file, no network: it can be mailed and archived.",
    # facts
    "fact_cases": "Cases",
    "fact_categories": "Categories",
    "fact_epochs": "Epochs",
    "fact_duration": "Duration",
    "fact_engine": "Engine",
    "fact_commit": "Commit",
    "dirty": " + changes",
    "seconds": "{value} s",
    "gibibytes": "{value} GiB",
    # gate
    "outcome_pass": "Pass",
    "outcome_fail": "Fail",
    "outcome_inconclusive": "Inconclusive",
    "kind_regression": "Regression gate",
    "kind_improvement": "Improvement gate",
    "kind_compare": "Comparison",
    "gates_nothing": "This fails no session: it was only compared, or set to warn.",
    "fails_session": "The session ends with exit code 1.",
    "nothing_compared": "Nothing to compare",
    "gate_against": "Held against",
    "against_baseline": "the same variant in the baseline run",
    "against_base": "its own base in this run",
    "gate_baseline": "Baseline",
    "gate_commit": "Baseline commit",
    "gate_alpha": "Alpha",
    "gate_confidence": "Confidence",
    "verdicts": "Verdicts",
    "verdicts_base": "each fine-tune against its base",
    "verdicts_baseline": "this run against the baseline",
    "verdicts_caption": (
        "Effects are paired means of the same cases, after minus before. The bar is the interval, the mark the effect;"
        " a dashed line is the margin. Not ruled out: the greatest loss that these cases still allow. Smallest"
        " detectable: the effect that this many cases find with 80% power."
    ),
    "verdict_column": "Verdict",
    "before": "Before",
    "after": "After",
    "effect": "Effect",
    "interval_column": "Interval",
    "interval": "{low} to {high}",
    "no_interval": "none: too few pairs",
    "p_adjusted": "p (Holm)",
    "p_title": "unadjusted p: {value}; {method}",
    "pairs": "Cases",
    "detectable": "Smallest detectable",
    "loss_left_open": "not ruled out: {size}",
    "needed": "Would settle it",
    "needed_epochs": "{count} epochs",
    "moved": "Moved most:",
    "no_verdicts": "The gate had nothing to judge.",
    "axis_better_right": "worse ◂ ▸ better",
    "axis_better_left": "better ◂ ▸ worse",
    "notes": "What keeps the two sides from being quite the same",
    "case_names": "Cases ({count})",
    "describes": "What the numbers describe",
    # categories
    "categories_caption": (
        "Means by category. Differences are paired: only cases that are scored for both count, epochs of a case"
        " averaged first."
    ),
    "interval_shown": "Bars are the {confidence} intervals of adapter minus base.",
    "interval_absent": "No interval is drawn: no metric of the comparison is scored for both.",
    "more_metrics": "Other metrics",
    "axis_mean": "Mean",
    "axis_difference": "Difference",
    "difference_of": "{variant} - base",
    "lower_is_better": "lower is better",
    "unscored_counts": "Unscored and left out: {counts}.",
    "better": "improved",
    "same": "unchanged",
    "worse": "worse",
    # differences
    "differences": "Per-case differences",
    "differences_caption": (
        "One step a case, adapter minus base, sorted. The dashed line is the mean, the band its interval where"
        " there is one."
    ),
    "differences_none": "Nothing to draw: no case is scored for both the base and an adapter.",
    "differences_left_out": "{count} more plots are left out; the table below has every case.",
    "plot_summary": "{label}, {adapter}: mean difference {mean}; {better} improved, {same} unchanged, {worse} worse.",
    "plot_axis": "cases, from the lowest difference to the highest",
    "plot_axis_thinned": "cases, sorted; each step stands for several of them",
    "mean_short": "mean",
    # cases
    "cases_noscript": "The table of cases needs JavaScript. The same data is in the run's JSON document.",
    "js_search": "Search",
    "js_search_hint": "words in prompts, answers, names; press /",
    "js_category": "Category",
    "js_adapter": "Adapter",
    "js_metric": "Metric",
    "js_outcome": "Outcome",
    "js_change": "Change",
    "js_finish": "Answers",
    "js_all": "all",
    "js_better": "improved",
    "js_same": "unchanged",
    "js_worse": "worse",
    "js_unpaired": "not comparable",
    "js_finish_length": "cut at the token limit",
    "js_finish_timeout": "timed out",
    "js_finish_error": "failed",
    "js_finish_stop": "ended normally",
    "js_reasoning": "Thinking, not scored",
    "js_reset": "Clear filters",
    "js_open_all": "Open all on this page",
    "js_close_all": "Close all",
    "js_case": "Case",
    "js_difference": "Difference",
    "js_latency": "Latency (s)",
    "js_count": "{shown} of {total} results",
    "js_nothing": "Nothing matches. Clear a filter or search for less.",
    "js_pages": "Page {page} of {pages}",
    "js_first": "First",
    "js_previous": "Previous",
    "js_next": "Next",
    "js_last": "Last",
    "js_pager": "Pages of the table",
    "js_prompt": "Prompt",
    "js_expected": "Expected",
    "js_tool": "Tool",
    "js_keywords": "Keywords",
    "js_reference": "Reference",
    "js_calls": "Calls",
    "js_faults": "What is wrong",
    "js_scores": "Scores",
    "js_unscored": "-",
    "js_empty": "(empty answer)",
    "js_absent": "No answer was recorded.",
    "js_tokens": "{count} tokens",
    "js_seconds": "{value} s",
    "js_cached": "from the cache",
    "js_cut": "Shortened in this report: the run's journal has the whole answer.",
    "js_prompt_cut": "The prompt was truncated to fit the model.",
    "js_legend": "Struck through: only in base. Underlined: only in the adapter's answer.",
    "js_identical": "Both answers are the same, word for word.",
    "js_other_calls": "Both answers have the same words, and make other calls.",
    "js_too_long": "Too long to mark the words that differ.",
    "js_theme_auto": "automatic",
    "js_theme_light": "light",
    "js_theme_dark": "dark",
    "js_printed": "Printed: at most {count} results, with the answers of open rows and of those that got worse.",
    "js_details": "Details of {case}",
    "cases_caption": "Every result with both answers. Open a row with Enter or a click; sort by any column.",
    # trend
    "trend": "Trend over saved runs",
    "trend_caption": "Means of every saved run, oldest first. Marks under the axis are the gates' outcomes.",
    "trend_faded": "Faded marks, with ≠ under them, are runs that asked other cases than this one: not comparable.",
    "trend_none": "No other run is saved yet. Save this one with {option}, and the next report shows the trend.",
    "trend_table": "The same as a table",
    "trend_run": "Run",
    # answers
    "answers_title": "Answers and timing",
    "latency_95": "95% (s)",
    "phases": "Where the time went",
    # provenance
    "prov_run": "Run",
    "prov_model": "Models",
    "prov_code": "Code",
    "prov_machine": "Machine",
    "prov_notes": "Announced during the run",
    "prov_other": "Other",
    "prov_settings": "Settings",
}

FRENCH = {
    "thousands": "\u202f",
    "colon": "{name} : {value}",
    "or": " ou ",
    "this_run": "celle-ci",
    # frame
    "page_title": "Benchmark LLM",
    "skip": "Aller aux cas",
    "theme": "Thème",
    "nav_label": "Sections",
    "nav_verdict": "Verdict",
    "nav_categories": "Catégories",
    "nav_routing": "Outils",
    "nav_differences": "Différences",
    "nav_cases": "Cas",
    "nav_trend": "Évolution",
    "nav_provenance": "Provenance",
    "heading": "{variants} face à {base}",
    "footer": "Produit par pytest-llmbench. Un seul fichier, sans réseau : il s'envoie et s'archive.",
    # facts
    "fact_cases": "Cas",
    "fact_categories": "Catégories",
    "fact_epochs": "Répétitions",
    "fact_duration": "Durée",
    "fact_engine": "Moteur",
    "fact_commit": "Commit",
    "dirty": " + modifications",
    "seconds": "{value} s",
    "gibibytes": "{value} Gio",
    # gate
    "outcome_pass": "Réussi",
    "outcome_fail": "Échec",
    "outcome_inconclusive": "Indécis",
    "kind_regression": "Contrôle de régression",
    "kind_improvement": "Contrôle d'amélioration",
    "kind_compare": "Comparaison",
    "gates_nothing": "Ceci ne fait échouer aucune session : simple comparaison, ou réglée pour avertir.",
    "fails_session": "La session se termine avec le code de sortie 1.",
    "nothing_compared": "Rien à comparer",
    "gate_against": "Comparé à",
    "against_baseline": "la même variante dans l'exécution de référence",
    "against_base": "sa propre base dans cette exécution",
    "gate_baseline": "Référence",
    "gate_commit": "Commit de la référence",
    "gate_alpha": "Alpha",
    "gate_confidence": "Confiance",
    "verdicts": "Verdicts",
    "verdicts_base": "chaque fine-tuning par rapport à sa base",
    "verdicts_baseline": "cette exécution par rapport à la référence",
    "verdicts_caption": (
        "Les effets sont des moyennes appariées sur les mêmes cas, après moins avant. La barre est l'intervalle, la"
        " marque l'effet ; le trait pointillé est la marge. Non exclue : la plus grande perte que ces cas permettent"
        " encore. Plus petit décelable : l'effet que ce nombre de cas trouve avec une puissance de 80 %."
    ),
    "verdict_column": "Verdict",
    "before": "Avant",
    "after": "Après",
    "effect": "Effet",
    "interval_column": "Intervalle",
    "interval": "{low} à {high}",
    "no_interval": "aucun : trop peu de paires",
    "p_adjusted": "p (Holm)",
    "p_title": "p non ajusté : {value} ; {method}",
    "pairs": "Cas",
    "detectable": "Plus petit décelable",
    "loss_left_open": "non exclue : {size}",
    "needed": "Trancherait",
    "needed_epochs": "{count} répétitions",
    "moved": "Ont le plus bougé :",
    "no_verdicts": "Le contrôle n'avait rien à juger.",
    "axis_better_right": "moins bien ◂ ▸ mieux",
    "axis_better_left": "mieux ◂ ▸ moins bien",
    "notes": "Ce qui distingue les deux côtés de la comparaison",
    "case_names": "Cas ({count})",
    "describes": "Ce que les nombres décrivent",
    # categories
    "categories_caption": (
        "Moyennes par catégorie. Les différences sont appariées : seuls comptent les cas notés des deux côtés, les"
        " répétitions d'un cas étant d'abord moyennées."
    ),
    "interval_shown": "Les barres sont les intervalles ({confidence}) de l'adaptateur moins la base.",
    "interval_absent": "Aucun intervalle : aucune métrique de la comparaison n'est notée des deux côtés.",
    "more_metrics": "Autres métriques",
    "axis_mean": "Moyenne",
    "axis_difference": "Différence",
    "difference_of": "{variant} - base",
    "lower_is_better": "plus bas est mieux",
    "unscored_counts": "Non notés, donc écartés : {counts}.",
    "better": "en hausse",
    "same": "inchangés",
    "worse": "en baisse",
    # differences
    "differences": "Différences cas par cas",
    "differences_caption": (
        "Une marche par cas, adaptateur moins base, triées. Le trait pointillé est la moyenne, la bande son intervalle"
        " quand il y en a un."
    ),
    "differences_none": "Rien à tracer : aucun cas n'est noté à la fois pour la base et pour un adaptateur.",
    "differences_left_out": "{count} graphiques de plus sont omis ; le tableau ci-dessous a tous les cas.",
    "plot_summary": (
        "{label}, {adapter} : différence moyenne {mean} ; {better} en hausse, {same} inchangés, {worse} en baisse."
    ),
    "plot_axis": "cas, de la plus petite différence à la plus grande",
    "plot_axis_thinned": "cas, triés ; chaque marche en représente plusieurs",
    "mean_short": "moyenne",
    # cases
    "cases_noscript": (
        "Le tableau des cas demande JavaScript. Les mêmes données sont dans le document JSON de l'exécution."
    ),
    "js_search": "Recherche",
    "js_search_hint": "mots des demandes, réponses, noms ; touche /",
    "js_category": "Catégorie",
    "js_adapter": "Adaptateur",
    "js_metric": "Métrique",
    "js_outcome": "Issue",
    "js_change": "Évolution",
    "js_finish": "Réponses",
    "js_all": "tout",
    "js_better": "en hausse",
    "js_same": "inchangé",
    "js_worse": "en baisse",
    "js_unpaired": "non comparable",
    "js_finish_length": "coupée à la limite de jetons",
    "js_finish_timeout": "hors délai",
    "js_finish_error": "en échec",
    "js_finish_stop": "fin normale",
    "js_reasoning": "Réflexion, hors score",
    "js_reset": "Effacer les filtres",
    "js_open_all": "Ouvrir toute la page",
    "js_close_all": "Tout fermer",
    "js_case": "Cas",
    "js_difference": "Différence",
    "js_latency": "Latence (s)",
    "js_count": "{shown} résultats sur {total}",
    "js_nothing": "Rien ne correspond. Effacez un filtre ou cherchez moins de mots.",
    "js_pages": "Page {page} sur {pages}",
    "js_first": "Début",
    "js_previous": "Précédent",
    "js_next": "Suivant",
    "js_last": "Fin",
    "js_pager": "Pages du tableau",
    "js_prompt": "Demande",
    "js_expected": "Attendu",
    "js_tool": "Outil",
    "js_keywords": "Mots-clés",
    "js_reference": "Référence",
    "js_calls": "Appels",
    "js_faults": "Ce qui est faux",
    "js_scores": "Scores",
    "js_unscored": "-",
    "js_empty": "(réponse vide)",
    "js_absent": "Aucune réponse n'a été enregistrée.",
    "js_tokens": "{count} jetons",
    "js_seconds": "{value} s",
    "js_cached": "en cache",
    "js_cut": "Abrégée dans ce rapport : le journal de l'exécution a la réponse entière.",
    "js_prompt_cut": "La demande a été tronquée pour tenir dans le modèle.",
    "js_legend": "Barré : seulement dans la base. Souligné : seulement dans la réponse de l'adaptateur.",
    "js_identical": "Les deux réponses sont les mêmes, mot pour mot.",
    "js_other_calls": "Les deux réponses ont les mêmes mots, et font d'autres appels.",
    "js_too_long": "Trop long pour marquer les mots qui diffèrent.",
    "js_theme_auto": "automatique",
    "js_theme_light": "clair",
    "js_theme_dark": "sombre",
    "js_printed": (
        "Imprimés : {count} résultats au plus, avec les réponses des lignes ouvertes et de celles qui sont en baisse."
    ),
    "js_details": "Détail de {case}",
    "cases_caption": (
        "Tous les résultats avec les deux réponses. Entrée ou un clic ouvre une ligne ; chaque colonne se trie."
    ),
    # trend
    "trend": "Évolution sur les exécutions enregistrées",
    "trend_caption": (
        "Moyennes de chaque exécution enregistrée, de la plus ancienne à la plus récente. Sous l'axe : l'issue du"
        " contrôle."
    ),
    "trend_faded": (
        "Les marques pâles, avec ≠ en dessous, sont des exécutions aux autres cas que celle-ci : non comparables."
    ),
    "trend_none": (
        "Aucune autre exécution enregistrée. Enregistrez celle-ci avec {option} : le prochain rapport aura l'évolution."
    ),
    "trend_table": "Les mêmes en tableau",
    "trend_run": "Exécution",
    # answers
    "answers_title": "Réponses et temps",
    "latency_95": "95 % (s)",
    "phases": "Où le temps est passé",
    # provenance
    "prov_run": "Exécution",
    "prov_model": "Modèles",
    "prov_code": "Code",
    "prov_machine": "Machine",
    "prov_notes": "Annoncé pendant l'exécution",
    "prov_other": "Autres",
    "prov_settings": "Réglages",
}

_LANGUAGES = {"en": ENGLISH, "fr": FRENCH}


@dataclasses.dataclass(frozen=True, slots=True)
class PageWords(Words):
    """The words of all reports and of this one; counts carry a mark between thousands."""

    def note(self, kind: str) -> str:
        """The heading of a gate's note; a kind that this version does not know keeps its name."""
        return self.texts.get(f"note_{kind}", kind)


def page_words(language: str) -> PageWords:
    """The page's words in `en` or `fr`. Raises UsageError for another language."""
    shared = words(language).texts
    return PageWords(language, {**shared, **_LANGUAGES[language]})


def script_texts(say: Words) -> dict[str, str]:
    """What the script says, placeholders and all, without the prefix of its keys."""
    return {key.removeprefix(_SCRIPT): text for key, text in say.texts.items() if key.startswith(_SCRIPT)} | {
        "thousands": say.texts["thousands"]
    }
