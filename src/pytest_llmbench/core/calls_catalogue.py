"""The words of tool calls, made and expected, and of what is wrong with them; `catalogue` takes them in."""

from __future__ import annotations

ENGLISH = {
    "calls_title": "Tool calls",
    "calls_expected": "expected calls",
    "calls_made": "calls of {variant}",
    "calls_wrong": "faults of {variant}",
    "calls_any": "any call",
    "calls_none": "no call",
    "calls_unreadable": "{tool}(…), unreadable: {text}",
    "calls_or": " or ",
    "calls_optional": "nothing",
    "calls_more": "{text}, and {count} more",
    "calls_summary": "{variant}: {right} of {total} answers make the expected calls.",
    "calls_summary_faults": "{variant}: {right} of {total} answers make the expected calls. Faults: {faults}.",
    "calls_counted": "{fault} {count}",
    "calls_note": (
        "Calls are right when tools, arguments and their values are as expected, in any order. An answer may have"
        " several faults."
    ),
    "calls_left_out": (
        "The tools of {count} of {total} answers of {variant} did not reach the model, so that their calls are"
        " unscored: {reason}"
    ),
    "category_note_calls": (
        "Rel. is mean relevance, Keywords the mean share found, Tool the tool accuracy, Calls the share of answers that"
        " make the expected calls, Cosine the similarity to the base's answers."
    ),
    # what is wrong
    "fault_wrong_tool": "wrong tool",
    "fault_unknown_tool": "unknown tool",
    "fault_no_tool_named": "no tool named",
    "fault_missing_argument": "missing argument",
    "fault_unexpected_argument": "unexpected argument",
    "fault_wrong_type": "wrong type",
    "fault_wrong_value": "wrong value",
    "fault_missing_call": "missing call",
    "fault_extra_call": "extra call",
    "fault_unreadable_call": "unreadable call",
    "fault_tools_left_out": "tools left out",
    "fault_at": "{fault} {place}",
    "fault_found": "{fault}: {found}",
    "fault_instead": "{fault}, expected {expected}",
}

FRENCH = {
    "calls_title": "Appels d'outils",
    "calls_expected": "appels attendus",
    "calls_made": "appels de {variant}",
    "calls_wrong": "fautes de {variant}",
    "calls_any": "un appel quelconque",
    "calls_none": "aucun appel",
    "calls_unreadable": "{tool}(…), illisible : {text}",
    "calls_or": " ou ",
    "calls_optional": "rien",
    "calls_more": "{text}, et {count} de plus",
    "calls_summary": "{variant} : {right} réponses sur {total} font les appels attendus.",
    "calls_summary_faults": "{variant} : {right} réponses sur {total} font les appels attendus. Fautes : {faults}.",
    "calls_counted": "{fault} {count}",
    "calls_note": (
        "Les appels sont justes quand les outils, les arguments et leurs valeurs sont ceux attendus, dans n'importe"
        " quel ordre. Une réponse peut avoir plusieurs fautes."
    ),
    "calls_left_out": (
        "Les outils de {count} des {total} réponses de {variant} ne sont pas parvenus au modèle, leurs appels ne sont"
        " donc pas notés : {reason}"
    ),
    "category_note_calls": (
        "Pert. : pertinence moyenne ; Mots-clés : part moyenne trouvée ; Outil : part des bons outils ; Appels : part"
        " des réponses qui font les appels attendus ; Cosinus : similarité avec les réponses de la base."
    ),
    # what is wrong
    "fault_wrong_tool": "mauvais outil",
    "fault_unknown_tool": "outil inconnu",
    "fault_no_tool_named": "aucun outil nommé",
    "fault_missing_argument": "argument manquant",
    "fault_unexpected_argument": "argument inattendu",
    "fault_wrong_type": "mauvais type",
    "fault_wrong_value": "mauvaise valeur",
    "fault_missing_call": "appel manquant",
    "fault_extra_call": "appel de trop",
    "fault_unreadable_call": "appel illisible",
    "fault_tools_left_out": "outils non transmis",
    "fault_at": "{fault} {place}",
    "fault_found": "{fault} : {found}",
    "fault_instead": "{fault}, attendu {expected}",
}
