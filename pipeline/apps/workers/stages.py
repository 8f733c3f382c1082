"""What DVC does before and after the command of a stage. The command itself is run by a worker.

DVC itself runs one command at a time: `Stage.reproduce` decides, runs and records. This module does the same steps in
the same order with DVC's own functions, but lets others run the command. One process does them all, so that `dvc.lock`
has one writer.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.stage import Stage

# These train: each takes a GPU for itself.
TRAINING = ("train", "train-tuned", "tune", "decode")


class Begun(Enum):
    """What a stage needs after DVC has looked at it."""

    NOTHING = "unchanged"  # its outputs are up to date
    RESTORED = "restored"  # its outputs came from the run cache, or DVC made them itself
    COMMAND = "command"  # its old outputs are removed


class StagePlan:
    """The stages behind some targets. Every method that reads or changes their state holds DVC's lock for that."""

    def __init__(self, targets: Sequence[str]) -> None:
        """Read dvc.yaml and dvc.lock. Raises ValueError for a target that DVC does not know."""
        logging.getLogger("dvc").setLevel(logging.WARNING)
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
        from dvc.repo.graph import get_subgraph_of_nodes
        from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

        try:
            self.repo = Repo(_wait_for_lock=True)  # another command of DVC may hold the lock for a moment
            with self.locked():
                graph = get_active_graph(self.repo.index.graph)
                stages = collect_stages(self.repo, targets or ["dvc.yaml"])
                self.order: list[Stage] = plan_repro(graph, stages)  # in which `dvc repro` takes them
                self.graph = get_subgraph_of_nodes(graph, stages)
        except DvcException as error:
            raise ValueError(f"dvc: {error}") from error

    @property
    def root(self) -> Path:
        """The project's folder."""
        return Path(self.repo.root_dir)

    def locked(self) -> AbstractContextManager[None]:
        """Hold DVC's lock. It may be held already."""
        from dvc.repo import lock_repo

        held: AbstractContextManager[None] = lock_repo(self.repo)
        return held

    @contextmanager
    def staged_in_git(self) -> Iterator[None]:
        """Add dvc.lock to git's index at the end, as `dvc repro` does with `core.autostage`."""
        with self.repo.scm_context():
            yield

    def above(self, stage: "Stage") -> list["Stage"]:
        """Return the stages whose outputs a stage reads."""
        return [*self.graph.successors(stage)]  # DVC's arrows point from a stage to what it needs

    def is_up_to_date(self, stage: "Stage") -> bool:
        """Tell whether `dvc repro` would skip a stage. The stages above it are done."""
        with self.locked():
            return not stage.changed()

    def begin(self, stage: "Stage") -> Begun:
        """Remove the old outputs of a stage that changed, then restore them from the run cache if they are there."""
        from dvc.stage.cache import RunCacheNotFoundError

        with self.locked():
            if stage.frozen or not stage.cmd:  # no command: DVC checks, downloads or imports
                if stage.reproduce() is None:
                    return Begun.NOTHING
                stage.dump(update_pipeline=False)
                return Begun.RESTORED
            stage.remove_outs(ignore_remove=False, force=False)
            try:
                self.repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                stage.save_deps()
                return Begun.COMMAND
            self.record(stage)
            return Begun.RESTORED

    def in_use(self, stage: "Stage") -> AbstractContextManager[None]:
        """Keep other commands of DVC away from what a stage reads and writes, for as long as its command runs."""
        from dvc.rwlock import rwlock

        paths = [[each.fs_path for each in entries] for entries in (stage.deps, stage.outs)]
        hard = self.repo.config["core"].get("hardlink_lock", False)
        held: AbstractContextManager[None] = rwlock(self.repo.tmp_dir, self.repo.fs, " ".join(sys.argv), *paths, hard)
        return held

    def record(self, stage: "Stage") -> None:
        """Put the outputs of a stage into DVC's cache and its run cache, and name them in dvc.lock."""
        uncached = any(not (out.use_cache or out.is_metric or out.is_plot) for out in stage.outs)
        with self.locked():
            stage.save(run_cache=not uncached)
            stage.commit()
            stage.dump(update_pipeline=False)

    def recorded(self) -> dict[str, list[str]]:
        """Return the names of the stages in each dvc.lock, in their order. Paths are relative to the project."""
        from dvc.utils.serialize import load_yaml

        locks = dict.fromkeys(self._lock_of(stage) for stage in self.order)
        paths = {lock: self.root / lock for lock in locks}
        with self.locked():  # another command of DVC writes the file in place
            return {lock: [*load_yaml(path).get("stages", {})] if path.exists() else [] for lock, path in paths.items()}

    def sort(self, earlier: dict[str, list[str]]) -> None:
        """Bring the new entries of dvc.lock into the order in which `dvc repro` would have written them.

        DVC adds new entries at the end. `earlier` is what was recorded before the first of them was added.
        """
        from dvc.utils.serialize import modify_yaml

        with self.locked():
            for lock, now in self.recorded().items():
                names = [stage.name for stage in self.order if self._lock_of(stage) == lock]
                new = [name for name in names if name in now and name not in earlier.get(lock, [])]
                if [name for name in now if name in new] != new:
                    with modify_yaml(self.root / lock) as content:
                        for name in new:
                            content["stages"].move_to_end(name)

    def _lock_of(self, stage: "Stage") -> str:
        """Return the lock file that names a stage; a .dvc file is its own."""
        from dvc.dvcfile import ProjectFile

        path = Path(stage.dvcfile.path)
        lock = path.with_suffix(".lock") if isinstance(stage.dvcfile, ProjectFile) else path
        return str(lock.relative_to(self.root))
