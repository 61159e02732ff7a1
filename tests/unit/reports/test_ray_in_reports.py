"""What a report tells of the actors that answered."""

from __future__ import annotations

import pytest
from support.rendered import markdown
from support.report_runs import built, relevance, run

_TALLY = {"actors": 3, "nodes": 2, "deaths": 1, "batches_asked_again": 1, "answers_given_up": 0}


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            "actors: 3, machines: 2, actors that died: 1, batches asked again elsewhere: 1, answers given up: 0",
        ),
        ("fr", "acteurs : 3, machines : 2, acteurs morts : 1, lots redemandés ailleurs : 1, réponses abandonnées : 0"),
    ],
)
def test_actors_machines_and_deaths_stand_in_the_provenance(language: str, told: str) -> None:
    document = built(run(relevance("a/1", 0.5, 0.7), backend={"backend": "transformers", "ray": _TALLY}))
    assert told in markdown(document, language).replace("\N{NO-BREAK SPACE}", " ").replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )
