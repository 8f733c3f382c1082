"""A Python that has imported torch, MLflow and DVC already, for commands that a test needs to have run.

Most of the time of a small stage is the import of these packages. Here one process imports them, and forks for each
command. The command has arguments, folder, variables and output of its own, imports the project from its own folder,
and ends as any Python does. A test that kills a command, or asks who started it, starts a real Python instead.
"""

import atexit
import gc
import importlib
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy

LARGE = (
    "torch._dynamo",
    "torch.utils.tensorboard",
    "safetensors.torch",
    "jaxtyping",
    "ruamel.yaml",
    "mlflow.pyfunc",
    "mlflow.data.dataset_source_registry",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.cli",
    "matplotlib.pyplot",
    "optuna",
    "pandas",
    "dvc.cli",
    "dvc.repo",
)
# Put in place of `python` and of the commands that start one. What is neither a module nor a text is a real Python's.
COMMAND = """#!{python} -IS
import json, os, socket, sys
words = {before} + sys.argv[1 + (sys.argv[1:2] == ["-u"]):]
if words[:1] not in (["-m"], ["-c"]):
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({address!r})
    request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(asked, [len(request).to_bytes(8, "big")], [0, 1, 2])
    asked.sendall(request)
    answer = asked.recv(8)
status = int(answer or b"1")
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
"""
EXECUTABLE = "WARM_PYTHON"  # variable with what sys.executable is to be
COMMANDS = {"python": [], "dvc": ["-m", "dvc"], "mlflow": ["-m", "mlflow"]}


def warm(variables: Mapping[str, str] | None = None, *, throughout: bool = False) -> dict[str, str]:
    """Return variables, those of this process if there are none, with which `python`, `dvc` and `mlflow` start at once.

    With `throughout`, sys.executable is such a Python, too, in these commands and in those that they start.
    """
    given = os.environ if variables is None else variables
    folder = warm_commands()
    kept = {**given, "PATH": f"{folder}{os.pathsep}{given['PATH']}"}
    return kept | {EXECUTABLE: str(folder / "python")} if throughout else kept


@cache
def warm_commands() -> Path:
    """Return a folder for PATH with `python`, `dvc` and `mlflow`; what is behind them ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="capsnet-warm-"))
    atexit.register(shutil.rmtree, folder)
    address = str(folder / "socket")
    for name, before in COMMANDS.items():
        (folder / name).write_text(COMMAND.format(python=sys.executable, before=before, address=address))
        (folder / name).chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_variables()
    )
    assert server.stdin is not None
    assert server.stdout is not None
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    assert server.stdout.readline() == b"ready\n"
    return folder


def _variables() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true"}


def await_command(listening: socket.socket) -> list[str]:
    """Fork for each command, and return its words in the fork that is to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:  # closed: the tests have ended
            os._exit(0)
        asking, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _keep(asking)
        asking.close()


def _keep(asking: socket.socket) -> list[str]:
    """Fork once more and tell how that ends; the fork returns its words. Nobody who asks any more: it is killed."""
    size, handles, _, _ = socket.recv_fds(asking, 8, 3)
    content = b""
    while len(content) < int.from_bytes(size, "big"):
        content += asking.recv(1 << 20)
    command = os.fork()
    if command == 0:
        asking.close()
        words, folder, variables = json.loads(content)
        _enter(folder, variables, handles)
        return words
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, asking], [], [])
    if ended not in ready:
        os.kill(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    try:
        asking.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _enter(folder: str, variables: dict[str, str], handles: list[int]) -> None:
    """Take over the folder, the variables and the output of a command."""
    for place, handle in enumerate(handles):
        os.dup2(handle, place)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    random.seed()
    numpy.random.seed()


def ended(words: list[str]) -> int:
    """Run a command and return its status. Its threads and its last duties are done then, as at the end of Python."""
    status = 0
    try:
        run(words)
    except SystemExit as asked:
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr)
        status = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def run(words: list[str]) -> None:
    """Do what Python does with -m or -c."""
    sys.executable = os.environ.get(EXECUTABLE, sys.executable)
    option, what, *arguments = words
    searched = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [str(Path.cwd()), *searched]
    sys.argv = [option, *arguments]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def main() -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen(64)
        sys.path.pop(0)  # the folder of this file
        for name in LARGE:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        words = await_command(listening)
    os._exit(ended(words))  # to clear away the packages would take as long as to import them


if __name__ == "__main__":
    main()
