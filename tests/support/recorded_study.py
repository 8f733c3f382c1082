"""A small study whose training can be held in the middle, and which can be compared with what MLflow has of it."""

import atexit
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pandas as pd
from errands import wait_until
from servers import free_port
from stored import select
from tiny_project import ROOT, make_project, tiny_params, write_params
from warm_python import warm

from pipeline.tracking.moved_artifacts import correct_artifact_locations

RUN, EPOCHS, HELD = "toy-fc", 6, 3
TRAINING = """
import sys, time
from pathlib import Path
from pipeline import train
from pipeline.runtime.command_line import run_stage
from pipeline.tracking.recorder import MlflowRecorder

log = MlflowRecorder.log

def log_and_wait(self, step, values):
    log(self, step, values)
    time.sleep(float(sys.argv[3]))
    if step == int(sys.argv[2]):
        Path("held").touch()
        while Path("hold").exists():
            time.sleep(0.02)

MlflowRecorder.log = log_and_wait
run_stage(lambda: train.main(sys.argv[1:2]))
"""


class RecordedStudy:
    """A project with one small run, and its training, which can be held after the third of six epochs."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder = folder
        self.store = folder / "mlflow.db"
        self.variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "DVC_ROOT"):
            self.variables.pop(name, None)
        if uri:
            self.variables |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "6"}
            self.variables["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        shutil.copytree(template(), folder, dirs_exist_ok=True)
        if not uri:
            correct_artifact_locations(self.store, "mlartifacts")

    def call(self, module: str, *arguments: str) -> None:
        """Run a stage that nothing disturbs."""
        command = ("python", "-m", module, *arguments)
        subprocess.run(command, cwd=self.folder, env=warm(self.variables), capture_output=True, check=True)

    def train(
        self,
        during: Callable[[], object] | None = None,
        *,
        limit: Callable[[], None] | None = None,
        pace: float = 0.0,
        prefix: tuple[str, ...] = (),
    ) -> str:
        """Train, and return what was said on standard error.

        Args:
            during: Called in the middle.
            limit: Called in the process before it begins.
            pace: Seconds to wait after each epoch.
            prefix: A command that starts the process.
        """
        hold = self.folder / "hold"
        if during:
            hold.touch()
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", TRAINING, RUN, str(HELD), str(pace)],
            cwd=self.folder,
            env=self.variables,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
        if during:
            wait_until(lambda: (self.folder / "held").exists() or process.poll() is not None)
            during()
            hold.unlink()
        _, said = process.communicate(timeout=250)
        assert process.returncode == 0, said
        return said

    def lost(self, said: str) -> str:
        """Return what MLflow does not have after a later stage has recorded, and what was said too much."""
        waits = any(self.folder.glob(".scratch/unrecorded/*/*"))
        if waits:
            self.call("pipeline.evaluate", RUN)
        history = pd.read_csv(self.folder / "models" / RUN / "history.csv")
        wanted = {(f"{RUN} seed {row.seed}", row.epoch, row.train_loss) for row in history.itertuples()}
        losses = "select name, step, value from metrics join runs using (run_uuid) where key = 'train_loss'"
        found = select(self.store, losses)
        artifacts = [path.name for path in self.folder.glob("mlartifacts/**/*") if path.is_file()]
        lines = [line for line in said.splitlines() if not line.startswith(("warning: squares", f"warning: {RUN}"))]
        wrong = {
            "numbers": len(wanted - set(found)),
            "numbers twice": len(found) - len(set(found)),
            "runs": 3 - len(select(self.store, "select * from runs")),
            "ends of runs": len(select(self.store, "select * from runs where status != 'FINISHED'")),
            "models": 2 - len({name for name in artifacts if name.startswith("seed-")}),
            "histories": 1 - artifacts.count("history.csv"),
            "lines too many": max(0, len(lines) - 1),
            "records that wait": len([*self.folder.glob(".scratch/unrecorded/*/*")]),
        }
        return ", ".join(f"{number} {what}" for what, number in wrong.items() if number) or "nothing"


@cache
def template() -> Path:
    """Return a project with its data prepared and an empty store, to be copied: making one takes seconds."""
    folder = Path(tempfile.mkdtemp(prefix="capsnet-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_project(folder)
    params = tiny_params()
    params["runs"][RUN]["epochs"] = EPOCHS
    write_params(folder, params)
    code = "from pipeline import prepare; from pipeline.tracking.store import open_client as make"
    code += "; prepare.main(['squares']); make()"
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["python", "-c", code], cwd=folder, env=warm(variables), capture_output=True, check=True)
    return folder


@contextmanager
def new_study(uri: str = "") -> Iterator[RecordedStudy]:
    """Make a study in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="capsnet-store-", ignore_cleanup_errors=True) as folder:
        yield RecordedStudy(Path(folder), uri)


class Server:
    """An MLflow server on a sqlite file and a folder of artifacts."""

    def __init__(self, study: RecordedStudy) -> None:
        self.study = study
        self.address = study.variables["MLFLOW_TRACKING_URI"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = self.address.rpartition(":")[2]
        command = ("-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1")
        options = ("--artifacts-destination", "mlartifacts", "--host", "127.0.0.1", "--port", port)
        self.process = subprocess.Popen(
            [sys.executable, *command, *options],
            cwd=self.study.folder,
            env=self.study.variables | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def answers(self) -> bool:
        with suppress(OSError, http.client.HTTPException), urllib.request.urlopen(f"{self.address}/health", timeout=5):
            return True
        return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def served_study() -> Iterator[tuple[RecordedStudy, Server]]:
    """Make a study that records on a server, which is not started yet."""
    with new_study(f"http://127.0.0.1:{free_port()}") as study:
        server = Server(study)
        try:
            yield study, server
        finally:
            server.kill()
