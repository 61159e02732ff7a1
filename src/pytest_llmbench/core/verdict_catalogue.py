"""The words of gates, trends and case differences in each language; `catalogue` takes them in."""

from __future__ import annotations

ENGLISH = {
    "gate_pass": "PASS",
    "gate_fail": "FAIL",
    "gate_inconclusive": "INCONCLUSIVE",
    "gate_labelled": "{label}: {text}",
    "gate_and": "{text}; {more}",
    "gate_not_gated": "no gate",
    "gate_regression": "regression gate against {against}",
    "gate_improvement": "improvement gate against {against}",
    "gate_compare": "comparison with {against}",
    "gate_compare_pass": "BETTER",
    "gate_compare_fail": "WORSE",
    "gate_compare_inconclusive": "NO CHANGE SHOWN",
    "gate_against_base": "each adapter's own base",
    "gate_against_baseline": "baseline {name}",
    "gate_against_missing": "a baseline that is missing",
    "gate_failed": "the session fails",
    "gate_allowed": "the session does not fail for it",
    "gate_subject": "{metric} of {variant}",
    "gate_subject_category": "{metric} of {variant} in {category}",
    "gate_evidence": "{subject}: {before} -> {after}, {effect} ({interval}p {p}, n = {cases})",
    "gate_interval": "{percent} interval {low} to {high}, ",
    "gate_p_meaning": (
        "p, {side}, is adjusted for all that is tested here (Holm) and held against alpha {alpha}; the interval"
        " ({confidence}) is of the mean change."
    ),
    "gate_p_regression": "the chance of such a fall where nothing got worse",
    "gate_p_improvement": "the chance of such a gain where nothing got better",
    "gate_p_compare": "the chance of such a change where nothing changed",
    "gate_settled_by_cases": "about {cases} would settle it",
    "gate_settled_by_epochs": "{epochs} epochs would settle it",
    "gate_settled_by_both": "about {cases}, or {epochs} epochs, would settle it",
    "gate_one_case": "one case is too few for a verdict; add cases",
    "gate_no_cases": "no case is scored on both sides",
    "gate_not_known": "how many cases would settle it cannot be told",
    "gate_detectable": "with these {cases} a {direction} of {size} would have been found (4 times in 5)",
    "gate_not_ruled_out": "; a {direction} by up to {size} is not ruled out",
    "gate_drop": "drop",
    "gate_rise": "rise",
    "count_cases": "{count} cases",
    "count_cases_one": "{count} case",
    "count_groups": "{count} groups",
    "count_groups_one": "{count} group",
    "count_in_groups": "in {groups} groups",
    "count_needed_range": "{least} to {most}",
    "count_needed_at_best": "{least} at best, at worst no number of them",
    "gate_moved": "moved most in {subject}",
    "gate_more": "and {count} more",
    # why a gate came to its outcome
    "reason_told": "{subject} went from {before} to {after} ({interval}{p}{cases})",
    "reason_interval": "95% interval of the change {low} to {high}, ",
    "reason_p": "p {p}, ",
    "reason_worse": "{told}",
    "reason_worse_more": "{told}, and {count} more got worse",
    "reason_unchanged": "no score changed in any case{left_open}",
    "reason_left_open_unchanged": "; with {cases}, a loss in up to {share} of such is not ruled out",
    "reason_not_worse": "nothing got worse by more than its margin: {told}",
    "reason_better": "better, and nothing worse: {told}",
    "reason_category_in_doubt": (
        "{category} may have got worse by more than its margin, on too few cases to tell: {told}"
    ),
    "reason_category_in_doubt_more": "{told}; so may {count} more in the table",
    "reason_not_shown_regression": (
        "neither a regression nor its absence could be shown from these cases: {told}{left_open}"
    ),
    "reason_not_shown_improvement": "no improvement could be shown from these cases: {told}{left_open}",
    "reason_not_shown_compare": "no change could be shown from these cases: {told}{left_open}",
    "reason_nothing_compared": "nothing could be compared: no metric of the gate is scored on both sides",
    "reason_no_baseline": "there is no baseline '{name}' yet: nothing was compared",
    "reason_cached_alone": (
        "it passes on remembered answers alone, which prove nothing of the model that the server has now; ask anew with"
        " generation.cache: false"
    ),
    # what a note says
    "noted_more": "{cases} and {count} more",
    "noted_missing_in_run": "{count} cases of the baseline not in this run, and not compared: {cases}",
    "noted_missing_in_run_one": "1 case of the baseline not in this run, and not compared: {cases}",
    "noted_missing_in_baseline": "{count} cases of this run not in the baseline, and not compared: {cases}",
    "noted_missing_in_baseline_one": "1 case of this run not in the baseline, and not compared: {cases}",
    "noted_variant_missing_in_run": "{variant} is not in the run, and was not compared",
    "noted_variant_missing_in_baseline": "{variant} is not in the baseline, and was not compared",
    "noted_changed_prompt": (
        "{count} cases whose prompt or expectation changed since, and compared all the same: {cases}"
    ),
    "noted_changed_prompt_one": "1 case whose prompt or expectation changed since, and compared all the same: {cases}",
    "noted_changed_vocabulary": "other vocabulary than the baseline's: {changes}",
    "noted_changed_settings": "other settings than the baseline's: {changes}",
    "noted_changed_model": "other model than the baseline's: {changes}",
    "noted_changed_hardware": "other hardware than the baseline's: {changes}",
    "noted_changed_libraries": "other libraries than the baseline's: {changes}",
    "noted_no_fine_tune_in_run": "this run has no fine-tune: the bases were compared",
    "noted_no_fine_tune_in_baseline": "the baseline has no fine-tune: the bases were compared",
    "noted_unscored": "{metric} of {variant} is not scored alike ({before} answers before, {after} after): {cases}",
    "noted_unmeasured": "{metric} was not measured, and not compared: it is off, or has another name",
    "noted_lost": (
        "{metric} of {variant}: answers were lost to errors and time-outs, {before} before and {after} after, and"
        " count as {worst}, the worst score, on the side that lost them: {cases}"
    ),
    "noted_no_baseline": "there is no baseline '{name}' yet: nothing was compared",
    "noted_confirmed": (
        "{metric} of {variant} went from {before} to {after}; both sides were asked again with fresh seeds, fell again,"
        " and these verdicts are of those answers"
    ),
    "noted_unconfirmed": (
        "{metric} of {variant} went from {before} to {after}; both sides were asked again with fresh seeds, which did"
        " not confirm it, and these verdicts are of those answers"
    ),
    "noted_confirmation_failed": "it could not be confirmed with fresh answers, so the first ones decide: {error}",
    # titles of notes
    "note_lost": "Lost answers",
    "note_confirmed": "Confirmed",
    "note_unconfirmed": "Not confirmed",
    "note_confirmation_failed": "Confirmation failed",
    "note_missing_in_run": "Cases missing in this run",
    "note_missing_in_baseline": "Cases that the baseline lacks",
    "note_changed_prompt": "Changed prompts",
    "note_changed_vocabulary": "Changed vocabulary",
    "note_changed_settings": "Changed settings",
    "note_changed_model": "Changed model",
    "note_changed_hardware": "Changed hardware",
    "note_changed_libraries": "Changed libraries",
    "note_unscored": "Unscored cases",
    "note_cached": "Answers from the cache",
    "note_cached_alone": "No pass on answers from the cache",
    "note_no_baseline": "No baseline",
    "cached_answers": (
        "{count} of {total} answers of {variant} come from the completion cache, the oldest of {since}: they are known "
        "by the model's name alone, and the server may have other weights behind it by now (generation.cache: false "
        "asks anew)."
    ),
    # Markdown
    "markdown_verdict": "Verdict",
    "markdown_change": "Change",
    "markdown_interval": "{percent} interval",
    "markdown_before_after": "Before → after",
    "markdown_categories": "By category",
    "markdown_moved": "Cases that moved most",
    "markdown_notes": "What keeps the two sides from being quite the same",
    "markdown_provenance": "Provenance",
    "markdown_description": "Benchmark of {model}, not gated",
    "markdown_answer": "answer of {variant}",
    "markdown_no_answer": "no answer",
    "markdown_shortened": "Shortened: the whole report is in the run's own files.",
    "markdown_commit": "Commit",
    "markdown_dirty": "with uncommitted changes",
    "markdown_baseline": "Baseline",
    "markdown_method": "Method",
    "markdown_versions": "Versions",
    "markdown_engine": "Engine",
    "markdown_seed": "Seed",
    # figures
    "difference_title": "Change of each case: {base} → {variant}",
    "difference_axis": "Change of the score",
    "difference_cases": "Cases, sorted by change",
    "difference_tally": "{better} better, {same} same, {worse} worse",
    "difference_unscored": "{count} unscored, left out",
    "difference_mean": "Mean",
    "difference_interval": "Mean {mean}, {percent} interval {low} to {high}, n = {cases}",
    "difference_no_interval": "Mean {mean}, no interval, n = {cases}",
    "trend_title": "Trend over the saved runs ({count})",
    "trend_mean": "Mean",
    "trend_runs": "Run, oldest first",
    "trend_not_comparable": "other cases: not comparable",
    "trend_drift": "since {baseline}, at every look",
    "trend_variants_left_out": "{shown} of {total} variants, the latest",
}

FRENCH = {
    "gate_pass": "RÉUSSI",
    "gate_fail": "ÉCHEC",
    "gate_inconclusive": "INDÉCIS",
    "gate_labelled": "{label} : {text}",
    "gate_and": "{text} ; {more}",
    "gate_not_gated": "sans contrôle",
    "gate_regression": "contrôle de régression, par rapport à {against}",
    "gate_improvement": "contrôle d'amélioration, par rapport à {against}",
    "gate_compare": "comparaison avec {against}",
    "gate_compare_pass": "MEILLEUR",
    "gate_compare_fail": "MOINS BON",
    "gate_compare_inconclusive": "AUCUN ÉCART ÉTABLI",
    "gate_against_base": "la base de chaque adaptateur",
    "gate_against_baseline": "la référence {name}",
    "gate_against_missing": "une référence qui manque",
    "gate_failed": "la session échoue",
    "gate_allowed": "la session n'échoue pas pour autant",
    "gate_subject": "{metric} de {variant}",
    "gate_subject_category": "{metric} de {variant} dans {category}",
    "gate_evidence": "{subject} : {before} -> {after}, {effect} ({interval}p {p}, n = {cases})",
    "gate_interval": "intervalle à {percent} de {low} à {high}, ",
    "gate_p_meaning": (
        "p, {side}, est corrigé pour tout ce qui est testé ici (Holm) et comparé à alpha {alpha} ;"
        " l'intervalle ({confidence}) est celui du changement moyen."
    ),
    "gate_p_regression": "la probabilité d'une telle baisse si rien n'a empiré",
    "gate_p_improvement": "la probabilité d'un tel gain si rien ne s'est amélioré",
    "gate_p_compare": "la probabilité d'un tel écart si rien n'a changé",
    "gate_settled_by_cases": "environ {cases} trancheraient",
    "gate_settled_by_epochs": "{epochs} répétitions trancheraient",
    "gate_settled_by_both": "environ {cases}, ou {epochs} répétitions, trancheraient",
    "gate_one_case": "un seul cas ne suffit pas pour un verdict ; ajoutez des cas",
    "gate_no_cases": "aucun cas n'est noté des deux côtés",
    "gate_not_known": "on ne peut pas dire combien de cas trancheraient",
    "gate_detectable": "avec ces {cases} cas, une {direction} de {size} aurait été trouvée (4 fois sur 5)",
    "gate_not_ruled_out": " ; une {direction} allant jusqu'à {size} n'est pas exclue",
    "gate_drop": "baisse",
    "gate_rise": "hausse",
    "count_cases": "{count} cas",
    "count_cases_one": "{count} cas",
    "count_groups": "{count} groupes",
    "count_groups_one": "{count} groupe",
    "count_in_groups": "en {groups} groupes",
    "count_needed_range": "{least} à {most}",
    "count_needed_at_best": "{least} au mieux ; au pire, aucun nombre",
    "gate_moved": "plus grands changements pour {subject}",
    "gate_more": "et {count} de plus",
    # why a gate came to its outcome
    "reason_told": "{subject} : de {before} à {after} ({interval}{p}{cases})",
    "reason_interval": "intervalle à 95 % du changement de {low} à {high}, ",
    "reason_p": "p {p}, ",
    "reason_worse": "baisse établie, {told}",
    "reason_worse_more": "{told}, et {count} autres ont empiré",
    "reason_unchanged": "aucun score n'a changé dans aucun cas{left_open}",
    "reason_left_open_unchanged": " ; avec {cases}, une perte dans {share} de tels cas au plus n'est pas exclue",
    "reason_not_worse": "rien n'a empiré au-delà de sa marge ; {told}",
    "reason_better": "mieux, et rien de pire ; {told}",
    "reason_category_in_doubt": (
        "{category} a peut-être empiré au-delà de sa marge, avec trop peu de cas pour en juger ; {told}"
    ),
    "reason_category_in_doubt_more": "{told} ; {count} autres du tableau aussi",
    "reason_not_shown_regression": "ces cas ne montrent ni une régression ni son absence ; {told}{left_open}",
    "reason_not_shown_improvement": "ces cas ne montrent aucune amélioration ; {told}{left_open}",
    "reason_not_shown_compare": "ces cas ne montrent aucun écart ; {told}{left_open}",
    "reason_nothing_compared": "rien n'a pu être comparé : aucune mesure du contrôle n'est notée des deux côtés",
    "reason_no_baseline": "il n'y a pas encore de référence « {name} » : rien n'a été comparé",
    "reason_cached_alone": (
        "la réussite ne tient qu'à des réponses gardées en mémoire, qui ne prouvent rien du modèle que le serveur a "
        "maintenant ; reposez les questions avec generation.cache: false"
    ),
    # what a note says
    "noted_more": "{cases} et {count} de plus",
    "noted_missing_in_run": "{count} cas de la référence absents de cette exécution, et non comparés : {cases}",
    "noted_missing_in_run_one": "1 cas de la référence absent de cette exécution, et non comparé : {cases}",
    "noted_missing_in_baseline": "{count} cas de cette exécution absents de la référence, et non comparés : {cases}",
    "noted_missing_in_baseline_one": "1 cas de cette exécution absent de la référence, et non comparé : {cases}",
    "noted_variant_missing_in_run": "{variant} manque dans cette exécution et n'a pas été comparé",
    "noted_variant_missing_in_baseline": "{variant} manque dans la référence et n'a pas été comparé",
    "noted_changed_prompt": "{count} cas dont la demande ou l'attente a changé depuis, comparés malgré tout : {cases}",
    "noted_changed_prompt_one": "1 cas dont la demande ou l'attente a changé depuis, comparé malgré tout : {cases}",
    "noted_changed_vocabulary": "le vocabulaire n'est pas celui de la référence : {changes}",
    "noted_changed_settings": "les réglages ne sont pas ceux de la référence : {changes}",
    "noted_changed_model": "le modèle n'est pas celui de la référence : {changes}",
    "noted_changed_hardware": "le matériel n'est pas celui de la référence : {changes}",
    "noted_changed_libraries": "les bibliothèques ne sont pas celles de la référence : {changes}",
    "noted_no_fine_tune_in_run": "cette exécution n'a pas de modèle affiné : les bases ont été comparées",
    "noted_no_fine_tune_in_baseline": "la référence n'a pas de modèle affiné : les bases ont été comparées",
    "noted_unscored": (
        "{metric} de {variant} n'est pas noté pareillement ({before} réponses avant, {after} après) : {cases}"
    ),
    "noted_unmeasured": "{metric} n'a pas été mesuré, ni comparé : la mesure est coupée, ou porte un autre nom",
    "noted_lost": (
        "{metric} de {variant} : des réponses ont été perdues (erreurs, délais dépassés), {before} avant et {after}"
        " après ; elles comptent {worst}, le pire score, du côté qui les a perdues : {cases}"
    ),
    "noted_no_baseline": "il n'y a pas encore de référence « {name} » : rien n'a été comparé",
    "noted_confirmed": (
        "{metric} de {variant} : de {before} à {after} ; les deux côtés ont répondu de nouveau, avec de nouvelles"
        " graines, la baisse s'est répétée, et ces verdicts portent sur ces réponses"
    ),
    "noted_unconfirmed": (
        "{metric} de {variant} : de {before} à {after} ; les deux côtés ont répondu de nouveau, avec de nouvelles"
        " graines, ce qui ne l'a pas confirmé, et ces verdicts portent sur ces réponses"
    ),
    "noted_confirmation_failed": (
        "la confirmation par de nouvelles réponses a échoué, les premières décident donc : {error}"
    ),
    # titles of notes
    "note_lost": "Réponses perdues",
    "note_confirmed": "Confirmé",
    "note_unconfirmed": "Non confirmé",
    "note_confirmation_failed": "Confirmation impossible",
    "note_missing_in_run": "Cas absents de cette exécution",
    "note_missing_in_baseline": "Cas absents de la référence",
    "note_changed_prompt": "Demandes modifiées",
    "note_changed_vocabulary": "Vocabulaire modifié",
    "note_changed_settings": "Réglages modifiés",
    "note_changed_model": "Modèle modifié",
    "note_changed_hardware": "Matériel modifié",
    "note_changed_libraries": "Bibliothèques modifiées",
    "note_unscored": "Cas non notés",
    "note_cached": "Réponses du cache",
    "note_cached_alone": "Pas de réussite sur des réponses du cache",
    "note_no_baseline": "Pas de référence",
    "cached_answers": (
        "{count} réponses sur {total} de {variant} viennent du cache, la plus ancienne du {since} : seul le nom du "
        "modèle les identifie, et le serveur peut avoir d'autres poids derrière ce nom aujourd'hui "
        "(generation.cache: false les repose)."
    ),
    # Markdown
    "markdown_verdict": "Verdict",
    "markdown_change": "Changement",
    "markdown_interval": "Intervalle à {percent}",
    "markdown_before_after": "Avant → après",
    "markdown_categories": "Par catégorie",
    "markdown_moved": "Cas qui ont le plus changé",
    "markdown_notes": "Ce qui empêche les deux côtés d'être tout à fait pareils",
    "markdown_provenance": "Provenance",
    "markdown_description": "Benchmark de {model}, sans contrôle",
    "markdown_answer": "réponse de {variant}",
    "markdown_no_answer": "pas de réponse",
    "markdown_shortened": "Abrégé : le rapport entier est dans les fichiers de l'exécution.",
    "markdown_commit": "Commit",
    "markdown_dirty": "avec des modifications non validées",
    "markdown_baseline": "Référence",
    "markdown_method": "Méthode",
    "markdown_versions": "Versions",
    "markdown_engine": "Moteur",
    "markdown_seed": "Graine",
    # figures
    "difference_title": "Changement de chaque cas : {base} → {variant}",
    "difference_axis": "Changement du score",
    "difference_cases": "Cas, triés par changement",
    "difference_tally": "{better} meilleurs, {same} inchangés, {worse} moins bons",
    "difference_unscored": "{count} non notés, laissés de côté",
    "difference_mean": "Moyenne",
    "difference_interval": "Moyenne {mean}, intervalle à {percent} de {low} à {high}, n = {cases}",
    "difference_no_interval": "Moyenne {mean}, sans intervalle, n = {cases}",
    "trend_title": "Évolution sur les exécutions enregistrées ({count})",
    "trend_mean": "Moyenne",
    "trend_runs": "Exécution, de la plus ancienne à la plus récente",
    "trend_not_comparable": "autres cas : non comparable",
    "trend_drift": "depuis {baseline}, à chaque regard",
    "trend_variants_left_out": "{shown} variantes sur {total}, les plus récentes",
}
