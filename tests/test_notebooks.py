"""Notebooks read without running them: definitions by name with what they need, tags, ids."""

import ast
import keyword
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dl_course.notebooks import code_of, defined_names, needed_by, read, stable_id, tags


def loaded(name, *cells):
    """Return what the definition's needed source binds to its name, loaded into an empty namespace."""
    namespace = {}
    exec(compile(needed_by(cells, name), "<answer>", "exec"), namespace)
    return namespace[name]


def test_a_definition_that_needs_nothing_comes_alone():
    assert (
        needed_by(["import torch", "x = 1", "def f():\n    return 1\ny = 2"], "f") == "def f():\n    return 1"
    )


def test_imports_constants_and_helpers_come_along_transitively_and_in_order():
    cells = [
        "import math as m, json\nimport os.path",
        "print('never run')\nSCALE = BASE = 2",
        "unused = explode()",
        "def helper(x):\n    return m.floor(x) * SCALE",
        "def f(x):\n    return helper(x) + len(os.path.basename('a/bc'))",
    ]
    assert loaded("f", *cells)(3.5) == 8
    source = needed_by(cells, "f")
    assert "never run" not in source and "explode" not in source
    assert source.index("import os.path") < source.index("SCALE") < source.index("def helper")


def test_a_helper_below_the_definition_is_found():
    assert loaded("f", "def f():\n    return helper()", "def helper():\n    return 7")() == 7


def test_local_variables_and_parameters_are_not_mistaken_for_globals():
    cells = [
        "total = explode()\nx = explode()\ni = explode()\ne = explode()",
        "def f(x):\n    total = sum(i for i in x)\n    try:\n        return total\n    except OSError as e:\n"
        "        return e",
    ]
    assert loaded("f", *cells)([1, 2]) == 3


@pytest.mark.parametrize(
    "definition",
    [
        "@needed\ndef f():\n    pass",
        "class f(needed):\n    pass",
        "class f(metaclass=needed):\n    pass",
        "class f:\n    x = needed",
        "class f:\n    def method(self):\n        def inner():\n            return needed",
        "def f(x=needed):\n    pass",
        "def f(*, x=needed):\n    pass",
        "def f(x: needed):\n    pass",
        "def f() -> needed:\n    pass",
        "def f():\n    return lambda: [needed for _ in range(3)]",
        "def f():\n    global needed\n    needed = needed + 1",
        "async def f():\n    return needed",
        "f = lambda: needed",
        "f = other = needed",
        "(f, g) = needed",
        "for f in needed:\n    pass",
        "if needed:\n    def f():\n        pass",
    ],
)
@pytest.mark.parametrize(
    "binding",
    [
        "needed = object",
        "needed: int = 1",
        "import x as needed",
        "import needed.part",
        "from x import needed",
        "try:\n    import needed\nexcept ImportError:\n    pass",
        "if True:\n    def needed():\n        pass",
        "with x() as needed:\n    pass",
        "for needed in []:\n    pass",
        "[needed := i for i in []]",
        "{needed := i for i in []}",
        "{(needed := i): i for i in []}",
        "[[needed := i for i in []] for _ in []]",
        "if all((needed := i) for i in []):\n    pass",
        "match x:\n    case needed:\n        pass",
        "def set_it():\n    global needed\n    needed = 1",
        "from somewhere import *",
    ],
)
def test_whatever_a_definition_reads_wherever_it_stands_is_found_however_it_is_bound(definition, binding):
    assert needed_by(["unused = 1", binding, definition], "f") == f"{binding}\n\n{definition}"


@pytest.mark.parametrize(
    "own", ["[i for i in []]", "{i for i in []}", "{i: i for i in []}", "list(i for i in [])"]
)
def test_a_comprehensions_own_variable_binds_nothing_around_it(own):
    definition = "def f():\n    return i"
    assert needed_by(["i = 1", f"unused = {own}", definition], "f") == f"i = 1\n\n{definition}"
    inside = f"def g():\n    unused = {own}"
    assert needed_by(["i = 1", inside], "g") == inside  # nor does it read what bears its name


def test_a_long_sum_with_a_comprehension_in_it_is_read():
    sum_of_many = "n = " + "1 + " * 900 + "[i for i in [7]][0]"
    assert loaded("f", sum_of_many, "def f():\n    return n")() == 907


def test_the_last_definition_wins_with_its_decorators():
    cells = ["def f():\n    return 1", "def f():\n    return 2\n\n@staticmethod\ndef f():\n    return 3"]
    assert needed_by(cells, "f") == "@staticmethod\ndef f():\n    return 3"


def test_every_binding_of_a_needed_name_is_kept_because_one_may_build_on_another():
    assert loaded("f", "n = 1", "n += 1", "def f():\n    return n", "n = n * 10")() == 20


def test_a_name_of_a_builtin_that_the_notebook_redefines_is_the_notebooks():
    assert loaded(
        "f", "from math import pow\ndef sum(x):\n    return 'mine'", "def f():\n    return sum([1])"
    )() == ("mine")


def test_a_recursive_definition_needs_itself_only_once():
    source = "def f(n):\n    return n and n * f(n - 1) or 1"
    assert needed_by([source], "f") == source
    assert loaded("f", source)(5) == 120


def test_statements_on_one_line_are_taken_one_by_one():
    assert needed_by(["import math; explode(); é = 'ü'; n = 3", "def f():\n    return math.pi + n"], "f") == (
        "import math\n\nn = 3\n\ndef f():\n    return math.pi + n"
    )


def test_a_future_import_stays_first():
    cells = ["x = 1", "from __future__ import annotations\ndef f(a: Unknown):\n    return x"]
    assert loaded("f", *cells)(0) == 1


@pytest.mark.parametrize(
    "cell",
    [
        "%matplotlib inline\nn = 7\n!ls\n?n",
        "n = 7\nfiles = !ls\nn?",
        "if True:\n    %pip install x\n    n = 7",
        "text = '''\n%not magic\n!nor this\n'''\nn = 7 if '%not' in text else 0",
        "n = (107\n    % 10)",
        "n = (\n    7\n    if 1\n    != 2\n    else 0\n)",
    ],
)
def test_lines_of_ipython_do_no_harm_and_operators_at_the_start_of_a_line_are_none(cell):
    assert loaded("f", cell, "def f():\n    return n")() == 7


@pytest.mark.parametrize(
    "timed",
    ["%%time\nn = 7", "\n%%capture out\n%%time\nn = 7", "%time n = 7", "%%time\n%matplotlib inline\nn = 7"],
)
def test_code_under_a_magic_that_runs_it_where_it_stands_is_read(timed):
    assert loaded("f", timed, "%%time\ndef f():\n    return n")() == 7
    assert defined_names("%%time\ndef f(): pass") == ["f"]


@pytest.mark.parametrize(
    "broken",
    [
        "def f(:\n    pass",
        "def f(a, a):\n    pass",
        "n = 'no end",
        "n = 1\n    indented",
        "%%bash\nn = 8",
        "n = '\0'",
        "n = " + "(" * 300 + ")" * 300,
        "n = " + "-" * 30_000 + "1",
        "n = x" + ".y" * 20_000,
    ],
    ids=range(9),
)
def test_a_cell_that_python_refuses_is_passed_over(broken):
    assert loaded("f", "n = 7", "def f():\n    return n", broken)() == 7
    assert defined_names(broken) == []


def test_odd_line_breaks_inside_strings_shift_nothing():
    cell = "a = 'x\x0cy\u2028z'\n\ndef f():\n    'β\u2028γ'\n    return a"
    assert needed_by([cell], "f") == "a = 'x\x0cy\u2028z'\n\ndef f():\n    'β\u2028γ'\n    return a"


def test_a_name_that_nothing_defines_is_refused_by_name():
    with pytest.raises(KeyError, match="nothing defines 'f'"):
        needed_by(["g = 1", "print(f)"], "f")


names = st.from_regex(r"[a-zé]\w{0,3}", fullmatch=True).filter(str.isidentifier)
names = names.filter(
    lambda name: not keyword.iskeyword(name) and name == unicodedata.normalize("NFKC", name) and name != "f"
)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.lists(names, min_size=1, max_size=6, unique=True))
def test_of_any_chain_of_constants_just_the_needed_ones_are_run(data, chain):
    """Each constant is the sum of some earlier ones plus 1; f returns some of them."""
    uses = {
        name: data.draw(st.sets(st.sampled_from(chain[:i]))) if i else set() for i, name in enumerate(chain)
    }
    wanted = data.draw(st.sets(st.sampled_from(chain), min_size=1))
    cells = [f"{name} = {' + '.join(['1', *sorted(uses[name])])}" for name in chain]
    cells.append(f"def f():\n    return ({', '.join(sorted(wanted))},)")
    namespace = {}
    exec("\n".join(cells), namespace)
    assert loaded("f", *cells)() == namespace["f"]()
    needed, grown = set(), wanted
    while needed != grown:
        needed, grown = grown, grown.union(*(uses[name] for name in grown))
    assigned = {node.targets[0].id for node in ast.parse(needed_by(cells, "f")).body[:-1]}
    assert assigned == needed


@given(st.lists(st.text(max_size=8), max_size=8))
def test_ids_are_unique_valid_and_the_same_on_every_build(texts):
    first, second = set(), set()
    ids = [stable_id("text", text, first) for text in texts]
    assert ids == [stable_id("text", text, second) for text in texts]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-zA-Z0-9-_]{1,64}", each) for each in ids)


def test_an_id_does_not_depend_on_the_other_cells():
    assert stable_id("code", "x", set()) == stable_id("code", "x", {"code-1"})
    assert stable_id("code", "x", set()) != stable_id("text", "x", set())


def test_defined_names_are_those_at_the_top_level():
    assert defined_names(
        "def f():\n    def g(): pass\nclass A:\n    def m(self): pass\nx = 1\nasync def h(): pass"
    ) == [
        "f",
        "A",
        "h",
    ]
    assert defined_names("%time f()\ndef f(): pass") == ["f"]


def test_code_and_tags_of_a_notebook():
    tagged = new_code_cell("y", metadata={"tags": ["check", "other"]})
    notebook = new_notebook(cells=[new_code_cell("x"), new_markdown_cell("z"), tagged])
    assert code_of(notebook) == ["x", "y"]
    assert [tags(cell) for cell in notebook.cells] == [set(), set(), {"check", "other"}]


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_a_file_that_is_no_notebook_is_refused_by_name(tmp_path, content):
    path = tmp_path / "odd.ipynb"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"odd\.ipynb is not a notebook"):
        read(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"none\.ipynb is not a notebook: FileNotFoundError"):
        read(tmp_path / "none.ipynb")
