"""Datasets from every source: by rule, or by a served model whose answers survive a stop."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from support.fake_chat_server import Behaviour, FakeChatServer, refusing, whole

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.datasets.making import Made, make
from pytest_llmbench.datasets.order import Method, Order, Writer

ROOT = Path(__file__).parents[3]
VOCABULARY = ROOT / "prompts/tools.yaml"
CHUNKS = [{"title": f"Outil{n}", "text": f"Outil{n} sert à {n}.", "version": f"{n}.0"} for n in range(10, 14)]


@pytest.fixture
def chunks(tmp_path: Path) -> Path:
    path = tmp_path / "chunks.jsonl"
    path.write_text("".join(json.dumps(chunk) + "\n" for chunk in CHUNKS), encoding="utf-8")
    return path


def _make(source: Path, method: Method, **options: object) -> Made:
    order = Order(source, method, vocabulary=VOCABULARY, **{"language": "fr", **options})  # type: ignore[arg-type]
    with make(order) as made:
        return dataclasses.replace(made, rows=list(made.rows))


def _asked(made: Made) -> list[str]:
    return [row["prompt"][-1]["content"] for row in made.rows]


def test_chunks_give_a_plain_question_for_each_thing_they_tell(chunks: Path) -> None:
    made = _make(chunks, "simple", system="Tu aides.")
    assert sorted(_asked(made)) == sorted(
        question
        for n in range(10, 14)
        for question in (f"Qu'est-ce que Outil{n} ?", f"Quelle est la version de Outil{n} ?")
    )
    assert {row["prompt"][0]["content"] for row in made.rows} == {"Tu aides."}


def test_the_rows_of_a_source_count_and_seed_are_those_of_earlier_versions(chunks: Path) -> None:
    assert _asked(_make(chunks, "augmented", count=12)) == [
        "Quelle est la version de Outil10 ?",
        "Bonjour, une question. Quelle version de Outil13 est en service ? Merci d'avance.",
        "Explique-moi ce qu'est Outil13. Merci.",
        "Quelle est la version de Outil13 ?",
        "Qu'est-ce que Outil12 ?",
        "Qu'est-ce que Outil10 ?",
        "Quelle est la version de Outil11 ?",
        "Quelle est la version de Outil12 ?",
        "Qu'est-ce que Outil11 ?",
        "Bonjour, une question. À quelle version en est Outil12 ? Merci.",
        "J'ai besoin d'aide. Que sais-tu de Outil10 ?",
        "Qu'est-ce que Outil13 ?",
    ]


def test_augmented_makes_as_many_as_asked_and_tells_when_it_cannot(chunks: Path) -> None:
    assert len(_make(chunks, "augmented", count=60).rows) == 60
    short = _make(chunks, "simple", count=60)
    assert (len(short.rows), short.notes) == (
        8,
        ("the source gives 8 rows, not 60; the method augmented makes more of the same",),
    )


def test_no_row_comes_near_a_case(chunks: Path) -> None:
    case = Case("c", "1", "quelle est la version de Outil10", ())
    made = _make(chunks, "augmented", count=40, cases=[case])
    assert len(made.rows) == 40
    assert not [text for text in _asked(made) if "version de Outil10" in text and "Quelle est" in text]
    assert "too near to a prompt of the suites" in made.notes[-1]


def test_every_turn_of_a_row_is_held_against_the_cases(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    talk = [{"role": "user", "content": "bonjour"}, {"role": "assistant", "content": "Oui ?"}]
    asked = ("quelle est la version de Outil10 ?", "ferme la fenêtre du salon")
    rows = [
        {"messages": [*talk, {"role": "user", "content": text}, {"role": "assistant", "content": "La 3."}]}
        for text in asked
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    made = _make(path, "simple", cases=[Case("c", "1", "quelle est la version de Outil10", ())])
    assert [row["prompt"][-1]["content"] for row in made.rows] == [asked[1]]


def test_rows_of_another_form_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("instruction,output\nmonte le son,Oui.\nquel temps fait-il,Beau.\n", encoding="utf-8")
    assert sorted(_asked(_make(path, "simple"))) == ["monte le son", "quel temps fait-il"]
    assert len(_make(path, "augmented", count=12).rows) == 12


def test_rows_that_hold_the_same_again_as_one_text_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.jsonl"
    rows = [{"instruction": asked, "input": "", "output": "Oui.", "text": f"### {asked}: Oui."} for asked in "abc"]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    assert sorted(_asked(_make(path, "simple"))) == ["a", "b", "c"]


def test_questions_that_differ_by_a_sign_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "sums.csv"
    path.write_text("prompt,completion\n3+4,7\n3*4,12\n3 + 4 ?,7\n", encoding="utf-8")
    made = _make(path, "simple")
    assert len(_asked(made)) == 2
    assert "3*4" in _asked(made)
    assert made.notes[-1] == "1 left out that another row asks already"


def test_a_count_of_templates_is_spread_over_the_tools() -> None:
    made = _make(ROOT / "data/templates.yaml", "simple", count=26)
    tools = [row["tool"] for row in made.rows]
    assert len(made.rows) == 26
    assert {tools.count(tool) for tool in set(tools)} == {2}
    assert {row["kind"] for row in made.rows} == {"command", "request"}


def test_templates_that_hold_more_make_up_for_those_that_hold_less() -> None:
    made = _make(ROOT / "data/templates.yaml", "augmented", count=4000)
    assert len(set(_asked(made))) == len(made.rows) == 4000
    assert not [note for note in made.notes if "gives" in note]
    groups = Counter((row["tool"], row["kind"]) for row in made.rows)
    assert min(groups.values()) < 4000 // 39 < max(groups.values()) < 2 * 4000 // 39
    everything = _make(ROOT / "data/templates.yaml", "simple", count=10**6)
    assert everything.notes[-1].startswith(f"the source gives {len(everything.rows)} rows, not 1000000; the method")
    assert len(_make(ROOT / "data/templates.yaml", "simple", count=len(everything.rows)).rows) == len(everything.rows)


@pytest.mark.parametrize(
    ("method", "message", "names"),
    [
        ("simple", "is a vocabulary, which holds no sentences", ("method", "server")),
        ("llm", "the method llm needs the server that writes the rows", ("server",)),
    ],
)
def test_a_source_that_cannot_be_used_so_is_refused_with_what_to_do(
    method: Method, message: str, names: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        _make(VOCABULARY, method)
    assert raised.value.names == names


def _saying(text: str, finish: str = "stop") -> Behaviour:
    return whole(choices=[{"message": {"content": text}, "finish_reason": finish}])


def _pairs(*questions: str) -> str:
    return json.dumps([{"question": question, "reponse": f"Réponse à {question}"} for question in questions])


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    serving = FakeChatServer(_saying("[]"))
    yield serving
    serving.close()


def _writer(server: FakeChatServer, tmp_path: Path) -> Writer:
    return Writer(server.url, tmp_path / "out.journal", concurrency=1)


def test_a_model_writes_rows_and_what_it_got_wrong_is_counted(
    chunks: Path, tmp_path: Path, server: FakeChatServer
) -> None:
    server.behaviours = [
        _saying(_pairs("Un ?", "Deux ?")),
        _saying("Bien sûr ! Voici."),
        _saying(_pairs("Un ?", "Trois ?")),
        _saying(_pairs("Quatre ?"), finish="length"),
    ]
    made = _make(chunks, "llm", writer=_writer(server, tmp_path), system="Tu aides.")
    assert sorted(_asked(made)) == ["Deux ?", "Trois ?", "Un ?"]
    journal, anew = tmp_path / "out.journal", "delete it, or give another seed, to ask anew"
    assert made.notes == (
        (
            "11 of what the model wrote refused: no JSON list (5), no whole answer came (5; cut off at 2048 tokens), "
            "repeated (1)"
        ),
        f"the model's answers are kept in {journal}, where the same command finds them; {anew}",
    )
    assert all("Outil1" in body["messages"][1]["content"] and body["seed"] for body in server.bodies)


def test_a_stopped_generation_goes_on_without_asking_twice(
    chunks: Path, tmp_path: Path, server: FakeChatServer
) -> None:
    server.behaviours = [_saying(_pairs("Un ?")), _saying(_pairs("Deux ?")), refusing(401)]
    with pytest.raises(ServerError, match="401"):
        _make(chunks, "llm", writer=_writer(server, tmp_path))
    with (tmp_path / "out.journal").open("a") as journal:
        journal.write('{"key": "torn')
    server.behaviours = [_saying(_pairs("Trois ?")), _saying(_pairs("Quatre ?"))]
    server.bodies.clear()
    made = _make(chunks, "llm", writer=_writer(server, tmp_path))
    assert len(server.bodies) == 2
    assert sorted(_asked(made)) == ["Deux ?", "Quatre ?", "Trois ?", "Un ?"]
    server.bodies.clear()
    again = _make(chunks, "llm", writer=_writer(server, tmp_path))
    assert (again.rows, server.bodies) == (made.rows, [])
    assert again.notes[-1].startswith("4 of 4 answers were not asked for again but taken from")


def test_why_a_server_refuses_is_told_after_the_first_few_questions(tmp_path: Path, server: FakeChatServer) -> None:
    server.behaviours = [refusing(400, f"context of 2048, not {n}") for n in range(2050, 2060)]
    with pytest.raises(ServerError, match=r"the first 4 questions had no whole answer: .*context of 2048, not 2053"):
        _make(VOCABULARY, "llm", count=200, writer=_writer(server, tmp_path))
    assert len(server.bodies) == 4


def test_questions_that_a_model_cannot_end_do_not_end_the_others(tmp_path: Path, server: FakeChatServer) -> None:
    server.behaviours = [*[_saying("Hm,", finish="length")] * 8, _saying(_pairs("Un ?")), _saying("[]")]
    assert "Un ?" in _asked(_make(VOCABULARY, "llm", count=200, writer=_writer(server, tmp_path)))


def test_a_server_that_takes_few_questions_at_once_is_not_given_up(tmp_path: Path, server: FakeChatServer) -> None:
    async def slow(serving: FakeChatServer, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return await _saying(_pairs("Un ?"))(serving, request)

    server.behaviours = [*[slow] * 4, *[refusing(400, "too many at once")] * 4, _saying("[]")]
    writer = dataclasses.replace(_writer(server, tmp_path), concurrency=8)
    assert _asked(_make(VOCABULARY, "llm", count=200, writer=writer)) == ["Un ?"]


def test_a_question_asks_for_no_more_tokens_than_its_rows_take(
    chunks: Path, tmp_path: Path, server: FakeChatServer
) -> None:
    with pytest.raises(UsageError, match="no row could be made"):
        _make(chunks, "llm", count=2, writer=_writer(server, tmp_path))
    assert {body["max_tokens"] for body in server.bodies} == {450}


def test_an_answer_that_was_cut_off_is_asked_for_once_more_with_room_for_thoughts(
    tmp_path: Path, server: FakeChatServer
) -> None:
    path = tmp_path / "chunk.jsonl"
    path.write_text(json.dumps(CHUNKS[0]), encoding="utf-8")
    server.behaviours = [_saying("Hm,", finish="length"), _saying(_pairs("Un ?"))]
    assert _asked(_make(path, "llm", writer=_writer(server, tmp_path))) == ["Un ?"]
    assert [body["max_tokens"] for body in server.bodies] == [1250, 2048]


def test_a_count_is_parted_over_the_tools_of_a_vocabulary(tmp_path: Path, server: FakeChatServer) -> None:
    with pytest.raises(UsageError, match="no row could be made"):
        _make(VOCABULARY, "llm", count=200, writer=_writer(server, tmp_path))
    asked = [body["messages"][1]["content"] for body in server.bodies]
    assert len(asked) == 25  # 200 rows and a quarter to spare, ten at a time
    assert len(set(asked)) == 25


def test_a_server_that_is_not_there_is_named_by_the_setting(chunks: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"start the server, or correct server\.url$") as gone:
        _make(chunks, "llm", writer=Writer("http://127.0.0.1:9", tmp_path / "j"))
    with pytest.raises(UsageError, match=r"^server\.url: 'localhost' is no URL") as wrong:
        _make(chunks, "llm", writer=Writer("localhost", tmp_path / "j"))
    assert gone.value.names == wrong.value.names == ("server.url",)
