"""Imports and exports of the sampler, and which files know the kernels by name."""

import re
import subprocess
import sys
from pathlib import Path

import devtrack.sampling


def test_devinterp_is_not_imported_before_it_is_needed():
    code = "import sys, devtrack.sampling, devtrack.metrics; print('devinterp' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_every_listed_name_exists():
    assert set(devtrack.sampling.__all__) <= set(vars(devtrack.sampling))


def test_no_other_file_compares_the_name_of_a_kernel():
    root = Path(devtrack.sampling.__file__).parents[1]
    compares = re.compile(r"\bmethod\s*(==|!=)\s*[\"']")
    found = {path.name for path in root.rglob("*.py") if compares.search(path.read_text())}
    assert found <= {"kernels.py"}
