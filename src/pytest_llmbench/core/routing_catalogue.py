"""The words of routing tables and matrices in each language; `catalogue` takes them in."""

from __future__ import annotations

ENGLISH = {
    "routing": "Routing",
    "routing_none": "no tool",
    "routing_unknown": "unknown tool",
    "routing_others": "{count} others",
    "routing_tool": "Tool",
    "routing_support": "N",
    "routing_precision": "Prec.",
    "routing_recall": "Recall",
    "routing_f1": "F1",
    "routing_expected": "expected",
    "routing_named": "named in the answer",
    "routing_summary": "{variant}: {right} of {total} answers name the expected tool; mean F1 over the tools {f1}.",
    "routing_summary_none": (
        "{variant}: {right} of {total} answers name the expected tool, or none where none is right; mean F1 over the"
        " tools {f1}."
    ),
    "routing_title": "{variant}: {right} of {total} right, mean F1 {f1}",
    "routing_unscored": "{count} answers of {variant} could not be judged and are left out.",
    "routing_confusions": "Named instead, by {variant}:",
    "routing_confusion": "{expected} -> {named}: {count}",
    "routing_more": "and {count} more kinds of confusion",
    "routing_no_confusions": "{variant} names no wrong tool.",
    "routing_folded": (
        "Shown are the {shown} tools that are confused most; the other {left_out} are one row and one column. A number"
        " with ✗ in their common cell counts those of them that were taken for one another."
    ),
    "routing_note": (
        "Precision: of the answers that name a tool, how many should. Recall: of the cases of a tool, how many name it."
        " F1 is their harmonic mean. '-': no answer names it."
    ),
    "routing_matrix_caption": "Rows are what was expected, columns what the answers name; the diagonal is right.",
}

FRENCH = {
    "routing": "Choix des outils",
    "routing_none": "aucun outil",
    "routing_unknown": "outil inconnu",
    "routing_others": "{count} autres",
    "routing_tool": "Outil",
    "routing_support": "N",
    "routing_precision": "Préc.",
    "routing_recall": "Rappel",
    "routing_f1": "F1",
    "routing_expected": "attendu",
    "routing_named": "nommé dans la réponse",
    "routing_summary": (
        "{variant} : {right} réponses sur {total} nomment l'outil attendu ; F1 moyen sur les outils {f1}."
    ),
    "routing_summary_none": (
        "{variant} : {right} réponses sur {total} nomment l'outil attendu, ou aucun quand aucun n'est juste ; F1 moyen"
        " sur les outils {f1}."
    ),
    "routing_title": "{variant} : {right} sur {total}, F1 moyen {f1}",
    "routing_unscored": "{count} réponses de {variant} n'ont pas pu être jugées et sont écartées.",
    "routing_confusions": "Nommés à la place, par {variant} :",
    "routing_confusion": "{expected} -> {named} : {count}",
    "routing_more": "et {count} autres sortes de confusion",
    "routing_no_confusions": "{variant} ne nomme aucun mauvais outil.",
    "routing_folded": (
        "Sont montrés les {shown} outils les plus confondus ; les {left_out} autres font une ligne et une colonne. Un"
        " nombre suivi de ✗ dans leur case commune compte ceux d'entre eux pris l'un pour l'autre."
    ),
    "routing_note": (
        "Précision : parmi les réponses qui nomment un outil, celles qui le doivent. Rappel : parmi les cas d'un outil,"
        " ceux qui le nomment. F1 est leur moyenne harmonique. « - » : aucune réponse ne le nomme."
    ),
    "routing_matrix_caption": (
        "En ligne ce qui était attendu, en colonne ce que nomment les réponses ; la diagonale est juste."
    ),
}
