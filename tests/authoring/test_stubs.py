"""The three forms of an exercise cell, and what is refused."""

import pytest

from dl_course.authoring.stubs import LessonError, parse_exercise
from tests.authoring.cells import DOUBLE, TALLY

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def parsed(source, line=1):
    return parse_exercise(source, line, "90_made_up.py")


def body(cell):
    return cell.partition("\n")[2]


def test_the_stub_replaces_the_region_and_keeps_everything_around_it():
    cell = parsed(
        f"def norm(x):\n    y = abs(x)\n    {BEGIN}\n    y = y * 2\n    z = y\n    {END}\n    return z  # ½"
    )
    assert cell.name == "norm"
    assert cell.stub() == (
        'def norm(x):\n    y = abs(x)\n    raise NotImplementedError("Your turn: norm")\n    return z  # ½'
    )


def test_the_solution_cell_is_its_label_the_decorator_and_the_definition_without_markers():
    assert parsed(body(DOUBLE)).solution() == (
        '# @title Solution: double\n@solution\ndef double(x):\n    """Return 2x."""\n    return x + x'
    )


def test_the_stubs_of_several_regions_say_which_method_and_which_of_how_many():
    stub = parsed(body(TALLY)).stub()
    assert 'raise NotImplementedError("Your turn: Tally.__init__ (1 of 2)")' in stub
    assert 'raise NotImplementedError("Your turn: Tally.add (2 of 2)")\n        return self.total' in stub
    assert "self.total +=" not in stub


def test_a_region_in_a_nested_function_is_named_after_it_and_keeps_its_indent():
    cell = parsed(
        f"def outer(f):\n    def inner(x):\n        {BEGIN}\n        f(x)\n        {END}\n    return inner"
    )
    assert '        raise NotImplementedError("Your turn: outer.inner")\n    return inner' in cell.stub()


def test_decorators_stay_on_the_stub_and_stand_below_solution():
    cell = parsed(f"@no_grad()\ndef f(x):\n    {BEGIN}\n    return x\n    {END}")
    assert cell.stub().startswith("@no_grad()\ndef f(x):\n    raise")
    assert cell.solution() == "# @title Solution: f\n@solution\n@no_grad()\ndef f(x):\n    return x"


def test_a_coroutine_and_its_region_are_an_exercise_like_any_other():
    cell = parsed(f"async def fetch(x):\n    {BEGIN}\n    return await x\n    {END}")
    assert cell.stub() == 'async def fetch(x):\n    raise NotImplementedError("Your turn: fetch")'


def test_letters_of_every_alphabet_and_odd_line_breaks_in_strings_leave_the_lines_where_they_are():
    cell = parsed(f'def größe(x):\n    """β\u2028γ\x0cδ"""\n    {BEGIN}\n    return "→\u2028" + x\n    {END}')
    assert cell.stub() == (
        'def größe(x):\n    """β\u2028γ\x0cδ"""\n    raise NotImplementedError("Your turn: größe")'
    )
    assert cell.solved() == 'def größe(x):\n    """β\u2028γ\x0cδ"""\n    return "→\u2028" + x'


@pytest.mark.parametrize(
    ("source", "line", "why"),
    [
        ("x = 1\ndef f():\n    pass", 40, "exactly one function or class; here are 2 statements"),
        ("x = 1", 40, "exactly one function or class"),
        ("", 40, "here are 0 statements"),
        ("def f():\n    return 1", 40, "exercise 'f' has no region"),
        ("def f(:\n    pass", 40, "not Python"),
        (f"def f():\n    {BEGIN}\n    return 1", 41, "without '### END SOLUTION'"),
        (f"def f():\n    return 1\n    {END}", 42, "without '### BEGIN SOLUTION'"),
        (f"def f():\n    {BEGIN}\n    {BEGIN}\n    return 1\n    {END}", 42, "a second '### BEGIN SOLUTION'"),
        (f"{BEGIN}\ndef f():\n    return 1\n{END}", 40, "inside the body of a function or method"),
        (f"class A:\n    {BEGIN}\n    x = 1\n    {END}", 41, "inside the body of a function or method"),
        (f"def f(\n    {BEGIN}\n    x=1,\n    {END}\n):\n    return x", 41, "inside the body of a function"),
        (f"def f():\n    {BEGIN}\n    # nothing\n    {END}\n    return 1", 41, "around statements"),
        (f"class A:\n    {BEGIN}\n    def f(self):\n        pass\n    {END}", 41, "inside the body"),
        (f"def f(x):\n    {BEGIN}\n    y = g(\n        {END}\n        x)", 41, "cuts a statement in two"),
        (
            f"def f(x):\n    {BEGIN}\n    if x:\n        a()\n        {END}\n        b()",
            41,
            "cuts a statement",
        ),
    ],
)
def test_a_cell_that_breaks_a_rule_is_refused_with_its_line(source, line, why):
    with pytest.raises(LessonError) as refused:
        parsed(source, 40)
    assert str(refused.value).startswith(f"90_made_up.py, line {line}: "), refused.value
    assert why in str(refused.value)
