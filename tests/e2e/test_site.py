"""The documentation as a site: every link leads somewhere, and the reference has everything that there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench import api, config
from pytest_llmbench.core.settings import OPTIONS, Settings
from pytest_llmbench.plugin import hookspecs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link that leads nowhere fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def headings(site: Path, page: str) -> set[str]:
    return set(re.findall(r'<h2 id="([^"]+)"', (site / "reference" / page / "index.html").read_text(encoding="utf-8")))


def test_the_reference_has_every_setting_option_hook_and_public_name(site: Path) -> None:
    settings = (site / "reference/settings/index.html").read_text(encoding="utf-8")
    names = {f"{section}.{key}" for section, field in Settings() for key in type(field).model_fields}
    assert names == set(re.findall(r"<tr>\s*<td><code>(\w+\.\w+)</code></td>", settings))
    options = (site / "reference/options/index.html").read_text(encoding="utf-8")
    assert {f"--llmbench-{name}" for name in OPTIONS} <= set(re.findall(r"<code>(--llmbench-[\w-]+)", options))
    assert headings(site, "hooks") == {name for name in vars(hookspecs) if name.startswith("pytest_llmbench_")}
    assert headings(site, "api") == {name.lower() for name in api.__all__}
    assert headings(site, "api") | headings(site, "config") >= {name.lower() for name in config.__all__}


def test_the_site_asks_nothing_of_the_network(site: Path) -> None:
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"|<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)"'
    )
    assert [found for page in site.rglob("*.html") for found in loaded.findall(page.read_text(encoding="utf-8"))] == []
