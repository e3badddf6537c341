"""The page: its sections, written by templates that escape all their values."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dreamprm.evaluation.number_text import decimal, percent, signed_points


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: names it in links; unique on the page, of letters, digits and hyphens.
        title: its heading.
        body: its HTML, from `render`.
    """

    anchor: str
    title: str
    body: Markup


def render(template: str, **values: Any) -> Markup:
    """Render one of templates/*.html; every text in the values is escaped unless it is Markup.

    Raises: jinja2.UndefinedError if the template names a value that is not given.
    """
    return Markup(_environment().get_template(template).render(**values))


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page as text; it is self-contained, and the same sections give the same text."""
    return str(render("page.html", title=title, sections=sections)) + "\n"


def image(data: bytes, *, kind: str = "png") -> str:
    """The data URL of an image that is embedded in the page. kind: "png", "jpeg", "svg+xml"."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


@functools.cache
def _environment() -> Environment:
    """The templates, each compiled once per process."""
    environment = Environment(
        loader=PackageLoader("dreamprm.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "decimal": decimal,
        "percent": percent,
        "points": signed_points,
        "image": image,
    }
    return environment
