"""What of a chapter is translated, and that nothing else of it changes."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dl_course.authoring.messages import bare, code, columns, messages, pieces, prose, rewrite, wrap


def texts(notebook):
    return [each.text for each in messages(notebook)]


def of_markdown(text):
    return [words for _, words in pieces(text) if words]


def loud(text, kind):
    return text.upper()


def test_a_paragraph_is_a_message_on_one_line_however_its_lines_are_broken():
    assert of_markdown("One line\nand another.\n\nA second.") == ["One line and another.", "A second."]


def test_headings_items_and_rows_are_messages_without_their_signs():
    text = "## 2. Title\n- one\n  goes on\n1. first\n\n| a | `b` |\n| --- | --- |\n> said"
    assert of_markdown(text) == ["2. Title", "one goes on", "first", "| a | `b` |", "said"]


def test_code_formulas_badges_and_html_are_no_messages():
    text = "```\nx = 1  # no\n```\n$$ x $$\n$$\ny\n$$\n[![badge](a)](b)\n<details>\nwords"
    assert of_markdown(text) == ["words"]


def test_what_has_no_words_is_never_asked_for():
    notebook = new_notebook(cells=[new_markdown_cell("`x` → $y$ [`z`](https://a.b) 12\n\n| `a` | 3 |")])
    assert texts(notebook) == []


def test_markdown_comes_back_with_its_signs_and_without_its_line_breaks():
    text = "# t\n\na\nb\n- c\n\n```\nd\n```\n| e |"
    assert prose(text, loud) == "# T\n\nA B\n- C\n\n```\nd\n```\n| E |"


SOURCE = '''\
def f(x):
    """Return x.

    The rest
    of it.
    """
    y = "text # no"  # why so
    return y  # (N, C)  # noqa: E501
'''


def test_docstrings_and_comments_are_said_and_nothing_else_of_the_code_changes():
    new = code(SOURCE, loud)
    assert '"""RETURN X.\n\n    THE REST OF IT.\n    """' in new
    assert 'y = "text # no"  # WHY SO\n    return y  # (N, C)  # noqa: E501' in new
    assert bare(new) == bare(SOURCE) and new != SOURCE


def test_a_cell_comes_back_as_it_was_where_every_message_is_said_as_it_is():
    assert code(SOURCE, lambda text, kind: text) == SOURCE


def test_a_cell_of_magics_stays_as_it_is():
    assert code("%load_ext tensorboard  # a word\n!ls", loud) == "%load_ext tensorboard  # a word\n!ls"


def test_a_solution_has_its_exercises_messages_and_the_bootstrap_cell_none():
    cells = [
        new_code_cell('def f():\n    """Words."""', id="exercise-f"),
        new_code_cell('def f():\n    """Words."""\n    return 1  # and why', id="solution-f"),
        new_code_cell("x = 1  # some words", id="bootstrap", metadata={"tags": ["bootstrap"]}),
    ]
    found = messages(new_notebook(cells=cells))
    assert [(each.context, each.text) for each in found] == [
        ("exercise-f", "Words."),
        ("exercise-f", "and why"),
    ]


def test_an_alt_text_is_said_in_the_cell_and_in_its_picture():
    picture = new_output("display_data", data={"image/png": ""}, metadata={"image/png": {"alt": "a dog"}})
    cell = new_code_cell("draw()", metadata={"alt": "a dog"}, outputs=[picture])
    rewrite(cell, loud)
    assert cell.metadata["alt"] == cell.outputs[0].metadata["image/png"]["alt"] == "A DOG"


@pytest.mark.parametrize("width", [9, 20, 33])
def test_chinese_is_wrapped_by_its_width_and_no_line_begins_with_closing_punctuation(width):
    text = "验证部分有 round(n) 个成员。同一个种子，给出同样的划分（总是）。"
    lines = wrap(text, width).split("\n")
    assert len(lines) > 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not [line for line in lines if line[0] in "，。）"]
    assert all(columns(line) <= max(width, columns("round(n)")) for line in lines)
