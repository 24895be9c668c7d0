"""One thread for each of pytest's workers: more would only get in each other's way."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in children
