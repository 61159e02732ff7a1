"""A chart inside a page: text stays text, colours are the page's variables, marks have titles for pointers.

Matplotlib writes a whole document; a page needs a small part that follows its theme, asks nothing of the network and
has ids that no other chart of the page has. Nothing is clipped: a chart's marks lie within its axes.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pytest_llmbench.reports.charts import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Element = ElementTree.Element

_METADATA: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in XML; names may hold them
_NUMBER = re.compile(r"-?\d+\.\d+")
_COMMAND = re.compile(r"\s*([A-Za-z])\s*")
_HREF = "{http://www.w3.org/1999/xlink}href"
_MARKS = {"use", "path"}
_DROPPED = {"clipPath", "metadata", "style"}
_KEPT_STYLES = ("fill", "stroke", "opacity", "font-size", "font-weight", "text-anchor")  # and what begins so
_DEFAULTS = {("stroke-linejoin", "round"), ("stroke-linecap", "butt"), ("font-weight", "400"), ("font-size", "10px")}


def drawing(name: str, label: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """What `draw` draws on a figure of `size` inches, as an SVG element for a page.

    `name` is unique in its page. `label` says in words what is shown. Titles of panels are left to the page.
    """
    with canvas.figure_of(*size) as figure:
        draw(figure)
        for axes in figure.axes:
            axes.set_title("")
        written = io.StringIO()
        canvas.laid_out(figure)
        figure.savefig(written, format="svg", transparent=True, metadata=_METADATA)
    root = ElementTree.fromstring(_ILLEGAL.sub("\ufffd", written.getvalue()))  # noqa: S314  # Matplotlib's own
    width, height = root.attrib["viewBox"].split()[2:]
    chart = Element("svg", {"class": "chart", "viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": label})
    ids = {mark: f"{name}-{place}" for place, mark in enumerate(_referenced(root))}
    chart.extend(itertools.chain.from_iterable(_cleaned(child, ids) for child in root))
    _leave_to_marks(chart)
    return ElementTree.tostring(chart, encoding="unicode").replace(" />", "/>")


def _referenced(root: Element) -> list[str]:
    return list(dict.fromkeys(found[1:] for element in root.iter() if (found := element.get(_HREF))))


def _cleaned(element: Element, ids: dict[str, str]) -> Iterator[Element]:
    """The element as a page needs it: nothing for what is not seen, its children for a group that says nothing."""
    tag = element.tag.rpartition("}")[2]
    if tag in _DROPPED or (tag == "text" and not element.text):
        return
    style = _style(element.get("style", ""))
    if tag == "path" and style.get("fill") == "none" and style.get("stroke", "none") == "none":
        return
    cleaned = Element(tag, dict(_attributes(element, ids)))
    cleaned.text = element.text if tag == "text" else None
    cleaned.extend(itertools.chain.from_iterable(_cleaned(child, ids) for child in element))
    if tag == "g":
        _share_style(cleaned)
        _insert_titles(cleaned, element.get("id", ""))
        if not cleaned.attrib:
            yield from cleaned
            return
    if style:
        cleaned.set("style", ";".join(f"{key}:{value}" for key, value in style.items()))
    if len(cleaned) or tag not in {"g", "defs"}:
        yield cleaned


def _attributes(element: Element, ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        if key in {"d", "x", "y"} or (key == "transform" and not value.startswith("rotate(-0 ")):
            short = _NUMBER.sub(_short, value)
            yield key, _COMMAND.sub(r"\1", short).strip() if key == "d" else short
        elif key == "id" and value in ids:
            yield key, ids[value]
        elif key == _HREF:
            yield "href", f"#{ids[value[1:]]}"


def _short(number: re.Match[str]) -> str:
    """A tenth of a point is enough for the eye."""
    return f"{round(float(number[0]), 1) + 0.0:g}"


def _style(text: str) -> dict[str, str]:
    pairs = [pair.split(": ", 1) for pair in text.split("; ") if pair]
    return {
        key: f"var({canvas.VARIABLES[value]})" if value in canvas.VARIABLES else value
        for key, value in pairs
        if key.startswith(_KEPT_STYLES) and (key, value) not in _DEFAULTS
    }


def _share_style(group: Element) -> None:
    """Marks of one look have it from their group."""
    marks = [child for child in group if child.tag in _MARKS]
    styles = {child.get("style") for child in marks}
    if len(marks) > 1 and len(styles) == 1 and (style := styles.pop()):
        group.set("style", style)
        for mark in marks:
            del mark.attrib["style"]


def _leave_to_marks(chart: Element) -> None:
    """A use of a mark needs no style that the mark has."""
    own = {f"#{mark.get('id')}": mark.get("style") for mark in chart.iter("path") if mark.get("id")}
    for mark in chart.iter("use"):
        if "style" in mark.attrib and mark.get("style") == own[mark.attrib["href"]]:
            del mark.attrib["style"]


def _insert_titles(group: Element, gid: str) -> None:
    """Each mark of a group that `canvas.titled` named gets its own."""
    if not gid.startswith("["):
        return
    hidden = {id(mark) for defs in group.iter("defs") for mark in defs.iter()}
    marks = [mark for mark in group.iter() if mark.tag in _MARKS and id(mark) not in hidden]
    for mark, text in zip(marks, json.loads(gid), strict=True):
        ElementTree.SubElement(mark, "title").text = text
