"""params.yaml as checked, frozen models. Code that takes these need not check a parameter again."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from pipeline.runtime.paths import TUNED
from pipeline.settings.checked import Checked, Count, MadeOfRuns, Name, Names, Seed, Seeds, require
from pipeline.settings.datasets import Dataset
from pipeline.settings.figures import Compare, Figures, Separation
from pipeline.settings.reading import parse_yaml, read_yaml, validate
from pipeline.settings.references import check_references
from pipeline.settings.runs import EARLIER, RUNS, Entry, Run
from pipeline.settings.searches import Tune
from pipeline.settings.tables import Published, Table

PARAMS = Path("params.yaml")

Value = TypeVar("Value")


class Tracking(Checked):
    """Where runs are recorded, besides the declared files."""

    experiment: str
    tensorboard: bool


class Pairing(Checked):
    """The pairs of test images for runs with the task `separate`: each image is the first of `per_image` pairs."""

    seed: Seed
    per_image: Count


class Rotations(MadeOfRuns):
    """The scores of a run on test images rotated by 0, step, 2 step, ... degrees. The key is the run's name."""

    step: Annotated[int, Field(gt=0, le=360)]

    @model_validator(mode="after")
    def _step_closes_the_circle(self) -> Self:
        if 360 % self.step:
            raise ValueError(f"step: got {self.step}, expected a divisor of 360")
        return self


class Study(Checked):
    """A study's page: its title, its introduction, and its tables in their order; `tables` has <study>-<table>."""

    title: str
    about: str
    tables: Names


class PublishedWeights(MadeOfRuns):
    """The weights of one seed of a run that are in git. The key is the run's name, or <run>-seed-<seed>."""

    run: Name
    seed: Seed
    dtype: Literal["bfloat16", "float32"]


class Params(Checked):
    """All of params.yaml. `presets` hold what other entries merge, and are not checked by themselves."""

    seeds: Annotated[Seeds, Field(min_length=1)]
    tracking: Tracking
    datasets: dict[Name, Dataset]
    test_pairs: Pairing
    presets: dict[str, Any]
    runs: dict[Name, Entry]
    published: dict[Name, Published]
    tune: dict[Name, Tune]
    figures: dict[Name, Figures]
    compare: dict[Name, Compare]
    pairs: dict[Name, Separation]
    robustness: dict[Name, Rotations]
    studies: dict[Name, Study]
    tables: dict[Name, Table]
    published_weights: dict[Name, PublishedWeights]

    @model_validator(mode="after")
    def _names_exist_and_entries_fit(self) -> Self:
        check_references(self)
        return self

    @property
    def studies_of_runs(self) -> dict[str, str]:
        """The study of each run, and of each tuned run."""
        tuned = {name + TUNED: search.study for name, search in self.tune.items()}
        return {name: run.study for name, run in self.runs.items()} | tuned

    def base_of(self, name: str) -> Run:
        """Return a run; for a tuned run the one whose values its search started from."""
        return self.runs[self.tune[name.removesuffix(TUNED)].run if name not in self.runs else name]

    def seeds_of(self, run: Run) -> tuple[int, ...]:
        """Return the seeds of a run: its own, or those of the project."""
        return run.seeds or self.seeds

    def study_of(self, name: str) -> str:
        """Return the study of a run or tuned run. Raises ValueError for an unknown name."""
        return find(name, self.studies_of_runs, "run")


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises ValueError with one line for each fault: where, got what, expected what."""
    return validate(Params, read_yaml(path), str(path))


def override(run: Run, settings: list[str], where: str) -> Run:
    """Return `run` with some settings replaced by `name=value`, whose values are YAML. Raises like `check_run`."""
    values = run.all_settings()
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected NAME=VALUE")
        values[name] = parse_yaml(value, f"--set {setting}")
    return check_run(values, where)


def check_run(values: Any, where: str) -> Run:
    """Check plain values against the model of the network that they name. Raises ValueError like `load_params`."""
    if not isinstance(values, dict) or "network" not in values:
        raise ValueError(f"{where}: network: missing")
    require(values["network"], [*RUNS], f"{where}: network")
    return validate(RUNS[values["network"]], values, where)


def recorded_run(values: Any, where: str) -> Run:
    """Check the settings in the header of a model file of any version. Raises ValueError like `check_run`."""
    return check_run({**EARLIER, **values} if isinstance(values, dict) else values, where)


def find(name: str, mapping: dict[str, Value], kind: str) -> Value:
    """Look up a name that the user gave. Raises ValueError with the names that there are."""
    require(name, mapping, kind)
    return mapping[name]
