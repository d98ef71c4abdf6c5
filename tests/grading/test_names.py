"""Names of students: one for each, told apart by eye, never taken for another's."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl_course.grading.names import file_name, identity, printable, visible
from dl_course.grading.results import manual_marks, read_roster, table_as_csv
from dl_course.grading.submissions import find_submissions, usual_chapter

ANY = st.text(
    st.characters(), min_size=1, max_size=80
)  # lone surrogates, too: names of files that aren't UTF-8


@pytest.fixture
def handed_in(tmp_path):
    """Return a function that makes entries of these names and finds the submissions."""

    def found(*names):
        for name in names:
            path = tmp_path / name.removesuffix("/")
            path.mkdir() if name.endswith("/") else path.write_text("")
        return {each.student: each for each in find_submissions(tmp_path)}

    return found


@given(st.lists(ANY, unique=True, min_size=2, max_size=4))
def test_different_names_stay_different_wherever_they_are_shown_or_stored(names):
    assert len({visible(name) for name in names}) == len(names)
    assert len({file_name(name) for name in names}) == len(names)


@given(ANY)
def test_a_name_can_be_printed_stored_and_put_into_a_table_as_it_is_shown(name):
    shown = visible(name)
    assert printable(shown) == shown and shown.encode()
    assert len(file_name(name).encode()) < 200 and file_name(name).isascii()
    assert visible(name, ascii_only=True).isascii() or "…" in visible(name, ascii_only=True)


def test_spellings_of_one_name_are_one_identity_and_other_names_are_not():
    same = ["José Ángel", unicodedata.normalize("NFD", "josé ángel"), "JOSÉ  ÁNGEL ", "Jos\u200bé Ángel"]
    same += ["Ｊｏｓé Ángel", "Jos\u034fé\u00a0Ángel", "\ufeffJosé Ángel"]
    assert len({identity(name) for name in same}) == 1
    assert len({identity(name) for name in ("a b", "a_b", "a-b", "ab", "a.b")}) == 5


@pytest.mark.parametrize(
    ("entries", "students"),
    [
        (["alice.ipynb", "alice.ipynb.ipynb", "alice.txt", "bob.ipynb"],
         ["alice", "alice.ipynb.ipynb", "alice.txt", "bob"]),
        (["a b.ipynb", "a_b.ipynb"], ["a b", "a_b"]),
        (["maria.garcia/", "maria/"], ["maria", "maria.garcia"]),
        (["bob.ipynb", "bob\u200b.ipynb"], ["bob.ipynb", r"bob\u200b.ipynb"]),
        (["Eve.IPYNB", "carol.Ipynb"], ["Eve", "carol"]),
        (["eve.ipynb", "Eve.ipynb"], ["Eve.ipynb", "eve.ipynb"]),
        (["dan/", "dan.ipynb"], ["dan", "dan.ipynb"]),
        (["\x1b[2Jx.ipynb"], [r"\x1b[2Jx"]),
        (["é.ipynb", "e\u0301.ipynb"], [r"\xe9.ipynb", r"e\u0301.ipynb"]),
    ],
)  # fmt: skip
def test_every_entry_is_one_student_of_a_name_of_its_own(handed_in, entries, students):
    found = handed_in(*entries)
    assert sorted(found) == sorted(students)
    assert len({file_name(each) for each in found}) == len(entries)


def test_a_name_that_is_not_its_own_alone_has_a_note_for_the_instructor(handed_in):
    found = handed_in("bob.ipynb", "bob\u200b.ipynb", "carol.ipynb")
    assert [bool(each.note) for each in found.values()] == [True, True, False]
    assert found["bob.ipynb"].key == found[r"bob\u200b.ipynb"].key == "bob"


def test_names_that_are_no_utf8_are_students_too(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.ipynb")).write_text("")
    (found,) = find_submissions(tmp_path)
    assert found.student == r"caf\udce9"


def test_a_roster_that_names_one_student_in_two_spellings_is_refused(tmp_path):
    roster = tmp_path / "roster.csv"
    roster.write_text("student\nalice\nbob\nalice\n")
    assert read_roster(roster) == ["alice", "bob"]
    roster.write_text("student\nbob\nBob\u200b\n")
    with pytest.raises(ValueError, match=r"has both 'bob' and 'Bob\\u200b': one student, or two"):
        read_roster(roster)


def test_manual_marks_stay_with_their_row(tmp_path):
    sheet = tmp_path / "manual.csv"
    students = ["bob.ipynb", r"bob\u200b.ipynb", "=1", "'=1", "gone"]
    manual_marks(sheet, {"talk": 5}, students)
    lines = sheet.read_text().splitlines()
    sheet.write_text("\n".join([lines[0], *(f"{line}{n}" for n, line in enumerate(lines[1:]))]) + "\n")
    marks = manual_marks(sheet, {"talk": 5}, students[:-1])
    assert [marks[each]["talk"] for each in students] == [0, 1, 2, 3, 4]
    assert "\ngone,4" in sheet.read_text()  # kept, should the student come back
    sheet.write_text("student,talk\nbob,1\nbob,2\n")
    with pytest.raises(ValueError, match="two rows of 'bob'"):
        manual_marks(sheet, {"talk": 5}, ["bob"])


def test_folders_without_end_are_refused_in_words_and_end_no_run(handed_in, tmp_path):
    found = handed_in("deep/", "wide/", "02_x.ipynb")
    here = os.getcwd()
    try:
        os.chdir(tmp_path / "deep")
        for _ in range(30):  # beyond 4,096 bytes
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.chdir(here)
    for number in range(101):
        (tmp_path / "wide" / str(number)).write_text("")
    assert usual_chapter(list(found.values())) == "02"
    for student, says in (("deep", "deep in one another|too long"), ("wide", "more than 100 files")):
        with pytest.raises(ValueError, match=says):
            found[student].files("02")


def test_no_cell_of_the_table_is_a_formula():
    pd = pytest.importorskip("pandas")
    names = ["=1", "'=1", "＝1", "+1", "@x", "plain"]
    text = table_as_csv(pd.DataFrame({"note": names}, index=pd.Index(names, name="student")))
    assert text.splitlines()[1:] == [f"'{each},'{each}" for each in names[:-1]] + ["plain,plain"]
