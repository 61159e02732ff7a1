"""`llmbench baseline`."""

from __future__ import annotations

import functools
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_llmbench.cli.options import Config, ReportDir, Run, chosen_settings, settings_file
from pytest_llmbench.cli.rescore import METRICS_FROM_HELP, add_metrics_from
from pytest_llmbench.cli.terminal import AnswerCount
from pytest_llmbench.core.errors import LLMBenchError, UsageError

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.asking_again import Questions
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.runs.history import SavedRun

_NUMBER = re.compile(r"^\d{4,}_")
_INSTEAD = "or take the answers that were judged: --as-measured"
_GREEDY = "its answers are greedy, so that a fresh seed would change nothing: taken as measured"
_LUCKY = "as measured: a run that was chosen for its scores was also lucky, and later runs are held against that"


def baseline(
    run: Run,
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to commit.")] = Path("baselines/accepted.json"),
    as_measured: Annotated[
        bool, typer.Option("--as-measured", help="Take the run's own answers; the model is not asked again.")
    ] = False,
    metrics_from: Annotated[str | None, typer.Option(metavar="FILE.py|MODULE", help=METRICS_FROM_HELP)] = None,
    config: Config = None,
    report_dir: ReportDir = None,
) -> None:
    """Write a run's baseline, small enough to commit.

    It holds scores and provenance, no prompts and no answers. Its model is asked the same cases again, with a fresh
    seed, and saved as a run of its own: of several tries the best is also the luckiest, and would let equal ones fail.
    Exit code 2 when the model, its adapter or the suites are not as they were.
    """
    from pytest_llmbench.runs.baseline import refuse_other_file, write_baseline
    from pytest_llmbench.runs.history import find_run, refuse_output

    settings = chosen_settings(config, **{"report-dir": report_dir})
    refuse_output(output, (settings_file(config),))
    refuse_other_file(output)
    accepted = find_run(run, settings.output.report_dir)
    document, name = accepted.document, accepted.name
    if accepted.is_baseline or as_measured:
        typer.echo(f"{name}: {_LUCKY}", err=True)
    elif _is_greedy(accepted):
        typer.echo(f"{name}: {_GREEDY}", err=True)
    else:
        document, name = _asked_again(accepted, settings, metrics_from)
    write_baseline(document, output, name)
    size = output.stat().st_size / 1000
    typer.echo(f"{output}: {len(document['results'])} results of {name}, {size:.1f} kB; commit it")


def _is_greedy(accepted: SavedRun) -> bool:
    from pytest_llmbench.benchmark.asking_again import is_greedy
    from pytest_llmbench.core.settings import GenerationSettings

    asked = (accepted.document["metadata"].get("settings") or {}).get("generation") or {}
    known = {key: asked[key] for key in ("temperature", "do_sample") if key in asked}
    return is_greedy(GenerationSettings(**known))


def _asked_again(accepted: SavedRun, now: Settings, metrics_from: str | None) -> tuple[dict[str, Any], str]:
    """The document of the fresh answers, and the name of the run that they were saved as."""
    from pytest_llmbench.benchmark.asking_again import ask_again, same_weights, settings_as_asked
    from pytest_llmbench.benchmark.main_job import open_backend
    from pytest_llmbench.runs.document import build_document
    from pytest_llmbench.runs.history import at_work_beside, finish, new_side_folder
    from pytest_llmbench.runs.storage import write_json

    about = accepted.comparable.metadata
    count = AnswerCount()
    token = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}-baseline"  # several may share the folder
    folder = new_side_folder(now.output.report_dir, token)
    with at_work_beside(folder):
        try:
            settings = settings_as_asked(about, accepted.name, now)
            questions = _questions(accepted, settings, folder, metrics_from, count)
            typer.echo(f"{accepted.name}: asking its {len(questions.cases)} cases again, with a fresh seed", err=True)
            opened = functools.partial(open_backend, cases=questions.cases)  # so that its context is as long as needed
            answered = ask_again(settings, questions, same_weights(about, accepted.name, opened))
        except LLMBenchError as error:
            raise error.saying(f"{error}; {_INSTEAD}") from error
        finally:
            count.end()
        document = build_document(answered, answer_chars=now.output.answer_chars)
        write_json(document, folder / "run.json")
        return document, finish(folder, f"{_NUMBER.sub('', accepted.name)}-again").name


def _questions(
    accepted: SavedRun, settings: Settings, folder: Path, metrics_from: str | None, count: AnswerCount
) -> Questions:
    from pytest_llmbench.benchmark.asking_again import Questions, cases_as_asked
    from pytest_llmbench.cases.suites import load_cases, load_vocabulary
    from pytest_llmbench.core.starter import present
    from pytest_llmbench.metrics import default_metrics

    vocabulary = load_vocabulary(present(Path(settings.benchmark.vocabulary)))
    suites = load_cases([present(Path(path)) for path in settings.benchmark.prompts], vocabulary)
    cases = cases_as_asked(accepted.comparable.rows, accepted.name, suites)
    registry = default_metrics(settings.metrics, vocabulary, cases)
    if metrics_from:
        add_metrics_from(metrics_from, registry)
    measured = accepted.document["metadata"].get("metrics") or {}
    if missing := [name for name in measured if name not in registry.metrics]:
        raise UsageError(
            f"{accepted.name} was scored by {', '.join(missing)}, which is no built-in metric; give --metrics-from"
        )
    return Questions(cases, registry, vocabulary, folder, count)
