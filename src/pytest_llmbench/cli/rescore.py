"""`llmbench rescore`."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_llmbench.cli.options import Config, ReportDir, Run, SettingOption, chosen_settings, settings_file
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry
    from pytest_llmbench.runs.rescoring import Judges

_HOOK = "pytest_llmbench_metrics"
METRICS_FROM_HELP = f"Adds metrics of your own: defines {_HOOK}(registry)."
_NUMBER = re.compile(r"^\d{4,}_")


def rescore_command(
    run: Run,
    *,
    metrics_from: Annotated[str | None, typer.Option(metavar="FILE.py|MODULE", help=METRICS_FROM_HELP)] = None,
    prompts: Annotated[list[str] | None, SettingOption("benchmark.prompts", more="; repeatable")] = None,
    vocabulary: Annotated[Path | None, SettingOption("benchmark.vocabulary")] = None,
    config: Config = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write this file, save no run.")] = None,
    save: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the saved run.")] = None,
    report_dir: ReportDir = None,
) -> None:
    """Score a run's stored answers anew; no model is loaded.

    Metrics that are not scored anew keep their scores. The result is saved as a run of its own.
    """
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.benchmark import benchmark_report, with_paths
    from pytest_llmbench.runs.base_comparison import with_comparison
    from pytest_llmbench.runs.folders import refuse_long_name
    from pytest_llmbench.runs.history import find_run, refuse_output
    from pytest_llmbench.runs.history import save as save_run
    from pytest_llmbench.runs.rescoring import journal_of
    from pytest_llmbench.runs.rescoring import rescore as score_anew
    from pytest_llmbench.runs.storage import write_json
    from pytest_llmbench.runs.typed import run_document

    given = {"report-dir": report_dir, "prompts": json.dumps(prompts) if prompts else None}
    settings = chosen_settings(config, **given)
    stored = find_run(run, settings.output.report_dir)
    if stored.is_baseline:
        raise UsageError(f"{run}: a baseline holds no answers; give the run that it was made from")
    name = save or f"rescored-{_NUMBER.sub('', stored.name)}"
    if output:
        own = Path(metrics_from) if metrics_from else None  # a module's name names no file
        words = vocabulary or settings.benchmark.vocabulary
        read = (stored.path, settings_file(config), words, own, *settings.benchmark.prompts)
        refuse_output(output, read)
    elif save:
        refuse_long_name(save)
    journal = journal_of(stored.path)
    document = score_anew(stored.document, stored.name, journal, _judges(settings, vocabulary, metrics_from))
    document = dict(with_comparison(document))
    if output:
        write_json(document, output)
    else:
        output = save_run(document, settings.output.report_dir, name, journal) / "run.json"
    report = benchmark_report(run_document(document), settings.output.language).without("gate")
    for line in (*_scored_anew(document), "", *terminal_lines(with_paths(report, {"run": output}), report_width())):
        typer.echo(line)


def _scored_anew(document: Mapping[str, Any]) -> Iterator[str]:
    """The mean of every metric that was scored anew, by variant; the table below shows the built-in ones."""
    yield "scored anew, means:"
    for name in document["metadata"]["rescored"]["metrics"]:
        means = document["statistics"]["metrics"].get(name, {})
        values = [f"{variant} {_number(one['mean'])}" for variant, one in means.items()]
        yield f"  {name}: {', '.join(values) or 'no score'}"


def _number(value: float | None) -> str:
    return "unscored" if value is None else f"{value:.3f}"


def _judges(settings: Settings, vocabulary: Path | None, metrics_from: str | None) -> Judges:
    from pytest_llmbench.cases.suites import load_cases, load_vocabulary
    from pytest_llmbench.core.starter import present
    from pytest_llmbench.metrics import default_metrics
    from pytest_llmbench.runs.rescoring import Judges

    terms = load_vocabulary(vocabulary or present(Path(settings.benchmark.vocabulary)))
    cases = load_cases([present(Path(path)) for path in settings.benchmark.prompts], terms)
    registry = default_metrics(settings.metrics, terms, cases)
    if metrics_from:
        add_metrics_from(metrics_from, registry)
    return Judges(registry, cases, terms, settings, metrics_from)


def add_metrics_from(name: str, registry: MetricRegistry) -> None:
    """Add the metrics of a user's file or module.

    Raises:
        UsageError: there is no such file or module, or it adds no metrics.
    """
    module = _module(name)
    if not hasattr(module, _HOOK):
        raise UsageError(f"--metrics-from {name}: it defines no {_HOOK}(registry)")
    getattr(module, _HOOK)(registry=registry)


def _module(name: str) -> ModuleType:
    """The user's module. What it raises itself is shown as it is: its author needs the traceback.

    Raises:
        UsageError: there is no such file or module, or it is not Python.
    """
    try:
        if name.endswith(".py"):
            return _module_of_file(Path(name))
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))  # a console script does not look into the current folder
        return importlib.import_module(name)
    except SyntaxError as error:
        raise UsageError(f"--metrics-from {error.filename}:{error.lineno}: {error.msg}") from error
    except (FileNotFoundError, ModuleNotFoundError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else name
        if not f"{name}.".startswith(f"{missing}."):
            raise  # the module is there, and lacks one itself
        raise UsageError(
            f"--metrics-from {name}: no such file or module; give a .py file or a module's name"
        ) from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(f"llmbench_metrics_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    sys.path.insert(0, str(path.resolve().parent))  # its neighbours can be imported, as pytest does for a conftest.py
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
