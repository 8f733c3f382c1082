"""The commands of tests/support/warm_python.py are what a new Python would be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from errands import lives, wait_until
from warm_python import warm

pytestmark = pytest.mark.slow


def ended(*words: str, **variables: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["python", *words], env=warm() | variables, input="asked", capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_command_has_words_folder_variables_and_modules_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("told.py").write_text(
        "import os, sys\nprint(sys.argv[1:], os.getcwd(), os.environ['OWN'], sys.stdin.read())\n"
    )
    expected = f"['a', 'b c'] {tmp_path} mine asked\n"
    assert ended("-m", "told", "a", "b c", OWN="mine") == (0, expected, "")
    assert ended("-c", "import told", "a", "b c", OWN="mine") == (0, expected, "")
    Path("told.py").write_text("print('another')\n")
    assert ended("-m", "told", "a") == (0, "another\n", "")


def test_an_end_is_that_of_python() -> None:
    duties = "import atexit, threading, time; atexit.register(print, 'last')\n"
    late = "threading.Thread(target=lambda: (time.sleep(0.3), print('late'))).start()\n"
    assert ended("-c", f"{duties}{late}print('first')") == (0, "first\nlate\nlast\n", "")
    assert ended("-c", "import sys; sys.exit(3)") == (3, "", "")
    assert ended("-c", "import sys; sys.exit('no')") == (1, "", "no\n")
    assert ended("-c", "import os; os.kill(os.getpid(), 9)") == (-9, "", "")
    status, _, said = ended("-c", "raise ValueError('no')")
    assert (status, said.splitlines()[-1]) == (1, "ValueError: no")


def test_numbers_at_random_are_others_each_time() -> None:
    code = "import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(1).item())"
    first, second = (ended("-c", code)[1].split() for _ in range(2))
    assert first[:2] != second[:2]


def test_a_command_is_killed_with_the_one_that_asked_for_it(tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    asking = subprocess.Popen(["python", "-c", code], env=warm(), stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    process = int(asking.stdout.readline())
    assert process != asking.pid
    asking.send_signal(signal.SIGKILL)
    asking.communicate()
    wait_until(lambda: not lives(process), 30)


def test_a_script_is_run_by_a_real_python(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys; print(os.getpid(), sys.executable)")
    started = subprocess.Popen(["python", str(script)], env=warm(), stdout=subprocess.PIPE, text=True)
    said, _ = started.communicate()
    assert said.split() == [str(started.pid), sys.executable]


def test_python_below_is_as_quick_only_where_it_is_asked_for() -> None:
    code = "import sys; print(sys.executable)"
    real, quick = (
        subprocess.run(["python", "-c", code], env=variables, capture_output=True, text=True, check=True).stdout.strip()
        for variables in (warm(), warm(throughout=True))
    )
    assert real == sys.executable
    assert Path(quick).parent == Path(warm()["PATH"].split(os.pathsep)[0])
