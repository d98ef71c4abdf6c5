"""An example: copy this beside source/ as nbgrader_config.py, and name your course."""
# ruff: noqa: F821  nbgrader gives this file get_config

from dl_course.grading.nbgrader_course import configure

c = get_config()  # type: ignore[name-defined]
c.CourseDirectory.course_id = "deep-learning"
configure(c)

c.Judged.options = {"jobs": 2, "timeout": 60.0}  # what dl_course.grading.grade takes
# c.Judged.options |= {"private": "/somewhere/only/you/read"}  exercises and checks of your own
