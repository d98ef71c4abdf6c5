"""The instructor's desk: platforms' archives, late work, answers that read alike, signed statements."""

import csv
import io
import json
import math
import os
import time
import zipfile
from datetime import datetime, timedelta

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dl_course.cli import main
from dl_course.exercises.checks import find_exercise
from dl_course.grading import analytics, certificate, late, lms, similarity
from dl_course.grading.desk import decide, read_decisions, with_decisions, with_lateness
from dl_course.grading.reading import read_answers
from dl_course.grading.submissions import find_submissions
from tests.grading.answers import written_answers

NOTEBOOK = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
CANVAS = [
    "doejane_12345_67890_04_training.ipynb", "roemax_LATE_12346_67891_04_training-1.ipynb",
    "doejane_12347_67892_my answer.ipynb",
]  # fmt: skip
MOODLE = [
    "Jane Doe_501_assignsubmission_file_/04_training.ipynb", "Jane Doe_501_assignsubmission_file_/net.pt",
    "Max Roe_502_assignsubmission_file_04_training.ipynb", "Ümit Ağa_503_assignsubmission_file/a/04.ipynb",
    "Max Roe_502_assignsubmission_onlinetext_/onlinetext.html",
]  # fmt: skip
CLASSROOM = ["Chapter 4/Jane Doe - 04_training.ipynb", "Chapter 4/Max Roe - Copy of 04 - mine.ipynb"]


def archive(path, names, when=(2026, 11, 29, 20, 0, 0), content=NOTEBOOK):
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(zipfile.ZipInfo(name, when), content)
    return path


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("names", "platform", "found"),
    [
        (CANVAS, "canvas", ["doejane 12345/04_training.ipynb", "doejane 12347/my answer.ipynb",
                            "roemax/04_training-1.ipynb"]),
        (MOODLE, "moodle", ["Jane Doe/04_training.ipynb", "Jane Doe/net.pt", "Max Roe/04_training.ipynb",
                            "Ümit Ağa/a/04.ipynb"]),
        (CLASSROOM, "classroom", ["Jane Doe/04_training.ipynb", "Max Roe/Copy of 04 - mine.ipynb"]),
    ],
)  # fmt: skip
def test_an_archive_becomes_a_folder_with_an_entry_for_each_student(names, platform, found, tmp_path):
    said, known = lms.unpack(archive(tmp_path / "all.zip", names), tmp_path / "work")
    assert (said, files(tmp_path / "work")) == (platform, sorted(found))
    assert {path.partition("/")[0] for path in found} == known.keys()
    assert all(each.time == datetime(2026, 11, 29, 20) for each in known.values())


def test_canvas_says_who_was_late(tmp_path):
    _, known = lms.unpack(archive(tmp_path / "all.zip", CANVAS), tmp_path / "work")
    assert [name for name, each in known.items() if each.late] == ["roemax"]


@pytest.mark.parametrize("inside", ["../../out.ipynb", "a/../../../out.ipynb", "/etc/out.ipynb", "..\\out"])
def test_nothing_is_unpacked_outside_of_its_folder(inside, tmp_path):
    names = [*MOODLE, f"Eve Doe_9_assignsubmission_file_/{inside}"]
    lms.unpack(archive(tmp_path / "all.zip", names), tmp_path / "deep" / "work")
    assert [name for name in files(tmp_path) if "out" in name] == []


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a\\b", "\x1b[2J", "​"])
def test_a_name_that_no_folder_can_have_still_gets_its_row(name, tmp_path):
    names = [f"{name}_9_assignsubmission_file_/04.ipynb", *MOODLE]
    _, known = lms.unpack(archive(tmp_path / "all.zip", names), tmp_path / "work")
    (odd,) = [each for each in known if each not in ("Jane Doe", "Max Roe", "Ümit Ağa")]
    assert odd.isprintable() and odd[0] != "." and (tmp_path / "work" / odd / "04.ipynb").is_file()


def test_an_archive_of_another_form_is_refused_with_what_it_holds(tmp_path):
    with pytest.raises(ValueError, match="Canvas, Moodle and Classroom are known; it holds alice.ipynb"):
        lms.unpack(archive(tmp_path / "all.zip", ["alice.ipynb"]), tmp_path / "work")
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(ValueError, match="is no ZIP file"):
        lms.unpack(tmp_path / "no.zip", tmp_path / "work")


def test_a_file_that_cant_be_unpacked_is_its_students_problem_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lms, "MOST_BYTES", 1000)
    names = [*MOODLE, f"Eve Doe_9_assignsubmission_file_/{'x' * 300}.ipynb"]
    path = archive(tmp_path / "all.zip", names)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("Big Bob_10_assignsubmission_file_/04.ipynb", b"0" * 2000)
        packed.writestr(
            zipfile.ZipInfo("Odd Ida_11_assignsubmission_file_/04.ipynb", (1980, 0, 0, 0, 0, 0)), b""
        )
    _, known = lms.unpack(path, tmp_path / "work")
    wrong = {name: each.problems[0] for name, each in known.items() if each.problems}
    assert wrong.keys() == {"Eve Doe", "Big Bob"} and "too long" in wrong["Eve Doe"]
    assert "a file of the archive is larger" in wrong["Big Bob"] and known["Odd Ida"].time is None
    assert "Jane Doe/04_training.ipynb" in files(tmp_path / "work")
    assert not [each for each in files(tmp_path / "work") if each.startswith("Big Bob")]


def test_two_files_of_one_name_are_both_kept(tmp_path):
    names = ["doejane_1_2_04.ipynb", "doejane_1_3_04.ipynb"]
    lms.unpack(archive(tmp_path / "all.zip", names), tmp_path / "work")
    assert files(tmp_path / "work") == ["doejane/04 3.ipynb", "doejane/04.ipynb"]


def test_an_archive_that_grows_beyond_all_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lms, "_MOST_PACKED", 3000)
    with pytest.raises(ValueError, match="holds more than"):
        lms.unpack(archive(tmp_path / "all.zip", MOODLE, content=b"0" * 2000), tmp_path / "work")


ROWS = [
    {"student": "roemax", "points": 7.5, "of": 12, "note": "1 day late: −10 %"},
    {"student": "nobody", "points": 0, "of": 12, "note": ""},
]


def test_canvas_takes_back_a_line_of_possible_points_and_marks_by_its_own_number(tmp_path):
    _, known = lms.unpack(archive(tmp_path / "all.zip", CANVAS), tmp_path / "work")
    heads, possible, *rows = csv.reader(io.StringIO(lms.marks_for("canvas", ROWS, known, "Week 4 (77)")))
    assert heads == ["Student", "ID", "SIS Login ID", "Section", "Week 4 (77)"]
    assert possible == ["    Points Possible", "", "", "", "12"]
    assert rows == [["roemax", "12346", "", "", "7.5"]]


def test_moodles_worksheet_matches_by_identifier(tmp_path):
    _, known = lms.unpack(archive(tmp_path / "all.zip", MOODLE), tmp_path / "work")
    rows = [ROWS[0] | {"student": "Max Roe", "note": "=1+1"}]
    (row,) = csv.DictReader(io.StringIO(lms.marks_for("moodle", rows, known, "")))
    assert (row["Identifier"], row["Grade"], row["Maximum Grade"]) == ("Participant 502", "7.5", "12")
    assert row["Feedback comments"] == "'=1+1"


def test_marks_without_the_platforms_numbers_are_refused():
    with pytest.raises(ValueError, match="nobody's canvas number is known: grade the ZIP file"):
        lms.marks_for("canvas", ROWS, {}, "")
    with pytest.raises(ValueError, match="canvas and moodle; given: 'blackboard'"):
        lms.marks_for("blackboard", ROWS, {}, "")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (CANVAS, "roemax_12346_67891_feedback.html"),
        (MOODLE, "Max Roe_502_assignsubmission_file_/feedback.html"),
        (CLASSROOM, "Max Roe - feedback.html"),
    ],
)
def test_feedback_goes_back_under_the_names_that_the_platform_knows(names, wanted, tmp_path):
    platform, known = lms.unpack(archive(tmp_path / "all.zip", names), tmp_path / "work")
    (tmp_path / "page.html").write_text("well done")
    pages = dict.fromkeys(known, tmp_path / "page.html")
    lms.feedback_zip(tmp_path / "back.zip", platform, pages, known)
    with zipfile.ZipFile(tmp_path / "back.zip") as packed:
        assert wanted in packed.namelist() and len(packed.namelist()) == len(known)
    if platform == "moodle":  # what goes back is read as what came
        assert lms.unpack(tmp_path / "back.zip", tmp_path / "again")[1].keys() == known.keys()


DUE = datetime(2026, 11, 29, 20)


@pytest.mark.parametrize(
    ("minutes", "share"),
    [(-10, 0), (0, 0), (15, 0), (16, 0.1), (24 * 60, 0.1), (24 * 60 + 1, 0.2), (99999, 0.5)],
)
def test_each_day_begun_after_the_grace_costs_its_percent_up_to_the_most(minutes, share):
    rule = late.LateRule(DUE, percent=10, grace=15, most=50)
    lost, why = rule.lost("ann", DUE + timedelta(minutes=minutes))
    assert lost == pytest.approx(share) and bool(why) == bool(share)


def test_an_extension_moves_one_students_time_and_is_said():
    rule = late.LateRule(DUE, extensions={"ann": DUE + timedelta(days=2)})
    handed_in = DUE + timedelta(days=2, hours=3)
    assert rule.lost("ann", handed_in) == (0.1, "3 h late (due 2026-12-01 20:00, extended): −10 %")
    assert rule.lost("bob", handed_in)[0] == pytest.approx(0.3)


def test_impossible_rules_and_times_are_refused(tmp_path):
    with pytest.raises(ValueError, match="late is a percentage from 0 to 100; given: 110"):
        late.LateRule(DUE, percent=110)
    with pytest.raises(ValueError, match="grace is a number of minutes"):
        late.LateRule(DUE, grace=-1)
    with pytest.raises(ValueError, match="'tomorrow' is no time: write 2026-11-29 23:59"):
        late.moment("tomorrow")
    assert late.moment("2026-11-29") == datetime(2026, 11, 29, 23, 59, 59)
    sheet = tmp_path / "times.csv"
    sheet.write_text("student,due\nann,2026-12-01\nbob,soon\n")
    with pytest.raises(ValueError, match=r"times.csv, bob: 'soon' is no time"):
        late.read_times(sheet)
    sheet.write_text("name,when\n")
    with pytest.raises(ValueError, match="has no column 'student'"):
        late.read_times(sheet)
    sheet.write_text("student,when\nann,2026-12-01\n")
    with pytest.raises(ValueError, match="takes a CSV with the columns student and due"):
        late.read_times(sheet)
    sheet.write_text("Student, Due\nann,2026-12-01 12:00\n")
    assert late.read_times(sheet) == {"ann": datetime(2026, 12, 1, 12)}


OWN = '''
def standardize(images):
    """Standardize."""
    total = images.shape[0] * images.shape[2] * images.shape[3]
    centre = images.sum(dim=(0, 2, 3), keepdim=True) / total
    spread = ((images - centre) ** 2).sum(dim=(0, 2, 3), keepdim=True) / total
    if (spread <= 1e-12).any():
        spread = torch.where(spread <= 1e-12, torch.ones_like(spread), spread)
    return (images - centre) / spread.sqrt()
'''
RENAMED = (
    OWN.replace("images", "x").replace("total", "n").replace("centre", "m").replace("spread", "v")
    .replace('"""Standardize."""', '"Mine, all mine."\n    # I thought of this')
    .replace("def standardize(x):", "def standardize(x: torch.Tensor) -> torch.Tensor:")
)  # fmt: skip
OTHER = """
def standardize(images):
    out = torch.empty_like(images)
    for channel in range(images.shape[1]):
        plane = images[:, channel]
        low = plane.mean()
        width = plane.std(unbiased=False)
        out[:, channel] = (plane - low) / (width if width > 0 else 1)
    return out
"""


def alike(**texts):
    exercise = find_exercise("standardize")
    found = similarity.similar({who: {"standardize": text} for who, text in texts.items()}, [exercise])
    return [pair.students for pair in found]


def test_an_answer_with_other_names_comments_and_annotations_reads_alike():
    assert alike(ann=OWN, bob=RENAMED, cat=OTHER) == [("ann", "bob")]


def test_the_reference_and_what_everybody_has_are_no_evidence():
    import inspect

    reference = inspect.getsource(find_exercise("standardize").reference)
    assert alike(ann=reference, bob=reference) == []
    assert alike(**{f"student {i}": OWN for i in range(9)}) == []


@pytest.mark.parametrize("chapter", ["01", "02", "03", "04", "05", "06"])
def test_of_the_suites_answers_only_one_pair_reads_alike_which_was_written_as_one(chapter):
    answers = {
        str(place): {each.exercise: each.definition} for place, each in enumerate(written_answers(chapter))
    }
    exercises = [find_exercise(name) for name in {name for each in answers.values() for name in each}]
    found = [pair.exercise for pair in similarity.similar(answers, exercises)]
    assert found == (["training_step"] if chapter == "02" else [])  # one slip apart


def test_no_source_ends_the_comparison():
    deep = "def standardize(x):\n    return " + "-" * 100_000 + "x"
    assert alike(ann=OWN, bob="def broken(:", cat=deep, dan="", eve="\0") == []
    with pytest.raises(ValueError, match="share lies above 0"):
        similarity.similar({}, [], share=0)


def handed_in(folder, name, *sources):
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    (folder / f"{name}.ipynb").write_text(nbformat.writes(notebook))


def test_an_answer_is_read_with_its_helpers_and_what_is_no_notebook_is_said(tmp_path):
    helper = "import torch\ndef spread(x):\n    return x.std(0)"
    answer = "def standardize(images):\n    return images / spread(images)"
    handed_in(tmp_path, "ann", helper, answer, "unused = 1")
    handed_in(tmp_path, "bob", "x = " + "(" * 50_000 + "1" + ")" * 50_000, OWN)
    (tmp_path / "cat.ipynb").write_text("[" * 1_000_000)
    answers, unread = read_answers(find_submissions(tmp_path), "01", ["standardize", "relu"], 50)
    assert answers["ann"].keys() == {"standardize"} == answers["bob"].keys()
    assert "def spread" in answers["ann"]["standardize"] and "unused" not in answers["ann"]["standardize"]
    assert unread == {"cat": "that is no notebook (RecursionError)"}


def test_notebooks_that_take_too_long_are_each_given_up(tmp_path):
    for name in ("dan", "eve"):
        handed_in(tmp_path, name, "x = " + "-" * 3_000_000 + "1")
    answers, unread = read_answers(find_submissions(tmp_path), "01", ["standardize"], 0.3)
    assert answers == {} and unread.keys() == {"dan", "eve"}
    assert "takes more than 0.3 s" in unread["eve"]


def test_the_page_shows_both_texts_and_runs_nothing():
    pairs = similarity.similar(
        {"<b>ann": {"standardize": OWN + "# <script>"}, "bob": {"standardize": RENAMED}},
        [find_exercise("standardize")],
    )
    shown = similarity.body(pairs)
    assert (
        "centre" in shown and "I thought of this" in shown and "<script" not in shown and "<b>" not in shown
    )


RESULT = {
    "student": "Jané Doe", "chapter": "04", "points": 9.5, "of": 12,
    "exercises": {"evaluate": {"status": "passed"}, "train_step": {"status": "not yet"}},
}  # fmt: skip


def test_a_statement_is_verified_offline_and_a_changed_one_is_not(tmp_path):
    public = certificate.keys(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    signed = certificate.certificate(RESULT, tmp_path / "key", "A school")
    found = certificate.verify(json.dumps(signed, indent=4), public)
    assert (found["student"], found["passed"], found["issuer"]) == ("Jané Doe", ["evaluate"], "A school")
    assert "Not attested" in found["attests"]
    for key in signed["statement"]:
        forged = {**signed, "statement": signed["statement"] | {key: signed["statement"][key] * 2}}
        with pytest.raises(ValueError, match="not genuine|another form"):
            certificate.verify(json.dumps(forged), public)
    another = certificate.keys(tmp_path / "another")
    with pytest.raises(ValueError, match="signed with another key"):
        certificate.verify(json.dumps(signed), another)


def test_what_is_no_statement_and_what_is_no_key_is_said(tmp_path):
    public = certificate.keys(tmp_path / "key")
    for text in ("", "[]", '{"statement": 3}', '{"statement": {"format": "x"}, "signature": "%"}', "null"):
        with pytest.raises(ValueError, match="no statement of practice"):
            certificate.verify(text, public)
    with pytest.raises(FileExistsError, match="would make old signatures worthless"):
        certificate.keys(tmp_path / "key")
    with pytest.raises(ValueError, match="no Ed25519 key"):
        certificate.verify("{}", tmp_path / "key")
    with pytest.raises(ValueError, match="no Ed25519 key"):
        certificate.certificate(RESULT, public, "A school")


RIGHT = """import torch
def standardize(images):
    std, mean = torch.std_mean(images.float(), (0, 2, 3), correction=0, keepdim=True)
    return (images - mean) / torch.where(std == 0, 1.0, std)"""
WRONG = "def standardize(images):\n    return (images - images.mean()) / images.std()"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A class of three in Moodle's archive, a day and a minute late, graded once by the command."""
    folder = tmp_path_factory.mktemp("desk")
    path = folder / "moodle.zip"
    passed = {
        "exercises": {"standardize": {"status": "passed", "when": "2026-11-27T10:00:00", "attempts": 2}}
    }
    with zipfile.ZipFile(path, "w") as packed:
        for name, number, source in (("Ann", 1, RIGHT), ("Bob", 2, WRONG), ("Cat", 3, RIGHT)):
            place = f"{name}_{number}_assignsubmission_file_"
            notebook = nbformat.writes(new_notebook(cells=[new_code_cell(source)]))
            packed.writestr(zipfile.ZipInfo(f"{place}/01.ipynb", (2026, 11, 29, 20, 1, 0)), notebook)
            progress = json.dumps(passed) if number < 3 else "[" * 9999  # Cat's is damaged
            file = zipfile.ZipInfo(f"{place}/dl_course_progress.json", (2026, 11, 29, 19, 0, 0))  # not now
            packed.writestr(file, progress)
    (folder / "more.csv").write_text("student,due\ncat,2026-12-24\n")
    command = ["grade", str(path), "-o", str(folder / "out"), "--exercises", "standardize", "--seed", "s"]
    command += [
        "--points",
        "standardize=20",
        "--due",
        "2026-11-28 20:00",
        "--late",
        "10",
        "--format",
        "moodle",
    ]
    command += ["--extensions", str(folder / "more.csv"), "--assignment", "Week 1", "--manual", "report=5"]
    assert main(command) == 0
    return folder


def graded(desk):
    with (desk / "out" / "grades.csv").open(newline="") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def test_points_and_lateness_are_the_instructors_and_are_shown(desk):
    rows = graded(desk)
    assert {name: float(row["points"]) for name, row in rows.items()} == {"Ann": 16, "Bob": 0, "Cat": 20}
    assert {row["of"] for row in rows.values()} == {"25.0"} and float(rows["Ann"]["late"]) == -4
    assert "1 day 1 min late (due 2026-11-28 20:00): −20 %" in rows["Ann"]["note"]
    page = next((desk / "out" / "feedback").glob("ann*")).read_text()
    assert "1 day 1 min late" in page
    assert "late (due" not in next((desk / "out" / "feedback").glob("cat*")).read_text()


def test_moodle_gets_its_worksheet_and_its_feedback(desk):
    with (desk / "out" / "grades_moodle.csv").open(newline="") as file:
        found = {row["Identifier"]: row["Grade"] for row in csv.DictReader(file)}
    assert found == {"Participant 1": "16", "Participant 2": "0", "Participant 3": "20"}
    with zipfile.ZipFile(desk / "out" / "feedback_moodle.zip") as packed:
        assert "Ann_1_assignsubmission_file_/feedback.html" in packed.namelist()
        assert b"<p>Cat</p>" in packed.read("Cat_3_assignsubmission_file_/feedback.html")


def test_the_overview_says_who_passed_when_in_a_picture_that_can_be_read_aloud(desk):
    page = (desk / "out" / "overview.html").read_text()
    assert 'aria-label="standardize: 2 passed, 1 not yet, 0 not attempted"' in page
    assert "2, half of them by 2026-11-27" in page


def test_a_request_is_answered_by_the_judge_or_by_hand_and_the_reason_is_kept(desk, capsys):
    out = str(desk / "out")
    ask = ["regrade", "Bob", "-o", out, "--exercise", "standardize", "--because"]
    assert main([*ask, "asked, and judged again"]) == 0
    assert main([*ask, "the idea is right", "--points", "6"]) == 0
    assert float(graded(desk)["Bob"]["points"]) == pytest.approx(6 * 0.8)
    with (desk / "out" / "regrades.csv").open(newline="") as file:
        rows = [(row["old"], row["new"], row["because"], row["by"]) for row in csv.DictReader(file)]
    assert rows == [
        ("0", "0", "asked, and judged again", "judge"), ("0", "6", "the idea is right", "hand"),
    ]  # fmt: skip
    page = next((desk / "out" / "feedback").glob("bob*")).read_text()
    assert "regraded 0 → 6: the idea is right" in page
    capsys.readouterr()
    for wrong, said in (
        (["regrade", "Eve", *ask[2:], "x"], "no result of 'Eve'"),
        ([*ask[:4], "--exercise", "standardise", "--because", "x"], "did you mean 'standardize'?"),
        ([*ask, "x", "--points", "21"], "has from 0 to 20 points; given: 21"),
    ):
        assert main(wrong) == 1 and said in capsys.readouterr().err


def test_copies_are_listed_and_statements_signed_on_the_command_line(desk, tmp_path, capsys):
    assert main(["similar", str(desk / "moodle.zip"), "-o", str(tmp_path / "alike.html")]) == 0
    assert "0 pairs to look at" in capsys.readouterr().out  # too short to be evidence
    key = tmp_path / "key"
    result = next((desk / "out" / "results").glob("ann*"))
    assert main(["certificate", "--new-key", str(key)]) == 0
    signing = ["certificate", str(result), "--sign", str(key), "--issuer", "A school"]
    assert main([*signing, "-o", str(tmp_path / "ann.json")]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "ann.json"), "--key", f"{key}.pub"]) == 0
    assert "genuine: Ann, chapter 01: 20 of 20 points\npassed: standardize" in capsys.readouterr().out
    (tmp_path / "ann.json").write_text((tmp_path / "ann.json").read_text().replace("Ann", "Eve"))
    assert main(["verify", str(tmp_path / "ann.json"), "--key", f"{key}.pub"]) == 1
    assert "not genuine" in capsys.readouterr().err


def test_the_last_decision_counts_be_it_the_judges_or_by_hand(desk):
    def decided(*rows):
        heads = ("old", "new", "by")
        named = {"student": "Ann", "exercise": "standardize", "because": "x"}
        return [named | dict(zip(heads, row, strict=True)) for row in rows]

    marks = {"standardize": {"points": 20.0, "notes": []}}
    result = {"student": "Ann", "exercises": marks, "points": 20.0}

    def points(*rows):
        (found,) = with_decisions([result], decided(*rows))
        assert len(found["exercises"]["standardize"]["notes"]) == len(rows)
        return found["points"]

    assert points(("20", "6", "hand")) == 6
    assert points(("20", "6", "hand"), ("6", "20", "judge")) == 20
    assert points(("20", "6", "hand"), ("6", "20", "judge"), ("20", "7", "hand")) == 7
    assert points() == 20 and marks["standardize"]["notes"] == []


def test_a_regrade_finds_everything_again_from_another_folder(desk, tmp_path, monkeypatch):
    kept = json.loads((desk / "out" / "settings.json").read_text())
    assert kept["submissions"] == str(desk / "moodle.zip")
    monkeypatch.chdir(desk)
    assert (
        main(["grade", "moodle.zip", "-o", "relative", "--chapter", "01", "--exercises", "standardize"]) == 0
    )
    monkeypatch.chdir(tmp_path)
    command = ["regrade", "Ann", "-o", str(desk / "relative"), "--exercise", "standardize"]
    assert main([*command, "--because", "asked"]) == 0
    (desk / "relative" / "settings.json").write_text("{}")
    assert main([*command, "--because", "asked"]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "student,due\r\nann,2026-12-01 12:00\r\n",
        "Name;Student;Due\nA;ann;2026-12-01 12:00\n;;\n",
        "student\tdue\nann\t2026-12-01T12:00\n",
        "\ufeffstudent,due\nann,2026-12-01 12:00:00\n\n",
        "student,time\nAnn,2026-12-01 12:00\nann,2026-12-01 12:00\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_is_read_as_spreadsheets_save_it(text, encoding, tmp_path):
    (tmp_path / "times.csv").write_bytes(text.encode(encoding))
    assert late.read_times(tmp_path / "times.csv") == {"ann": datetime(2026, 12, 1, 12)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"student,due\nJos\xe9,2026-12-01\n", "save it as 'CSV UTF-8'"),
        (b"student,due\nann," + b"1" * 200_000, "can't be read as a table"),
        (b"student,due\nann,0001-01-01\n", "is no time"),
        (b"student,due\nann,9999-12-31T23:59-12:00\n", "is no time"),
        (b"student,due\nann,2026-13-01\n", "is no time"),
        (b"student,due\nann,29.11.2026\n", "write 2026-11-29 23:59"),
        (b"student,due\nann\n", "'' is no time"),
        (b"student,due\nann,\x1b[2J\n", "' \\[2J' is no time|'\\[2J' is no time"),
        (b"student,due\nann,2026-12-01\nANN,2026-12-02\n", "two times of 'ANN': keep one"),
        (b"", "no column 'student'"),
    ],
)
def test_a_table_that_cant_be_meant_is_refused_in_words(content, said, tmp_path):
    (tmp_path / "times.csv").write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        late.read_times(tmp_path / "times.csv")
    assert str(error.value).isprintable()


def test_a_day_ends_at_midnight_in_whatever_form_it_is_written():
    end = datetime(2026, 11, 29, 23, 59, 59)
    assert late.moment("20261129") == late.moment("2026-W48-7") == late.moment(" 2026-11-29 ") == end
    assert late.moment("2026-11-29T23:59") == datetime(2026, 11, 29, 23, 59)


def test_clocks_that_are_changed_make_nobody_late(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        rule = late.LateRule(datetime(2026, 10, 24, 23, 0), percent=10)
        assert rule.lost("ann", datetime(2026, 10, 25, 23, 0))[0] == pytest.approx(0.2)  # 25 hours later
        rule = late.LateRule(datetime(2026, 3, 28, 23, 0), percent=10)
        assert rule.lost("ann", datetime(2026, 3, 29, 23, 30))[0] == pytest.approx(0.1)  # 23.5 hours later
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_files_own_time_may_be_any_number(tmp_path):
    handed_in(tmp_path, "ann", OWN)
    os.utime(tmp_path / "ann.ipynb", (2**38, 2**38))
    (found,) = find_submissions(tmp_path)
    (result,) = with_lateness([{"student": "ann"}], [found], {}, late.LateRule(DUE), {})
    assert result["late"] == 1


def test_two_students_never_share_a_folder_whatever_they_are_called(tmp_path):
    names = ["Jane Doe 5_9", "Jane Doe_5", "Jane Doe_6"]
    _, known = lms.unpack(
        archive(tmp_path / "all.zip", [f"{name}_assignsubmission_file_/04.ipynb" for name in names]),
        tmp_path / "work",
    )
    assert sorted((name, each.id) for name, each in known.items()) == [
        ("Jane Doe 5", "5"), ("Jane Doe 5 9", "9"), ("Jane Doe 6", "6"),
    ]  # fmt: skip
    assert len(files(tmp_path / "work")) == 3


def test_a_bomb_of_many_files_is_its_students_problem_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(lms, "MOST_BYTES", 1000)
    names = [f"Big Bob_10_assignsubmission_file_/{n}.bin" for n in range(9)]
    path = archive(tmp_path / "all.zip", names, content=b"0" * 300)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("Ann Lee_11_assignsubmission_file_/04.ipynb", b"0" * 900)
    _, known = lms.unpack(path, tmp_path / "work")
    assert len(known["Big Bob"].problems) == 6 and known["Ann Lee"].problems == ()
    assert len(files(tmp_path / "work")) == 4


def test_a_damaged_file_of_an_archive_is_its_students_problem_alone(tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("Ann_1_assignsubmission_file_/04.ipynb", b"a" * 5000)
        packed.writestr("Bob_2_assignsubmission_file_/04.ipynb", NOTEBOOK)
    data = bytearray(path.read_bytes())
    start = data.index(b".ipynb") + len(b".ipynb")
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    _, known = lms.unpack(path, tmp_path / "work")
    assert "not unpacked: 04.ipynb" in known["Ann"].problems[0] and known["Bob"].problems == ()


def test_nothing_in_the_kept_decisions_is_a_formula_and_they_are_read_as_written(tmp_path):
    row = {"when": "w", "student": "=ann", "exercise": "relu", "old": "0", "new": "1"}
    decide(tmp_path, row | {"because": "=HYPERLINK(1)", "by": "hand"})
    decide(tmp_path, row | {"because": "fine", "by": "judge"})
    text = (tmp_path / "regrades.csv").read_text()
    assert ",=" not in text and "'=ann" in text
    found = read_decisions(tmp_path)
    assert [(each["student"], each["because"]) for each in found] == [
        ("=ann", "=HYPERLINK(1)"), ("=ann", "fine"),
    ]  # fmt: skip
    (tmp_path / "regrades.csv").write_text(text.replace(",1,", ",nan,"))
    with pytest.raises(ValueError, match="is 'nan', no number"):
        read_decisions(tmp_path)


def test_a_progress_file_with_times_of_no_year_says_nothing():
    entry = {"status": "passed", "when": "0001-01-01T00:00:00"}
    assert analytics._time(entry) is None
    assert analytics._time(entry | {"when": "2026-11-27T10:00:00"}) == datetime(2026, 11, 27, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "no statement of practice"),
        (" " * 2_000_000, "no statement of practice"),
        ('{"statement": {"format": "\\u001b[2J"}, "signature": ""}', "another form: ' ?\\[2J'"),
    ],
)
def test_a_file_of_any_kind_is_told_from_a_statement(text, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        certificate.verify(text, certificate.keys(tmp_path / "key"))


@pytest.mark.parametrize(
    "result", [{}, {"exercises": []}, RESULT | {"points": math.nan}, RESULT | {"exercises": {"a": 1}}]
)
def test_only_a_result_of_the_judge_is_signed(result, tmp_path, capsys):
    certificate.keys(tmp_path / "key")
    with pytest.raises(ValueError, match="no result of the judge"):
        certificate.certificate(result, tmp_path / "key", "A school")
    (tmp_path / "result.json").write_text("[" * 9999)
    signing = ["certificate", str(tmp_path / "result.json"), "--sign", str(tmp_path / "key")]
    assert main([*signing, "-o", str(tmp_path / "out.json")]) == 1
    assert "is no result of the judge" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--exercises", "standardise"], "no exercise 'standardise' in this chapter; did you mean"),
        (["--points", "relu=3"], "no exercise 'relu' in this chapter"),
        (["--due", "yesterday"], "'yesterday' is no time"),
        (["--late", "nan", "--due", "2026-11-29"], "late is a percentage from 0 to 100; given: nan"),
        (["--late-most", "-1", "--due", "2026-11-29"], "late-most is a percentage"),
        (["--grace", "inf", "--due", "2026-11-29"], "grace is a number of minutes"),
        (["--times", "any.csv"], "mean nothing without a deadline"),
        (["--timeout", "-1"], "timeout is a number of seconds above 0; given: -1"),
        (["--format", "blackboard"], "canvas and moodle; given: 'blackboard'"),
    ],
)
def test_what_cant_be_meant_is_refused_before_anything_is_judged(wrong, said, desk, tmp_path, capsys):
    command = ["grade", str(desk / "moodle.zip"), "-o", str(tmp_path / "out"), "--chapter", "01"]
    assert main([*command, *wrong]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out" / "results").exists()
