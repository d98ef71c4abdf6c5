"""The clinic: ten patients, nine of them sick. Measure, name what is wrong, heal."""

from dl_course.clinic.opinion import second_opinion
from dl_course.clinic.patient import Patient
from dl_course.clinic.ward import BEDS, patient

__all__ = ["BEDS", "Patient", "patient", "second_opinion"]
