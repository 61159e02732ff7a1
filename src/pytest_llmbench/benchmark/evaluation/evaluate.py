"""Is the fine-tune better than its base, and than retrieval? All answer one test set; and what was forgotten."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pytest_llmbench.benchmark.evaluation.questions import (
    GENERAL,
    GENERAL_FILE,
    RETRIEVAL,
    TEST,
    General,
    RowLanguage,
    answers_folder,
    check_template,
    drawn,
    read_general,
    read_test_set,
    with_passages,
)
from pytest_llmbench.benchmark.evaluation.retrieval import Method, Passage, Retriever, read_passages
from pytest_llmbench.benchmark.evaluation.scores import compared_scores, comparisons, corpora, means, perplexities
from pytest_llmbench.benchmark.main_job import Benchmark, open_backend
from pytest_llmbench.cases.suites import load_vocabulary
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.core.starter import present
from pytest_llmbench.datasets.near_duplicates import bare
from pytest_llmbench.generation.backend import KnowsMarks, OutOfMemoryError
from pytest_llmbench.generation.completion_store import CompletionJournal
from pytest_llmbench.metrics import Spelling
from pytest_llmbench.metrics.against_reference import REFERENCE_METRICS, add_reference_metrics
from pytest_llmbench.metrics.registry import MetricRegistry
from pytest_llmbench.metrics.routing import tool_accuracy

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.main_job import Answers
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.backend import Backend
    from pytest_llmbench.generation.local.perplexity import TextLoss
    from pytest_llmbench.generation.planner import AnswerProgress

SCHEMA_VERSION = 1
_ALPHA = 0.05
_log = logging.getLogger("pytest_llmbench")


@runtime_checkable
class _TellsLikelihood(Protocol):
    """A backend that has the model itself at hand."""

    def losses(self, texts: Sequence[str], variant: str) -> list[TextLoss]: ...


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What is evaluated on.

    `chunks` is what retrieval may find, None for no retrieval; `passages` of them are read with each question.
    `context_prompt` is what stands around them; None for that of each row's language. `general` holds the texts and
    questions of the forgetting check, None for no check; of the default file those of the rows' languages. `resume`
    goes on with the answers of an evaluation that was stopped.
    """

    test: Path
    chunks: Path | None = None
    passages: int = 3
    method: Method = "bm25"
    context_prompt: str | None = None
    limit: int | None = None
    general: Path | None = GENERAL_FILE
    resume: bool = False


def evaluate(settings: Settings, request: EvaluationRequest, progress: AnswerProgress) -> dict[str, Any]:
    """Answer the test set as base and fine-tunes, with and without passages, and hold them against each other.

    Returns the document that the reports show and `evaluation.json` holds.

    Raises:
        UsageError: a file is wrong, with its line; another evaluation is under way in this report folder; or
            `benchmark.strict` is set, and an adapter was trained on rows near to the test set.
        LLMBenchError: the model, the adapter or the server cannot be used, or a package is missing.
    """
    asked = _read(request, settings)
    metrics = evaluation_metrics(asked.test, asked.tools, settings.metrics.call_form)
    settings = settings.model_copy(update={"metrics": settings.metrics.model_copy(update={"cosine_similarity": False})})
    with answers_folder(settings.output.report_dir, resume=request.resume) as folder:
        opened: Backend | Benchmark
        opened = backend = open_backend(settings, asked.test, besides=asked.others)
        try:
            asked = _as_answers_are_read(asked, backend)
            journal = CompletionJournal(folder)
            benchmark = Benchmark(settings, backend, asked.all, metrics, journal=journal, cache=None, progress=progress)
            opened = benchmark  # which closes the backend and the journal, a file that is removed after this
            answers = {case.name: benchmark.answers(case) for case in asked.all}
            document = _document(asked, answers, metrics, backend)
            document["metadata"] = _metadata(request, settings, backend, asked)
        finally:
            opened.close()
    return document


def evaluation_metrics(cases: Iterable[Case], tools: Collection[str], call_form: str = "auto") -> MetricRegistry:
    """Every metric of an answer against its reference, its form, and its route where the cases expect tools.

    `tools` are all those that an answer may name, right or wrong.

    Raises:
        NotReadyError: the package of a metric is not installed.
    """
    registry = MetricRegistry()
    add_reference_metrics(registry, REFERENCE_METRICS, Spelling(accent_sensitive=True))
    if expected := {case.tool for case in cases if case.tool}:
        tools = sorted({*expected, *tools})
        registry.add("tool_accuracy", tool_accuracy(tools, call_form))
    return registry


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """The cases; `found` are the passages of each question, in the order of `test`, None without retrieval.

    `templates` are the different texts around them, `tools` those of all rows, drawn or not, and of the vocabulary.
    """

    test: list[Case]
    found: list[list[Passage]] | None
    retrieval: list[Case]
    general: General | None
    templates: tuple[str, ...]
    tools: frozenset[str]

    @property
    def others(self) -> list[Case]:
        """What is asked besides the test set: longer with passages, and no matter if an adapter was trained on it."""
        return [*self.retrieval, *(self.general.questions if self.general else ())]

    @property
    def all(self) -> list[Case]:
        return [*self.test, *self.others]


def _read(request: EvaluationRequest, settings: Settings) -> _Asked:
    if request.context_prompt is not None:
        check_template(request.context_prompt)
    whole = read_test_set(request.test)
    test = drawn(whole, request.limit, settings.generation.seed)
    vocabulary = Path(settings.benchmark.vocabulary)
    tools = frozenset(case.tool for case in whole if case.tool)
    if tools and vocabulary.exists():
        tools |= load_vocabulary(vocabulary).tools.keys()
    language = RowLanguage(test, vocabulary)
    chosen = language.general() if request.general == GENERAL_FILE else ()
    general = read_general(present(request.general), chosen) if request.general else None
    if request.chunks is None:
        return _Asked(test, None, [], general, (), tools)
    retriever = Retriever(read_passages(request.chunks), request.method)
    found = retriever.find([case.prompt for case in test], request.passages)
    if lost := sum(not passages for passages in found):
        _log.warning("%d of %d questions have no word in common with any passage", lost, len(test))
    if told := sum(_tells(case, passages) for case, passages in zip(test, found, strict=True)):
        _log.warning(
            "%d of %d questions stand among the passages with their answers: retrieval only copies them",
            told,
            len(test),
        )
    templates = [request.context_prompt] * len(test) if request.context_prompt else language.context_prompts()
    retrieval = [
        with_passages(case, passages, template) for case, passages, template in zip(test, found, templates, strict=True)
    ]
    return _Asked(test, found, retrieval, general, tuple(dict.fromkeys(templates)), tools)


def _as_answers_are_read(asked: _Asked, backend: Backend) -> _Asked:
    """With references that an answer can match: special tokens in them (`[TOOL_CALLS]`) are left out of answers too."""
    if not isinstance(backend, KnowsMarks):
        return asked
    told = list(dict.fromkeys(case.reference or "" for case in (*asked.test, *asked.retrieval)))
    read = dict(zip(told, backend.unmarked(told), strict=True))  # all at once: they may go to another machine
    test, retrieval = (
        [dataclasses.replace(case, reference=read[case.reference or ""]) for case in cases]
        for cases in (asked.test, asked.retrieval)
    )
    return dataclasses.replace(asked, test=test, retrieval=retrieval)


def _tells(case: Case, passages: Sequence[Passage]) -> bool:
    """Whether a passage holds the question itself and its answer."""
    both = [bare(case.prompt), bare(case.reference or "")]
    return any(all(part in bare(passage.text) for part in both) for passage in passages)


def _document(
    asked: _Asked, answers: Mapping[str, Answers], metrics: MetricRegistry, backend: Backend
) -> dict[str, Any]:
    completions = [_by_variant(case, answers) for case in asked.test]
    variants = list(completions[0])
    scores = [_scores_by_variant(case, answers) for case in asked.test]
    table = {
        metric: {variant: [row[metric].get(variant) for row in scores] for variant in variants}
        for metric in metrics.metrics
    }
    lower = frozenset(name for name, metric in metrics.metrics.items() if not metric.higher_is_better)
    return {
        "schema_version": SCHEMA_VERSION,
        "variants": variants,
        "metrics": {name: {"higher_is_better": name not in lower} for name in table},
        "scores": means(table),
        "corpus": corpora([case.reference or "" for case in asked.test], _texts(completions, variants)),
        "finishes": {variant: dict(Counter(row[variant].finish for row in completions)) for variant in variants},
        "comparisons": comparisons(table, compared_scores(variants), lower, _ALPHA, _lost(completions, variants)),
        "forgetting": _forgetting(asked.general, answers, backend),
        "results": [_result(asked, place, completions[place], scores[place]) for place in range(len(asked.test))],
    }


def _lost(completions: Sequence[Mapping[str, Completion]], variants: Sequence[str]) -> dict[str, set[int]]:
    """The places of the questions that a variant failed on, did not begin to answer in time, or only thought about."""
    found: dict[str, set[int]] = {}
    for variant in variants:
        found[variant] = {place for place, row in enumerate(completions) if not row[variant].answered}
        if lost := len(found[variant]):
            told = N_("%s has no answer to %d of %d questions: the worst score where the other side has one")
            _log.warning(told, variant, lost, len(completions))
    return found


def _by_variant(case: Case, answers: Mapping[str, Answers]) -> dict[str, Completion]:
    """Who answered what to a question; with passages the names are `retrieval` and `retrieval+finetuned`."""
    found = dict(answers[f"{TEST}/{case.id}"].completions)
    if with_it := answers.get(f"{RETRIEVAL}/{case.id}"):
        found |= {_reading(variant): completion for variant, completion in with_it.completions.items()}
    return found


def _scores_by_variant(case: Case, answers: Mapping[str, Answers]) -> dict[str, dict[str, float | None]]:
    found = {metric: dict(scores) for metric, scores in answers[f"{TEST}/{case.id}"].scores.items()}
    if with_it := answers.get(f"{RETRIEVAL}/{case.id}"):
        for metric, scores in with_it.scores.items():
            found[metric] |= {_reading(variant): score for variant, score in scores.items()}
    return found


def _reading(variant: str) -> str:
    return RETRIEVAL if variant == BASE else f"{RETRIEVAL}+{variant}"


def _texts(completions: Sequence[Mapping[str, Completion]], variants: Sequence[str]) -> dict[str, list[str | None]]:
    """What each variant answered to each question, None where it did not."""
    return {
        variant: [row[variant].text if row[variant].answered else None for row in completions] for variant in variants
    }


def _result(
    asked: _Asked,
    place: int,
    completions: Mapping[str, Completion],
    scores: Mapping[str, Mapping[str, float | None]],
) -> dict[str, Any]:
    case = asked.test[place]
    return {
        "id": case.id,
        "source": case.source,
        "question": case.prompt,
        "reference": case.reference,
        "passages": [dataclasses.asdict(passage) for passage in asked.found[place]] if asked.found else [],
        "answers": _told(completions),
        "scores": scores,
    }


def _told(completions: Mapping[str, Completion]) -> dict[str, dict[str, Any]]:
    return {
        variant: {"text": done.text, "reasoning": done.reasoning, "finish": done.finish, "error": done.error}
        for variant, done in completions.items()
    }


def _forgetting(general: General | None, answers: Mapping[str, Answers], backend: Backend) -> dict[str, Any] | None:
    """Perplexity of general texts, and answers to general questions; None where nothing is asked."""
    if general is None:
        return None
    told, texts = None, len(general.texts)
    if isinstance(backend, _TellsLikelihood):
        try:
            losses = {variant: backend.losses(general.texts, variant) for variant in backend.variants}
        except OutOfMemoryError as error:
            raise NotReadyError(
                "out of memory reading the general texts, for their perplexity; give shorter ones, or none, as "
                "general, and resume: what was answered is kept",
                names=("general", "resume"),
            ) from error
        read = [place for place in range(texts) if all(of[place].tokens for of in losses.values())]
        if len(read) < texts:
            short = N_("%d of %d general texts are too short to be predicted: they count in nobody's perplexity")
            _log.warning(short, texts - len(read), texts)
        texts = len(read)
        if read:
            told = perplexities({variant: [of[place] for place in read] for variant, of in losses.items()}, _ALPHA)
    else:
        _log.warning("the engine or server does not tell how likely a text is: no perplexity, the general answers only")
    return {
        "texts": texts,
        "perplexity": told,
        "answers": [
            {"question": case.prompt, "answers": _told(answers[f"{GENERAL}/{case.id}"].completions)}
            for case in general.questions
        ],
    }


def _metadata(request: EvaluationRequest, settings: Settings, backend: Backend, asked: _Asked) -> dict[str, Any]:
    generation = settings.generation
    return {
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "test_set": str(request.test),
        "test_sha256": hashlib.sha256(request.test.read_bytes()).hexdigest(),
        "questions": len(asked.test),
        "chunks": str(request.chunks) if request.chunks else None,
        "passages": request.passages if request.chunks else None,
        "retrieval": request.method if request.chunks else None,
        "context_prompt": "\n\n".join(asked.templates) if request.chunks else None,
        "generation": {
            "temperature": generation.temperature if generation.do_sample else 0.0,
            "max_new_tokens": generation.max_new_tokens,
            "seed": generation.seed,
        },
        "alpha": _ALPHA,
        "backend": dict(backend.describe()),
    }
