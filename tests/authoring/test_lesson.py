"""A lesson is read whole, or refused with the line that breaks a rule."""

import pytest

from dl_course.authoring.lesson import read_lesson, read_lessons
from dl_course.authoring.stubs import LessonError
from tests.authoring.cells import CHECK_DOUBLE, CHECK_TALLY, CHECK_TRIPLE, DOUBLE, TALLY, TRIPLE

BARE = DOUBLE.replace('# %% tags=["exercise"]', "# %%")
TEXT = "# %% [markdown]\n# Some words, two lines:\n# ½ + ½ = 1"
ODD_CHECK = '# %% tags=["check"]\n'
UNKNOWN = DOUBLE.replace("double", "quadruple"), CHECK_DOUBLE.replace("double", "quadruple")


def test_a_lesson_knows_its_exercises_and_their_checks(course):
    lesson = read_lesson(course.write(DOUBLE, CHECK_DOUBLE, TEXT, TALLY, CHECK_TALLY))
    assert lesson.stem == "90_made_up"
    assert {index: each.name for index, each in lesson.exercises.items()} == {1: "double", 4: "Tally"}
    assert lesson.checks == {2: "double", 5: "Tally"}


@pytest.mark.parametrize(
    ("cells", "at", "why"),
    [
        ([DOUBLE, CHECK_DOUBLE, DOUBLE, CHECK_DOUBLE], 2, "a second exercise named 'double'"),
        ([TEXT, DOUBLE], 1, "exercise 'double' has no check after it"),
        ([DOUBLE, TRIPLE, CHECK_TRIPLE], 0, "exercise 'double' has no check after it"),
        ([TEXT, CHECK_DOUBLE], 1, "check(double) without its exercise before it"),
        ([DOUBLE, CHECK_DOUBLE, CHECK_DOUBLE], 2, "check(double) without its exercise before it"),
        ([CHECK_DOUBLE, DOUBLE], 0, "check(double) without its exercise before it"),
        ([DOUBLE, CHECK_TRIPLE], 1, "check(triple) without its exercise before it"),
        ([BARE, CHECK_DOUBLE], 0, "a solution region in a cell without the tag 'exercise'"),
        ([DOUBLE, ODD_CHECK + "print(double)"], 1, "a check cell has one line check(name); here are 0"),
        (
            [DOUBLE, ODD_CHECK + "check(double)\ncheck(double)"],
            1,
            "a check cell has one line check(name); here are 2",
        ),
        ([*UNKNOWN], 0, "no check for 'quadruple' in dl_course/exercises/checks/ch90.py"),
    ],
)
def test_a_lesson_that_breaks_a_rule_is_refused_with_the_line_of_the_cell(course, cells, at, why):
    path = course.write(*cells)
    lines = [
        number for number, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("# %%")
    ]
    with pytest.raises(LessonError) as refused:
        read_lesson(path)
    assert str(refused.value) == f"90_made_up.py, line {lines[at + 1] + 1}: {why}"


def test_the_line_is_right_where_text_stands_before_the_first_cell(course):
    path = course.root / "solutions" / "90_made_up.py"
    path.write_text(f"import this\n\n{DOUBLE}\n", encoding="utf-8")
    with pytest.raises(LessonError, match="line 4: exercise 'double' has no check"):
        read_lesson(path)


def test_an_exercise_of_another_chapter_is_refused(course):
    path = course.write(DOUBLE, CHECK_DOUBLE, name="91_other")
    with pytest.raises(LessonError, match=r"91_other\.py, line 5: no check for 'double' in .*ch91"):
        read_lesson(path)


def test_two_lessons_with_an_exercise_of_one_name_are_refused_with_the_line_of_the_second(course):
    course.write(DOUBLE, CHECK_DOUBLE, name="90_a")
    course.write(TEXT, DOUBLE, CHECK_DOUBLE, name="90_b")
    with pytest.raises(LessonError) as refused:
        read_lessons(course.root / "solutions")
    assert str(refused.value) == "90_b.py, line 9: exercise 'double' is in 90_a.py too"


def test_lessons_are_read_in_the_order_of_their_numbers_and_other_files_are_none(course):
    course.write(TEXT, name="91_second")
    course.write(TEXT, name="90_first")
    course.write(TEXT, name="notes")
    assert [lesson.stem for lesson in read_lessons(course.root / "solutions")] == ["90_first", "91_second"]
