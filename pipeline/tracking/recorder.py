"""MLflow as a recorder: DVC decides, declared files hold the results, and no failure to record ends a training.

What a run left open belongs to its workspace or experiment, as its working files do: see pipeline.runtime.scratch.
"""

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
from pipeline.runtime.scratch import FOLDER, held, owner, root
from pipeline.runtime.stores import ARTIFACTS, bring_artifacts_home, first_line, masked, store, store_file
from pipeline.tracking.serving import log_served

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

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

    def __init__(self, client: "MlflowClient", run_id: str, experiment_id: str = "", silent: bool = False) -> None:
        self.client = client
        self.id = run_id
        self.experiment = experiment_id
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

        tags = [RunTag(name, masked(str(value))) for name, value in values.items()]
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
    that were left open for the same output of the same workspace or experiment become KILLED. `tags` then name stage,
    output and fingerprint.

    Raises ValueError if the store cannot be used for a run without a parent: nothing is lost by then. Later failures,
    and that of a child, only warn.
    """
    try:
        run = _open(experiment, name, tags, settings or {}, parent, data, resume)
    except Exception as error:  # whatever the store, the network or the disk may raise
        if parent is None:
            raise ValueError(_unusable(error)) from error
        run = TrackedRun(parent.client, parent.id, parent.experiment)
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
        identity = _experiment(client, experiment, _started_by_mlflow(client))
        found = _search(client, identity, {"kind": "seed", "model": md5(model)})
    except Exception as error:  # whatever the store or the network may raise
        print(f"warning: {_unusable(error)}", file=sys.stderr)
        return None
    if not found:
        print(f"{model}: no MLflow run trained this very file (it came from a cache, perhaps)")
        return None
    parent = found[0].data.tags.get(PARENT)
    return Trained(
        TrackedRun(client, found[0].info.run_id, identity), TrackedRun(client, parent, identity) if parent else None
    )


def _unusable(error: Exception) -> str:
    return f"MLflow: {masked(store())} cannot be used: {first_line(error)}"


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
    with held(root() / FOLDER / "mlflow.lock"):
        file = store_file()
        for old in bring_artifacts_home(file) if file else ():
            print(f"MLflow: from now on artifacts lie beside {file}, no longer in {old}", file=sys.stderr)
        client = MlflowClient(store())
        client.search_experiments(max_results=1)
    return client


def _started_by_mlflow(client: "MlflowClient") -> "Run | None":
    """Return the run in MLFLOW_RUN_ID, the parent that `mlflow run` opens for what the stages start, if there is one.

    The variable may be left over in a shell, from another store.
    """
    from mlflow import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    identity = os.environ.get("MLFLOW_RUN_ID")
    if not identity:
        return None
    try:
        run = client.get_run(identity)
    except MlflowException as error:
        if error.error_code not in map(ErrorCode.Name, (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _experiment(client: "MlflowClient", name: str, outer: "Run | None") -> str:
    """Return the id of the experiment: that of the run that `mlflow run` opened, or `name`'s, made if need be.

    Raises ValueError if it was deleted: MLflow keeps its name.
    """
    if outer is not None:
        return str(outer.info.experiment_id)
    found = client.get_experiment_by_name(name)
    if found is None:
        file = store_file()
        return client.create_experiment(name, (file.parent / ARTIFACTS).as_uri() if file else None)
    if found.lifecycle_stage != "active":
        raise ValueError(
            f"experiment {name!r} was deleted; restore it (`mlflow experiments restore --experiment-id "
            f"{found.experiment_id}`), or choose another name: tracking.experiment in params.yaml"
        )
    return str(found.experiment_id)


def _search(client: "MlflowClient", experiment_id: str, tags: Mapping[str, object]) -> Sequence[Any]:
    quoted = {key: f'"{value}"' if "'" in str(value) else f"'{value}'" for key, value in tags.items()}
    query = " and ".join(f"tags.`{key}` = {value}" for key, value in quoted.items())
    return client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"])


def _end_others(client: "MlflowClient", experiment_id: str, tags: Mapping[str, object], but: str | None) -> None:
    """Set runs that this owner left open for the same output to KILLED, all but those with the fingerprint `but`."""
    for run in _search(client, experiment_id, {key: tags[key] for key in ("stage", "owner")}):
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
    outer = None if parent else _started_by_mlflow(client)
    if parent is None and outer is None and (identity := os.environ.get("MLFLOW_RUN_ID")):
        print(f"MLflow: MLFLOW_RUN_ID: no run {identity} in {masked(store())}; going on without it", file=sys.stderr)
    experiment_id = parent.experiment if parent else _experiment(client, experiment, outer)
    if "output" in tags:
        tags = {**tags, "owner": owner(Path(str(tags["output"])))}
    if parent is None and "owner" in tags:
        _end_others(client, experiment_id, tags, but=str(tags["fingerprint"]) if resume else None)
    of_parent = {PARENT: parent.id} if parent else {}
    if resume and (left_open := _left_open(client, experiment_id, {**tags, **of_parent})):
        run = TrackedRun(client, left_open, experiment_id)
        run.resume("train_loss")
        return run
    above = parent.id if parent else outer and outer.info.run_id
    everything = {**tags, **_environment(), **({PARENT: above} if above else {})}
    created = client.create_run(
        experiment_id, run_name=name, tags={key: masked(str(value)) for key, value in everything.items()}
    )
    _describe(client, created.info.run_id, settings, data)
    return TrackedRun(client, created.info.run_id, experiment_id)


def _describe(client: "MlflowClient", run_id: str, settings: Mapping[str, object], data: DataSet | None) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    client.log_batch(run_id, params=[Param(key, masked(str(value))[:PARAM_LIMIT]) for key, value in settings.items()])
    if data is not None:
        entity = Dataset(
            name=data.name,
            digest=data.digest,
            source_type="local",
            source=masked(data.source),
            profile=data.note or None,
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


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without a repository
        return ""
