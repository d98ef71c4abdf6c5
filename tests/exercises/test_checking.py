"""What `check`, `hint` and `solution` do in a notebook, whatever the learner's code does to them."""

from __future__ import annotations

import linecache
import signal
import sys
import threading
from itertools import count

import numpy as np
import pytest
import torch

from dl_course.exercises import answers, checking
from dl_course.exercises.checking import check, hint
from dl_course.exercises.checks import PRIVATE, add_private, all_exercises
from dl_course.exercises.judging import Exercise
from dl_course.exercises.probes import probe
from dl_course.exercises.probes.tools import called
from dl_course.exercises.progress_file import progress
from tests.exercises.suites import diagnosis

_cells = count()


def cell(source):
    """Run source as a notebook cell is run, in a file that linecache knows; return the namespace."""
    file = f"<cell {next(_cells)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    namespace = {"torch": torch, "np": np, "solution": answers.solution, "check": check}
    exec(compile(source, file, "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def doubling(home, monkeypatch):
    """An exercise "double" of our own, and a kernel that has seen nothing yet."""
    monkeypatch.setattr(Exercise, "registered", dict(all_exercises()))
    for kept in (answers._mine, answers._passed, checking._rungs):
        kept.clear()

    class Double(Exercise):
        """Twice the number."""

        name = "double"
        points = 2
        hints = ("Add it to itself.", "Or multiply.")
        not_allowed = ("lru_cache", "loop")
        seconds = 0.5
        reference = staticmethod(lambda x: 2 * x)
        mistakes = {"you squared it": lambda x: x * x}

        def cases(self, rng):
            yield {"about": "a pair", "x": rng.normal(size=2)}
            yield {"about": "many", "x": rng.normal(size=(int(rng.integers(3, 6)), 4))}

    @probe
    def double(answer, case):
        return called(answer, case["x"])

    return Double


STUB = 'def double(x):\n    """Return 2x."""\n    raise NotImplementedError("Your turn: double")'


def test_a_stub_is_not_attempted_and_leaves_no_trace():
    result = check(cell(STUB)["double"])
    assert (result.status, result.passed) == ("not attempted", False)
    assert not progress.path.exists()


def test_another_not_implemented_error_is_no_stub():
    result = check(cell('def double(x):\n    raise NotImplementedError("later")')["double"])
    assert result.status == "not yet"
    assert "raised NotImplementedError at line 2, in double" in diagnosis(result)


def test_a_passed_answer_is_noted():
    assert check(cell("def double(x): return x + x")["double"]).passed
    assert "✓" in repr(progress("00"))


def test_a_wrong_answer_shows_the_input_the_outcome_and_the_expectation():
    result = check(cell("def double(x): return x * x")["double"])
    lines = dict(result.lines)
    assert lines["diagnosis"] == "you squared it"
    assert lines["input"] == "a pair"
    assert {"x", "came out", "expected", "first at"} <= lines.keys()


def test_an_error_of_the_learner_is_shown_with_its_own_line():
    result = check(cell("def double(x):\n    y = x\n    return y.twice()")["double"])
    assert "AttributeError at line 3, in double: return y.twice()" in diagnosis(result)


def test_the_line_is_the_learners_own_even_when_a_library_raises():
    result = check(cell("def double(x):\n    return np.concatenate(x, 7)")["double"])
    assert "at line 2, in double: return np.concatenate(x, 7)" in diagnosis(result)


@pytest.mark.parametrize(
    "way_out", ["raise SystemExit(3)", "import sys; sys.exit()", "exit = quit; raise SystemExit"]
)
def test_system_exit_does_not_leave_the_notebook(way_out):
    result = check(cell(f"def double(x):\n    {way_out}")["double"])
    assert "raised SystemExit at line 2" in diagnosis(result)


def test_the_stop_button_still_stops():
    def double(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(double)


def test_an_endless_loop_ends_with_the_time_limit_even_where_every_exception_is_swallowed():
    source = "def double(x):\n  while True:\n    try:\n      x = x + 0\n    except Exception:\n      pass"
    before = signal.getsignal(signal.SIGALRM)  # the test's own limit
    result = check(cell(source)["double"])
    assert "not done after 0.5 s" in diagnosis(result)
    assert signal.getsignal(signal.SIGALRM) == before


def test_what_an_answer_prints_is_kept_short_and_shown_with_the_mistake(capsys):
    result = check(cell("def double(x):\n    print('look: ' + 'x' * 10**6)\n    return x")["double"])
    printed = dict(result.lines)["it printed"]
    assert printed.startswith("look: xxx") and "characters more" in printed
    assert len(repr(result)) < 5000
    assert capsys.readouterr().out == ""


def test_an_input_changed_in_place_is_named():
    result = check(cell("def double(x):\n    x *= 2\n    return x")["double"])
    assert "changed your input in place" in diagnosis(result)


def test_a_name_that_is_not_allowed_is_told_only_when_the_numbers_are_right():
    looping = "def double(x):\n    out = x.copy()\n    for i in range(1): out = out + x\n    return out"
    assert "without loop" in diagnosis(check(cell(looping)["double"]))
    assert "without" not in diagnosis(check(cell(looping.replace("out + x", "out"))["double"]))
    nested = "def double(x):\n    return np.array([2 * v for v in x])"
    assert "without loop" in diagnosis(check(cell(nested)["double"]))
    while_loop = "def double(x):\n    n = 0\n    while n < 1: n += 1\n    return 2 * x"
    assert "without loop" in diagnosis(check(cell(while_loop)["double"]))


def test_checking_disturbs_no_random_numbers():
    torch.manual_seed(3), np.random.seed(3)
    expected = torch.rand(2), np.random.rand(2)
    torch.manual_seed(3), np.random.seed(3)
    check(cell("def double(x):\n    torch.manual_seed(0); np.random.seed(0)\n    return 2 * x")["double"])
    assert torch.equal(torch.rand(2), expected[0]) and (np.random.rand(2) == expected[1]).all()


def test_an_answer_without_the_exercises_name_is_found_by_the_name_it_is_bound_to():
    names = cell("double = lambda x: x + x\nresult = check(double)")
    assert names["result"].passed


def test_an_unknown_exercise_is_refused_with_the_nearest_name():
    def dubble(x):
        return x

    with pytest.raises(ValueError, match="no exercise is named 'dubble'; did you mean 'double'"):
        check(dubble)


def test_a_class_with_one_of_two_stubs_left_says_which(monkeypatch):
    class Counter(Exercise):
        """Counting."""

        name = "Counter"

        class reference:  # noqa: N801
            def one(self):
                return 1

            def two(self):
                return 2

        def cases(self, rng):
            yield {"about": "both", "k": int(rng.integers(9))}

    @probe
    def Counter(answer, case):  # noqa: N802, F811
        return {"one": answer().one(), "two": answer().two()}

    stub = (
        "class Counter:\n    def one(self):\n        {}\n"
        "    def two(self):\n        raise NotImplementedError('Your turn: Counter.two (2 of 2)')"
    )
    blank = stub.format("raise NotImplementedError('Your turn: Counter.one (1 of 2)')")
    assert check(cell(blank)["Counter"]).status == "not attempted"
    half = check(cell(stub.format("return 1"))["Counter"])
    assert half.status == "not yet" and "still the stub: Counter.two" in diagnosis(half)


def test_hints_come_one_by_one_and_end_with_the_solution():
    double = cell(STUB)["double"]
    texts = [hint(double).lines[0][1] for _ in range(4)]
    assert texts[:2] == ["Add it to itself.", "Or multiply."]
    assert texts[2] == texts[3] and "'Solution: double'" in texts[2]
    assert "hint 3 of 3" in hint("double").headline


def test_a_prompt_for_an_assistant_has_task_code_diagnosis_next_hint_and_the_wish_to_be_led():
    double = cell("import math\n\n\ndef double(x):\n    return x * x\n")["double"]
    hint(double)
    said = hint.prompt(double)
    assert repr(said) == said and "lead me by questions" in said and "Don't write the solution" in said
    for part in (
        "Twice the number.",
        "def double(x):\n    return x * x\n```",
        "you squared it",
        "Or multiply.",
    ):
        assert part in said, part
    assert "without:\nlru_cache, loops" in said
    assert (
        "Add it to itself." not in said and "import math" not in said
    )  # not an earlier hint, nor another cell
    assert "hint 2 of 3" in hint(double).headline  # asking an assistant takes no hint away
    assert "Or multiply." in hint.prompt(double)  # the last hint that isn't the solution


def test_a_prompt_is_refused_for_the_reference_and_leaves_progress_alone(home):
    namespace = cell("@solution\ndef double(x): return x + x")
    with pytest.raises(ValueError, match="double is the reference solution; run your own cell"):
        hint.prompt(namespace["double"])
    with pytest.raises(ValueError, match="no exercise is named 'dubble'"):
        hint.prompt(cell("def dubble(x): return x")["dubble"])
    hint.prompt(cell(STUB)["double"])
    assert not home.exists()


def test_a_prompt_shows_a_class_of_the_learners_whole():
    source = "class double:\n    factor = 2\n\n    def __init__(self, x):\n        self.x = x"
    assert f"```python\n{source}\n```" in hint.prompt(cell(source)["double"])


def test_results_show_themselves_as_text_and_as_html_that_cannot_run(home):
    result = check(cell("def double(x): return '<script>alert(1)</script>'")["double"])
    assert "<script>" not in result._repr_html_() and "&lt;script&gt;" in result._repr_html_()
    assert repr(result).startswith("✗ double: not yet")


def test_a_home_that_cannot_be_written_to_is_said_and_does_not_stop_the_check(home):
    home.write_text("a file where the folder should be")
    result = check(cell("def double(x): return x + x")["double"])
    assert result.passed and "not saved" in dict(result.lines)["progress"]


# @solution --------------------------------------------------------------------------------------------------

REFERENCE = "@solution\ndef double(x): return 2 * x"


def solved(names):
    """Run the solution cell in a notebook's namespace and return what `double` is then."""
    file = f"<cell {next(_cells)}>"
    exec(compile(REFERENCE, file, "exec"), names)
    return names["double"]


def test_the_reference_stands_in_for_a_stub_and_for_a_wrong_answer(capsys):
    for source in (STUB, "def double(x): return x"):
        names = cell(source)
        mine = names["double"]
        check(mine)
        assert solved(names) is not mine and names["double"](3) == 6
        assert "reference solution is used" in capsys.readouterr().out


def test_the_very_object_that_passed_is_kept_also_when_only_the_solution_cell_runs_again(capsys):
    names = cell("def double(x): return x + x")
    mine = names["double"]
    assert check(mine).passed
    assert solved(names) is mine and solved(names) is mine
    assert "your own answer" in capsys.readouterr().out


def test_an_answer_that_passed_once_and_was_changed_since_is_not_taken_for_it():
    names = cell("def double(x): return x + x")
    check(names["double"])
    names |= {"double": cell("def double(x): return 0")["double"]}
    assert answers.is_reference(solved(names))


def test_a_progress_file_alone_never_makes_an_unchecked_answer_count():
    progress.record("double", "passed")
    names = cell("def double(x): return 0")
    assert solved(names)(3) == 6


def test_an_answer_repaired_after_the_solution_ran_is_taken():
    names = cell("def double(x): return 0")
    check(names["double"])
    solved(names)
    names |= {"double": (mine := cell("def double(x): return x + x")["double"])}
    assert check(mine).passed
    assert solved(names) is mine


def test_checking_the_reference_counts_for_nothing():
    names = cell(STUB)
    reference = solved(names)
    result = check(reference)
    assert result.status == "not attempted" and "reference" in result.headline
    assert not progress.path.exists()


def test_a_class_derived_from_a_reference_is_the_learners_own():
    @answers.solution
    class Base:
        pass

    class Mine(Base):
        pass

    assert answers.is_reference(Base) and not answers.is_reference(Mine)


def test_without_a_main_thread_there_is_no_limit_and_no_error():
    results = []
    double = cell("def double(x): return x + x")["double"]
    thread = threading.Thread(target=lambda: results.append(check(double)))
    thread.start(), thread.join()
    assert results[0].passed


def test_a_misspelt_name_of_the_package_is_an_attribute_error():
    import dl_course

    with pytest.raises(AttributeError, match="chek"):
        dl_course.chek  # noqa: B018


def test_an_instructors_broken_module_leaves_nothing_behind_and_can_be_mended(tmp_path):
    file = tmp_path / "checks" / "broken_once.py"
    file.parent.mkdir()
    file.write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            add_private(tmp_path)
    file.write_text("")
    add_private(tmp_path)
    del sys.modules[f"{PRIVATE}.checks.broken_once"]
