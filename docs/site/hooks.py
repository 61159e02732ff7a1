"""What the site has beside `docs/*.md`: the reference, the README as its first page, and what pages link to elsewhere.

Links in the sources lead from file to file of the repository, so that they work where the repository is read. Files
outside `docs/` that a page links to become part of the site, so that they work there too, without any network.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File
from reference import pages  # the folder of a hook is on the path while it is loaded

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated, and what is linked to."""
    found = {"index.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    queue = {"README.md", *(f"docs/{file.src_uri}" for file in files.documentation_pages())}
    seen: set[str] = set()
    while queue:
        seen.add(source := queue.pop())
        text = _source(source)
        folder = source if (ROOT / source).is_dir() else posixpath.dirname(source)
        for target in _LINK.findall(text):
            path = posixpath.normpath(posixpath.join(folder, target))
            if (ROOT / path).exists() and path not in seen:
                queue.add(path)
        if not source.startswith("docs/") and source != "README.md" and (ROOT / source).is_file():
            files.append(File.generated(config, _place(source), abs_src_path=str(ROOT / source)))
        if (ROOT / source).is_dir():
            found[_place(source)] = text
    for place, text in {**found, **pages()}.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links from where the file is in the repository to where it is on the site."""
    source = _origin(page.file.src_uri)

    def led(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        return posixpath.relpath(_place(path), posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(led, markdown) if source else markdown


def _source(path: str) -> str:
    """A page's text; of a folder, the list of its pages."""
    folder = ROOT / path
    if not folder.is_dir():
        return folder.read_text(encoding="utf-8") if path.endswith(".md") else ""
    pages = [(file.name, file.read_text(encoding="utf-8").partition("\n")[0]) for file in sorted(folder.glob("*.md"))]
    return f"# {path}\n\n" + "\n".join(f"- [{title.lstrip('# ')}]({name})" for name, title in pages) + "\n"


def _place(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path == "README.md":
        return "index.md"
    place = path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"
    return f"{place}/index.md" if (ROOT / path).is_dir() else place


def _origin(place: str) -> str:
    """The inverse of `_place`; empty for a page of the reference."""
    if place == "index.md":
        return "README.md"
    if place.startswith("repository/"):
        return place.removeprefix("repository/")
    return "" if place.startswith("reference/") else f"docs/{place}"
