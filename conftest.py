"""A bare `pytest` or `pytest --nbval` runs offline, in a known hash order, without your own progress."""

import os
import tempfile

os.environ["DL_COURSE_OFFLINE"] = "1"
os.environ["PYTHONHASHSEED"] = "0"  # for the kernels and processes that tests start
os.environ["DL_COURSE_HOME"] = tempfile.mkdtemp(prefix="dl_course_test_")
