"""MLflow as a recorder: DVC decides, declared files hold the results, and no failure to record ends a training.

The store is `mlflow.db` with `mlartifacts/` in the project's top folder, unless MLFLOW_TRACKING_URI names another.
"""

import fcntl
import hashlib
import logging
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from capsnet.files import md5
from pipeline.scratch import FOLDER, root
from pipeline.serving import log_served

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"
ENDED = "KILLED"
PARAM_LIMIT = 6000


class DataSet(NamedTuple):
    """What MLflow records as the input of a run."""

    name: str
    digest: str
    source: str
    note: str


class TrackedRun:
    """One MLflow run. A failed call warns once and silences the run; nothing is raised."""

    def __init__(self, client: "MlflowClient", run_id: str, silent: bool = False) -> None:
        self.client = client
        self.id = run_id
        self.silent = silent
        self.recorded: set[int] = set()  # steps of a resumed run: MLflow would show them twice

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of one step, unless a resumed run has them already."""
        if self.silent or step in self.recorded:
            return
        from mlflow.entities import Metric

        self.recorded.add(step)
        now = int(time.time() * 1000)
        batch = [Metric(name, value, now, step) for name, value in values.items()]
        self._safely(lambda: self.client.log_batch(self.id, metrics=batch))

    def tag(self, values: Mapping[str, object]) -> None:
        """Record tags."""
        if self.silent:
            return
        from mlflow.entities import RunTag

        tags = [RunTag(name, str(value)) for name, value in values.items()]
        self._safely(lambda: self.client.log_batch(self.id, tags=tags))

    def attach(self, *paths: Path, folder: str | None = None) -> None:
        """Record files."""

        def record() -> None:
            for path in paths:
                self.client.log_artifact(self.id, str(path), folder)

        self._safely(record)

    def serve(self, network: Path) -> None:
        """Record a network's file as a model that MLflow can serve."""
        self._safely(partial(log_served, self.client, self.id, network, "model"))

    def resume(self, metric: str) -> None:
        """Find the steps for which `metric` is there already, and take the run up again."""
        self._safely(lambda: self.recorded.update(m.step for m in self.client.get_metric_history(self.id, metric)))
        self._safely(lambda: self.client.update_run(self.id, status="RUNNING"))

    def history(self, metric: str) -> list[float]:
        """Return the values of a metric in the order of their steps, the last of each step."""
        found = sorted(self.client.get_metric_history(self.id, metric), key=lambda each: (each.step, each.timestamp))
        return [*{each.step: float(each.value) for each in found}.values()]

    def tagged(self, name: str) -> str:
        """Return a tag, or nothing where there is none."""
        return str(self.client.get_run(self.id).data.tags.get(name, ""))

    def measure(self) -> None:
        """Record how much memory this process had at most, its imports included, and how much of a GPU's."""
        self.log(0, peak_memory())

    def finish(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._safely(lambda: self.client.set_terminated(self.id, status))

    def silence(self, error: Exception) -> None:
        """Warn, and record nothing more in this run."""
        self.silent = True
        print(f"warning: MLflow: {first_line(error)}; this run is no longer recorded, its files are", file=sys.stderr)

    def _safely(self, call: Callable[[], object]) -> None:
        if self.silent:
            return
        try:
            call()
        except Exception as error:  # whatever the store, the network or the disk may raise
            self.silence(error)


@contextmanager
def tracked(
    experiment: str,
    name: str,
    *,
    tags: Mapping[str, object],
    settings: Mapping[str, object] | None = None,
    parent: TrackedRun | None = None,
    data: DataSet | None = None,
    resume: bool = False,
) -> Iterator[TrackedRun]:
    """Open an MLflow run for as long as the block lasts, and close it with the status of the block.

    With `resume`, a run with the very same tags that a killed process left open (and each child of it) goes on; others
    that were left open for the same output become KILLED. `tags` then name stage, output and fingerprint.

    Raises ValueError if the store cannot be used for a run without a parent: nothing is lost by then. Later failures,
    and that of a child, only warn.
    """
    try:
        run = _open(experiment, name, tags, settings or {}, parent, data, resume)
    except Exception as error:  # whatever the store, the network or the disk may raise
        if parent is None:
            raise ValueError(f"MLflow: {store()} cannot be used: {first_line(error)}") from error
        run = TrackedRun(parent.client, parent.id)
        run.silence(error)
    try:
        yield run
    except KeyboardInterrupt:
        run.finish(ENDED)
        raise
    except BaseException:
        run.finish("FAILED")
        raise
    if parent is None:
        run.measure()
    run.finish("FINISHED")


def peak_memory() -> dict[str, float]:
    """Return the most memory that this process had so far, in MB: its own, and on a GPU what torch had allocated."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    measured = {"peak_memory_mb": kilobytes / 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        measured["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return measured


@contextmanager
def untracked() -> Iterator[TrackedRun]:
    """Yield a run that records nothing: another process does."""
    yield TrackedRun(cast("MlflowClient", None), "", silent=True)


@contextmanager
def event_files(folder: Path | None) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yield a function that writes metrics of a step as tensorboard events under `folder`, or nothing without one."""
    if folder is None:
        yield lambda step, values: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(root() / folder)) as writer:

        def write(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield write


class Trained(NamedTuple):
    """The MLflow run of the seed that trained a model, and the one of all seeds, if it is nested in one."""

    seed: TrackedRun
    parent: TrackedRun | None


def find_trained(experiment: str, model: Path) -> Trained | None:
    """Return the newest run that trained this very file; None if there is none: DVC's cache makes no MLflow runs.

    A store that cannot be used is a warning here: what is to be recorded lies in files already.
    """
    try:
        client = _client()
        found = _search(client, _experiment(client, experiment), {"kind": "seed", "model": md5(model)})
    except Exception as error:  # whatever the store or the network may raise
        print(f"warning: MLflow: {store()} cannot be used: {first_line(error)}", file=sys.stderr)
        return None
    if not found:
        print(f"{model}: no MLflow run trained this very file (it came from a cache, perhaps)")
        return None
    parent = found[0].data.tags.get(PARENT)
    return Trained(TrackedRun(client, found[0].info.run_id), TrackedRun(client, parent) if parent else None)


def store() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, or an absolute sqlite URI in the project's top folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def _client() -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The defaults wait for minutes before they call a server unreachable.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    if not store().startswith("sqlite"):
        return MlflowClient(store())
    # Processes that create one new sqlite store at the same time destroy it for good.
    lock = root() / FOLDER / "mlflow.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        client = MlflowClient(store())
        client.search_experiments(max_results=1)
    return client


def _experiment(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment: the one `mlflow run` chose, or the one called `name`, made if need be."""
    chosen = os.environ.get("MLFLOW_EXPERIMENT_ID") if os.environ.get("MLFLOW_RUN_ID") else None
    if chosen:
        return chosen
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    local = store().startswith("sqlite")
    return client.create_experiment(name, (root() / "mlartifacts").as_uri() if local else None)


def _search(client: "MlflowClient", experiment_id: str, tags: Mapping[str, object]) -> Sequence[Any]:
    quoted = {key: f'"{value}"' if "'" in str(value) else f"'{value}'" for key, value in tags.items()}
    query = " and ".join(f"tags.`{key}` = {value}" for key, value in quoted.items())
    return client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"])


def _end_others(client: "MlflowClient", experiment_id: str, tags: Mapping[str, object], but: str | None) -> None:
    """Set runs that were left open for the same output to KILLED, all but those with the fingerprint `but`."""
    for run in _search(client, experiment_id, {key: tags[key] for key in ("stage", "output")}):
        if run.info.status == "RUNNING" and run.data.tags.get("fingerprint") != but:
            client.set_terminated(run.info.run_id, ENDED)


def _left_open(client: "MlflowClient", experiment_id: str, tags: Mapping[str, object]) -> str | None:
    """Return the run to go on with, if any."""
    same = _search(client, experiment_id, {key: value for key, value in tags.items() if key != "output"})
    # A resumed parent takes all its children up again, the finished ones too.
    same = [run for run in same if run.info.status == "RUNNING" or PARENT in tags]
    return same[0].info.run_id if same else None


def _open(
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    settings: Mapping[str, object],
    parent: TrackedRun | None,
    data: DataSet | None,
    resume: bool,
) -> TrackedRun:
    client = _client()
    experiment_id = _experiment(client, experiment)
    if parent is None and "output" in tags:
        _end_others(client, experiment_id, tags, but=str(tags["fingerprint"]) if resume else None)
    of_parent = {PARENT: parent.id} if parent else {}
    if resume and (left_open := _left_open(client, experiment_id, {**tags, **of_parent})):
        run = TrackedRun(client, left_open)
        run.resume("train_loss")
        return run
    # `mlflow run` names its own run here: the parent of whatever the stages start.
    above = parent.id if parent else os.environ.get("MLFLOW_RUN_ID")
    everything = {**tags, **_environment(), **({PARENT: above} if above else {})}
    created = client.create_run(
        experiment_id, run_name=name, tags={key: str(value) for key, value in everything.items()}
    )
    _describe(client, created.info.run_id, settings, data)
    return TrackedRun(client, created.info.run_id)


def _describe(client: "MlflowClient", run_id: str, settings: Mapping[str, object], data: DataSet | None) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    client.log_batch(run_id, params=[Param(key, str(value)[:PARAM_LIMIT]) for key, value in settings.items()])
    if data is not None:
        entity = Dataset(
            name=data.name, digest=data.digest, source_type="local", source=data.source, profile=data.note or None
        )
        client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])


def _environment() -> dict[str, str]:
    """Return where a run comes from: commit, uncommitted changes, dvc.lock, stage and experiment of DVC, versions."""
    import mlflow
    import torch

    lock = Path("dvc.lock")
    facts = {
        "mlflow.source.name": " ".join(sys.argv),
        "mlflow.source.git.commit": _git("rev-parse", "HEAD"),
        "git.dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "dvc.lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.exists() else "",
        "dvc.stage": os.environ.get("DVC_STAGE", ""),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
        "version.mlflow": mlflow.__version__,
    }
    return {key: value for key, value in facts.items() if value}


def first_line(error: Exception) -> str:
    """Return what an error says in short: its first line, or its kind if it says nothing."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without a repository
        return ""
