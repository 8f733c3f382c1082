"""Run the stages of a plan: send each ready stage to a worker that has room, and record each one that has ended.

DVC says what depends on what and what changed. Dask chooses the worker, and repeats what a lost worker had begun. This
process is the only one that records.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]

from pipeline.apps.workers import command as on_worker
from pipeline.apps.workers import group
from pipeline.apps.workers.command import Command, Ended, RunningStages
from pipeline.apps.workers.local import CORE, GPU
from pipeline.apps.workers.progress import Progress, duration
from pipeline.apps.workers.stages import TRAINING, Begun, StagePlan
from pipeline.apps.workers.stores import STORES, refuse_shared_files

if TYPE_CHECKING:
    from dvc.stage import Stage

TICK = 1.0  # seconds between two looks at the workers
PATIENCE = group.GRACE + 5  # seconds for interrupted commands to end
ATTEMPTS = 4  # Dask's `distributed.scheduler.allowed-failures` and one more
LONELY = 10.0  # seconds without workers before the user is told
LAST_LINES = 2000  # bytes of a log in which its last line is looked for


class Submitted(NamedTuple):
    """A stage that a worker has, or soon will have."""

    stage: "Stage"
    resource: str
    future: Any
    in_use: ExitStack  # keeps other commands of DVC away


class Outcome:
    """How many stages ended in which way, and why some failed."""

    def __init__(self) -> None:
        self.run = self.restored = self.unchanged = 0
        self.failed: dict[str, str] = {}

    @property
    def done(self) -> int:
        """The number of stages that did not fail."""
        return self.run + self.restored + self.unchanged


class Conductor:
    """One run of a plan over the workers of a Dask client."""

    def __init__(self, plan: StagePlan, client: Any, logs: Path) -> None:
        self.plan, self.client, self.logs = plan, client, logs
        self.progress = Progress(len(plan.order))
        self.outcome = Outcome()
        self.sorter: TopologicalSorter[Stage] = TopologicalSorter({stage: plan.above(stage) for stage in plan.order})
        self.sorter.prepare()
        # Trainings go first: they take longest, and most of the others wait for them.
        self.urgency = {stage: (not trains(stage), place) for place, stage in enumerate(plan.order)}
        self.waiting: list[Stage] = []
        self.submitted: dict[str, Submitted] = {}
        self.events: SimpleQueue[str | None] = SimpleQueue()  # keys of tasks that ended; None to stop
        self.known: set[str] = set()  # the workers whose stores were looked at
        self.speak_at = time.monotonic() + LONELY
        cloudpickle.register_pickle_by_value(on_worker)
        self.session = f"stages-{uuid.uuid4().hex[:8]}"  # others may use the same workers
        client.register_plugin(RunningStages(), name=self.session)

    def stop(self) -> None:
        """End the run soon. A signal handler may call this."""
        self.events.put(None)

    def run(self, tend: Callable[[], Iterator[str]]) -> Outcome:
        """Run all stages that changed; `tend` replaces lost workers and yields messages about that.

        A stage that fails stops only those that depend on it. Raises KeyboardInterrupt after `stop`, when all commands
        have ended, and ValueError if the workers have no room for any stage.
        """
        try:
            while True:
                for message in tend():
                    self.progress.say(message)
                self._advance()
                if not (self.submitted or self.waiting):
                    return self.outcome
                self._wait()
        finally:
            self._end_commands()
            self.progress.end()

    def _wait(self) -> None:
        """Wait until a task has ended, and finish its stage. Wait for TICK seconds at most: workers may come or go."""
        try:
            key = self.events.get(timeout=TICK)
        except Empty:
            return
        if key is None:
            raise KeyboardInterrupt
        self._finish(self.submitted.pop(key))

    def _advance(self) -> None:
        """Skip what is up to date, and begin what changed as far as there is room.

        No more is submitted than there is room for: if a worker is lost, Dask counts a failure for all that waited on
        it. And only here are old outputs removed, so that an interrupted run leaves those of later stages alone.
        """
        while (ready := self.sorter.get_ready()) or self._begin_next():
            with self.plan.locked():
                for stage in ready:
                    self._look_at(stage)

    def _look_at(self, stage: "Stage") -> None:
        with self._noting_failure(stage):
            if self.plan.is_up_to_date(stage):
                self.outcome.unchanged += 1
                self._settle(stage)
            else:
                self.waiting.append(stage)

    def _begin_next(self) -> bool:
        """Begin the most urgent stage that there is room for; tell whether there was one."""
        there = self._resources()
        taken = Counter(each.resource for each in self.submitted.values())
        for stage in sorted(self.waiting, key=self.urgency.__getitem__):
            resource = GPU if trains(stage) and there[GPU] else CORE
            if taken[resource] < there[resource]:
                self.waiting.remove(stage)
                with self._noting_failure(stage):
                    self._begin(stage, resource)
                return True
        return False

    def _resources(self) -> Counter[str]:
        """Return what all workers have. Raises ValueError if they say nothing about it."""
        workers = self.client.scheduler_info()["workers"]
        there: Counter[str] = Counter()
        for worker in workers.values():
            there.update({name: int(number) for name, number in worker["resources"].items()})
        if workers and not there[CORE]:
            raise ValueError(
                f"workers: got none with the resource `{CORE}`; start them with --resources {CORE}=1, "
                f"or with --nthreads 2 --resources {CORE}=1,{GPU}=1 if they have a GPU"
            )
        self._say_if_alone(bool(workers))
        self._look_at_stores({*workers})
        return there

    def _look_at_stores(self, workers: set[str]) -> None:
        """Raise ValueError if there are new workers, and several machines would share a sqlite file."""
        if workers - self.known:
            asked = _by_value(on_worker.machine_and_variables, tuple(STORES))
            refuse_shared_files(self.client.run(asked, on_error="ignore").values())
        self.known = workers

    def _say_if_alone(self, there_are_workers: bool) -> None:
        now = time.monotonic()
        if there_are_workers:
            self.speak_at = now + LONELY
        elif now > self.speak_at:
            self.speak_at = float("inf")
            self.progress.say("no workers yet, or no more; waiting for some")

    def _begin(self, stage: "Stage", resource: str) -> None:
        with ExitStack() as in_use:
            in_use.enter_context(self.plan.in_use(stage))
            begun = self.plan.begin(stage)
            if begun is Begun.COMMAND:
                self.progress.say(f"{stage.addressing}: started")
                future = self.client.submit(
                    _by_value(on_worker.run, self._command(stage)),
                    key=f"{stage.addressing}-{uuid.uuid4().hex}",  # its name in the dashboard
                    resources={resource: 1},
                    pure=False,
                )
                self.submitted[future.key] = Submitted(stage, resource, future, in_use.pop_all())
                future.add_done_callback(lambda ended: self.events.put(ended.key))
                return
        if begun is Begun.RESTORED:
            self.outcome.restored += 1
        else:
            self.outcome.unchanged += 1
        self._settle(stage, begun.value)

    def _command(self, stage: "Stage") -> Command:
        log = self._log_of(stage)
        log.write_bytes(b"")
        lines = stage.cmd if isinstance(stage.cmd, list) else stage.cmd.splitlines()
        environment = {"DVC_STAGE": stage.addressing, "DVC_ROOT": str(self.plan.root)}
        return Command(self.session, tuple(lines), stage.wdir, environment, str(log), group.__file__)

    def _log_of(self, stage: "Stage") -> Path:
        return self.logs / f"{stage.addressing.replace('/', '_')}.log"

    def _finish(self, submitted: Submitted) -> None:
        """Record a stage whose task has ended, or note why it failed."""
        stage, _, future, in_use = submitted
        with self._noting_failure(stage), in_use:
            ended = result_of(future)
            if ended.status:
                log = self._log_of(stage)
                raise ValueError(f"exit status {ended.status} on {ended.worker}; {log} ends with: {last_line(log)}")
            self.plan.record(stage)
            self.outcome.run += 1
            self._settle(stage, f"done in {duration(ended.seconds)} by {ended.worker}")

    def _settle(self, stage: "Stage", how: str = "") -> None:
        self.sorter.done(stage)
        self.progress.settle(stage.addressing, how)

    @contextmanager
    def _noting_failure(self, stage: "Stage") -> Iterator[None]:
        """Note what stops a stage; it is never done, so nothing that depends on it becomes ready."""
        from dvc.exceptions import DvcException

        try:
            yield
        except (DvcException, OSError, ValueError, RuntimeError) as error:
            self.outcome.failed[stage.addressing] = str(error)
            self.progress.settle(stage.addressing, "failed")

    def _end_commands(self) -> None:
        """Record what has ended already, interrupt the other commands, and wait until they have ended."""
        for key, submitted in [*self.submitted.items()]:
            if submitted.future.status == "finished":
                self._finish(self.submitted.pop(key))
        self.client.cancel([each.future for each in self.submitted.values()])
        deadline = time.monotonic() + PATIENCE
        running = _by_value(on_worker.number_running, self.session)
        while self.submitted and time.monotonic() < deadline:
            if not sum(self.client.run(running, on_error="ignore").values()):
                break
            time.sleep(0.2)
        for submitted in self.submitted.values():
            submitted.in_use.close()
        self.client.unregister_worker_plugin(self.session)


def _by_value(function: Callable[[Any], Any], argument: object) -> Callable[[], Any]:
    """Return a call that travels with its code: neither scheduler nor workers can import this project.

    Plain pickle would send the name of a function. It refuses a local one, and Dask then takes cloudpickle.
    """
    return lambda: function(argument)


def result_of(future: Any) -> Ended:
    """Return how a command ended. Raises ValueError if no worker could say that."""
    if future.status == "finished":
        return Ended(*future.result())
    if future.status != "error":
        raise ValueError(f"the scheduler gave it up ({future.status})")
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        raise ValueError(f"gave it up after {ATTEMPTS} workers that ended while they ran it")
    raise ValueError(f"not run: {error}")


def trains(stage: "Stage") -> bool:
    """Tell whether a stage trains: it takes a GPU if there is one."""
    return stage.name.partition("@")[0] in TRAINING


def last_line(log: Path) -> str:
    """Return the last line of a log that says anything."""
    text = log.read_bytes()[-LAST_LINES:].decode(errors="replace")
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")
