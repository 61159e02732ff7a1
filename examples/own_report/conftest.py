"""One more report: every score in a CSV table."""

from __future__ import annotations

import csv
from pathlib import Path

from pytest_llmbench.api import Run


def pytest_llmbench_report(run: Run, report_dir: Path) -> None:
    with (report_dir / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "metric", *run.variants])
        for result in run.results:
            for metric in result.scores:
                table.writerow([result.case, metric, *(result.score(metric, variant) for variant in run.variants)])
