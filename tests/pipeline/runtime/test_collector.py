"""A stage's process spends no time on objects that stay until its end."""

import os
import subprocess
import sys

from tiny_project import ROOT

PROGRAM = """
import atexit, gc
from pipeline.runtime.command_line import run_stage
atexit.register(lambda: print(gc.get_freeze_count() > 0))  # what was registered first is called last
run_stage(lambda: print(gc.get_threshold() > (2000,)))
"""


def test_the_collector_runs_rarely_in_a_stage_and_leaves_everything_out_at_its_end() -> None:
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True", "True"]
