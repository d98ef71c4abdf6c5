"""Our docstrings' short form, as Sphinx gets it."""

import pytest

from book.docstrings import process


def rewritten(text):
    lines = text.split("\n")
    process(None, "function", "f", None, None, lines)
    return "\n".join(lines).strip()


def test_names_with_a_colon_and_a_dot_between_become_a_list():
    text = "images: (N, C, H, W) on any\ndevice · layer: a name from ``model``. Raises ValueError for none."
    assert rewritten(f"Return maps.\n\n{text}") == (
        "Return maps.\n\n* **images** – (N, C, H, W) on any device\n"
        "* **layer** – a name from ``model``.\n\nRaises ValueError for none."
    )


def test_the_first_paragraph_is_never_a_list():
    assert rewritten("Explain: which parts of a picture.") == "Explain: which parts of a picture."


@pytest.mark.parametrize("text", ["a*b", "|x|", "requires_grad_() of", "c:\\d"])
def test_what_restructuredtext_would_take_for_markup_is_plain(text):
    from docutils.core import publish_doctree

    tree = publish_doctree(rewritten(f"Return it.\n\nOf {text} all."), settings_overrides={"report_level": 5})
    assert tree.astext().endswith(f"Of {text} all.") and "system_message" not in tree.pformat()


def test_a_single_pair_of_backticks_is_code_too():
    assert rewritten("Use `check` or ``hint``s.") == "Use ``check`` or ``hint``\\ s."


def test_indented_lines_and_doctests_stay_as_they_are():
    assert (
        rewritten("One.\n\n    make lab\n    make test")
        == "One.\n\n::\n\n        make lab\n        make test"
    )
