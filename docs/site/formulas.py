"""Formulas become MathML, which browsers show by themselves: no script, nothing from elsewhere."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

# What the extension `arithmatex` leaves of $…$ and $$…$$.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def to_mathml(page: str) -> str:
    """The page's HTML with every formula as MathML."""
    return _FORMULA.sub(_convert, page)


def _convert(found: re.Match[str]) -> str:
    display = "block" if found[2] == "[" else "inline"
    return str(convert(html.unescape(found[3]), display=display))
