"""`dl-course train` in several processes: ``torchrun --nproc-per-node=2 -m dl_course.experiments.train``"""

import logging
import sys

from dl_course.experiments.running import from_arguments

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        from_arguments(sys.argv[1:])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
