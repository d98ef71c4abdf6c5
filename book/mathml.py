"""Formulas as MathML, which browsers and e-readers draw by themselves: no script, no font, no network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import SphinxError

_BIG = re.compile(r"\\([bB]igg?)(?=[(\[|)\]])")


def inline(translator: Any, node: nodes.math) -> None:
    """Write a formula of a line."""
    translator.body.append(_converted(node, block=False))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula that stands by itself; too wide a one scrolls."""
    translator.body.append(f'<div class="formula" tabindex="0">{_converted(node, block=True)}</div>')
    raise nodes.SkipNode


def _converted(node: Any, block: bool) -> str:
    text = node.astext()
    sized = _BIG.sub(lambda found: f"\\{found[1]}{'r' if text[found.end()] in ')]' else 'l'}", text)
    try:
        return tex2mathml(sized, as_block=block).replace("&ApplyFunction;", "\u2061")  # unknown to XHTML
    except MathError as error:
        raise SphinxError(f"the formula {text} can't be drawn: {error}") from error
