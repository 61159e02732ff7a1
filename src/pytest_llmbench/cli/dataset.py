"""`llmbench dataset`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.dataset_text import made_json, show_findings, show_made, show_split, split_json, verdict
from pytest_llmbench.cli.options import Command, Config, Json, SettingOption, chosen_settings, context_settings, grouped
from pytest_llmbench.cli.terminal import dataset_progress
from pytest_llmbench.core.errors import EXIT_BY_SIGNAL, UsageError
from pytest_llmbench.core.starter import present

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.datasets.files import Limit
    from pytest_llmbench.datasets.order import Order

dataset = typer.Typer(no_args_is_help=True, help="Make, validate, split and check training sets.")

_FAULTY = 1

File = Annotated[Path, typer.Argument(metavar="FILE", help="Rows: .jsonl, .csv or .json.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed makes the same files.")]
Shares = Annotated[str, typer.Option(metavar="TRAIN/VAL/TEST", help="Percentages of the sides.")]
Prompts = Annotated[list[str] | None, SettingOption("benchmark.prompts", more="; no row may come near one; repeatable")]
Vocabulary = Annotated[Path | None, SettingOption("benchmark.vocabulary")]
_DEFAULT_SHARES = "80/10/10"


@dataclasses.dataclass(frozen=True, slots=True)
class _Wanted:
    """What training set is made."""

    method: Annotated[
        Literal["simple", "augmented", "llm"],
        typer.Option(help="Plain questions; paraphrased and misspelt ones too; or written by a served model."),
    ] = "augmented"
    count: Annotated[int | None, typer.Option(min=1, help="Rows in all; else what the source holds.")] = None
    split: Annotated[bool, typer.Option("--split", help="Write OUTPUT_train, _val and _test instead.")] = False
    shares: Shares = _DEFAULT_SHARES
    heldout: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="From templates: rows to test with, kept out of them.")
    ] = None
    vocabulary: Vocabulary = None
    prompts: Prompts = None
    rows: Annotated[int, typer.Option(min=1, help="From templates: rows of each kind a tool.")] = 36
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="From chunks: the rows' system prompt.")] = None
    phrasing: Annotated[
        Path | None, typer.Option(metavar="YAML", help="A language file of your own, for all rows.")
    ] = None
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="How rows are asked: en, fr; else as they say or read.")
    ] = None
    server: Annotated[
        str | None, SettingOption("server.url", default=False, more=", for llm (key in LLMBENCH_API_KEY)")
    ] = None
    model: Annotated[str | None, SettingOption("server.model", "--server-model", default=False, more=", for llm")] = (
        None
    )
    concurrency: Annotated[int, typer.Option(min=1, help="For llm: questions at a time.")] = 4
    seed: Seed = 42

    def order(self, source: Path, journal: Path, suites: _Suites) -> Order:
        """The same in the engine's terms; the `journal` keeps what a served model answers."""
        from pytest_llmbench.datasets.order import Order, Writer

        if self.server is not None and self.method != "llm":
            told = f"the method {self.method} asks no server; take the method llm, or name no server"
            raise UsageError(told, names=("method", "server"))
        key = os.environ.get("LLMBENCH_API_KEY", "")
        return Order(
            source=source,
            method=self.method,
            language=self.language,
            phrasing=self.phrasing,
            cases=suites.cases(),
            vocabulary=suites.vocabulary,
            count=self.count,
            rows_of_a_kind=self.rows,
            system=self.system,
            seed=self.seed,
            writer=Writer(self.server, journal, self.model, key, self.concurrency) if self.server else None,
        )

    def read(self, source: Path, suites: _Suites) -> list[tuple[str, Path]]:
        """The files that are read, each with what it is."""
        files = [file for path in suites.paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        read = {"SOURCE": source, "--vocabulary": suites.vocabulary, "--phrasing": self.phrasing}
        return [
            *(("a file of --prompts", path) for path in files),
            *((role, path) for role, path in read.items() if path is not None),
        ]

    def written(self, output: Path, shares: Sequence[int]) -> list[tuple[str, Path]]:
        """The files that are made."""
        from pytest_llmbench.datasets.splitting import side_paths

        sides = [(f"the {side} side", path) for side, path in side_paths(output, shares).items()]
        made = sides if self.split else [("--output", output)]
        return [*made, *([("--heldout", self.heldout)] if self.heldout else [])]


@dataset.command("generate", cls=Command, context_settings=context_settings("dataset generate"))
@grouped
def _generate(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Chunks or rows (.jsonl, .csv, .json), templates or vocabulary.")
    ],
    *,
    output: Annotated[Path, typer.Option(metavar="JSONL", help="The training rows.")],
    wanted: _Wanted,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a training set, away from the prompts of the suites.

    SOURCE is told by its content: chunks have a text, rows have messages, prompt and completion, or instruction and
    output. With the method llm, what the model answered is kept in OUTPUT.journal, so that a stopped run goes on.
    Files that were made before are replaced; SOURCE and whatever else is read never is.
    """
    from pytest_llmbench.datasets.files import write_rows, write_sides
    from pytest_llmbench.datasets.making import make
    from pytest_llmbench.datasets.record_files import counted
    from pytest_llmbench.datasets.splitting import parse_shares, refuse_earlier_sides, refuse_same_files, split_rows
    from pytest_llmbench.runs.folders import refuse_output

    if not output.name:
        raise UsageError(f"{output} names no file; the rows are written to one", names=("output",))
    suites = _suites(_settings(config, wanted.prompts), wanted.prompts, wanted.vocabulary)
    parts, journal = parse_shares(wanted.shares), output.with_name(f"{output.stem}.journal")
    written = wanted.written(output, parts)
    if wanted.split:
        refuse_earlier_sides(output, parts)
    kept = [("the journal", journal)] if wanted.method == "llm" else []
    refuse_same_files(wanted.read(source, suites), [*written, *kept])
    for _, path in written:
        refuse_output(path)
    replaced, heldout = _there(path for _, path in written), wanted.heldout
    sides, files = None, {"rows": output}
    order = wanted.order(source, journal, suites)
    with _ended_by_signals(), dataset_progress() as on_progress, make(order, on_progress) as made:
        if wanted.split:
            sides = split_rows(counted(made.rows, on_progress, "splitting"), parts, seed=wanted.seed)
            files = write_sides(counted(made.rows, on_progress, "writing"), sides, output)
        else:
            write_rows(output, counted(made.rows, on_progress, "writing"))
        if heldout is not None and made.heldout:
            write_rows(heldout, made.heldout)
        replaced = [path for path in replaced if path != heldout or made.heldout]
    if as_json:
        told = made_json(made, sides, files, heldout) | {"replaced": [str(path) for path in replaced]}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        show_made(made, sides, files, heldout, replaced)


@dataset.command("validate", cls=Command)
def _validate(file: File, *, as_json: Json = False) -> None:
    """Read a dataset of any form and size, and tell what it holds; wrong rows end with exit code 2 and their lines."""
    from pytest_llmbench.datasets.files import validate_dataset
    from pytest_llmbench.datasets.record_files import reading

    with dataset_progress() as on_progress:
        summary = validate_dataset(file, reading(file, on_progress))
    if as_json:
        typer.echo(json.dumps(summary.to_json(), ensure_ascii=False, indent=2))
        return
    typer.echo(f"{file}: {summary.rows} rows, form '{summary.form}'")
    typer.echo("  messages  " + ", ".join(f"{role} {number}" for role, number in sorted(summary.roles.items())))
    typer.echo("  turns     " + ", ".join(f"{turns}: {rows} rows" for turns, rows in sorted(summary.turns.items())))
    for name, lengths in (("prompt", summary.prompt), ("answer", summary.answer)):
        longest = f"{lengths.most} (line {lengths.longest_line})"
        typer.echo(f"  {name:<9} {lengths.least} to {longest} characters, {lengths.mean:.0f} on average")
    if summary.extra_keys:
        typer.echo("  also      " + ", ".join(f"{key} {rows}" for key, rows in sorted(summary.extra_keys.items())))


@dataset.command(cls=Command)
def split(
    file: File,
    *,
    output: Annotated[Path | None, typer.Option(metavar="NAME", help="Files NAME_train.jsonl …; FILE's name.")] = None,
    shares: Shares = _DEFAULT_SHARES,
    seed: Seed = 42,
    as_json: Json = False,
) -> None:
    """Split a dataset into train, val and test, nearly equal questions on one side."""
    from pytest_llmbench.datasets.files import split_file
    from pytest_llmbench.datasets.record_files import reading
    from pytest_llmbench.datasets.splitting import parse_shares, side_paths

    parts = parse_shares(shares)
    replaced = _there(side_paths(output or file, parts).values())
    with _ended_by_signals(), dataset_progress() as on_progress:
        progress = reading(file, on_progress, "splitting")
        sides, files = split_file(file, output or file, shares=parts, seed=seed, progress=progress)
    if as_json:
        told = split_json(sides, files) | {"replaced": [str(path) for path in replaced]}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        show_split(sides, files, replaced)


@dataset.command("check", cls=Command, context_settings=context_settings("dataset check"))
def _check(
    file: File,
    *,
    model: Annotated[
        str | None, typer.Option("--base", metavar="SPEC", help="Count its tokens, look at its chat template.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=8, help="Most tokens of a row; else those of the model's preset.")
    ] = None,
    config: Config = None,
    prompts: Prompts = None,
    vocabulary: Vocabulary = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit code 1 for rows near to a suite, over-long rows and errors; 2 for no suite."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Look for duplicates, over-long rows, a template that does not fit, and rows that the suites ask."""
    from pytest_llmbench.datasets.checking import RowFinding
    from pytest_llmbench.datasets.files import check_dataset
    from pytest_llmbench.datasets.record_files import reading

    settings = _settings(config, prompts)
    cases = _suites(settings, prompts, vocabulary).cases()
    with _ended_by_signals(), dataset_progress() as on_progress:
        progress = reading(file, on_progress, "checking")
        checked = check_dataset(
            file,
            cases=cases,
            model=model,
            read_as=settings.model,
            max_length=max_length,
            progress=progress,
        )
    limit = checked.limit
    if limit and limit.origin == "max_length":
        limit = dataclasses.replace(limit, origin="--max-length")
    findings = [*([] if cases else [RowFinding("warning", "contamination", _NO_SUITE)]), *checked.findings]
    if as_json:
        document = {
            "rows": checked.rows,
            "cases": len(cases),
            "max_length": limit and dataclasses.asdict(limit),
            "findings": [dataclasses.asdict(finding) for finding in findings],
            "contaminated": [dataclasses.asdict(match) for match in checked.contaminated],
        }
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        show_findings(findings)
        against = f"against {len(cases)} cases" if cases else "against no suite"
        typer.echo(f"{file}: {checked.rows} rows, {against}, {_limited(limit)}; {verdict(findings)}")
    if strict and not cases:
        raise UsageError(f"--strict: {_NO_SUITE}")
    if strict and any(finding.severity == "error" or finding.check == "length" for finding in findings):
        raise typer.Exit(_FAULTY)


_NO_SUITE = "no suite was found, so the rows were compared with none; give the suites with --prompts PATH"


def _limited(limit: Limit | None) -> str:
    return f"at most {limit.tokens} tokens each ({limit.origin})" if limit else "of any length (--base, --max-length)"


def _there(paths: Iterable[Path]) -> list[Path]:
    """The files that will be replaced."""
    return [path for path in paths if path.exists()]


@dataclasses.dataclass(frozen=True, slots=True)
class _Suites:
    """What rows are compared with."""

    paths: Sequence[Path]
    vocabulary: Path

    def cases(self) -> Sequence[Case]:
        """Those of all suites; none where there is no suite."""
        from pytest_llmbench.cases.suites import load_cases, load_vocabulary

        return load_cases(self.paths, load_vocabulary(present(self.vocabulary))) if self.paths else ()


def _settings(config: Path | None, prompts: Sequence[str] | None) -> Settings:
    return chosen_settings(config, prompts=json.dumps(prompts) if prompts else None)


def _suites(settings: Settings, prompts: Sequence[str] | None, vocabulary: Path | None) -> _Suites:
    """Those of the settings; where they were given as options, none of them may be absent."""
    from pytest_llmbench.cases.suites import existing_suites

    usual = settings.benchmark
    return _Suites(usual.prompts if prompts else existing_suites(usual.prompts), vocabulary or usual.vocabulary)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """`kill` ends the work as cleanly as Ctrl-C: nothing half-written stays."""
    import signal

    def end(number: int, _frame: object) -> None:
        typer.echo("interrupted", err=True)
        raise SystemExit(EXIT_BY_SIGNAL + number)

    usual = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)
