"""A stage does not ask the system for the memory of each tensor anew."""

import os
import subprocess
import sys

import pytest
from tiny_project import ROOT

TENSOR = 48 * 2**20  # bytes
TENSORS = 100
PROGRAM = f"""
import resource, torch
from pipeline.runtime.command_line import run_stage

def main():
    for _ in range({TENSORS}):
        torch.ones({TENSOR}, dtype=torch.uint8)

START
"""


def page_faults(start: str) -> int:
    """Return how many pages a new process got for tensors that it makes and frees one after the other."""
    count = "resource.getrusage(resource.RUSAGE_SELF).ru_minflt"
    program = PROGRAM.replace("START", f"before = {count}\n{start}\nprint({count} - before)")
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="the C library is not glibc")
def test_a_stage_uses_the_memory_of_freed_tensors_again() -> None:
    assert page_faults("run_stage(main)") < page_faults("main()") / 4
