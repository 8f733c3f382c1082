"""The sections of params.yaml, without the rules between them: `params.py` adds those."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.runtime.paths import TUNED
from pipeline.settings.checked import Checked, Count, MadeOfRuns, Name, Names, Seed, Seeds, require
from pipeline.settings.datasets import Dataset
from pipeline.settings.figures import Compare, Figures, SeparationFigures
from pipeline.settings.runs import AnyRun, Run
from pipeline.settings.searching import Tune
from pipeline.settings.tables import AnyTable, PublishedValues


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

    step: Annotated[int, Field(gt=0, lt=360)]

    @model_validator(mode="after")
    def _step_closes_the_circle(self) -> Self:
        if 360 % self.step:
            raise ValueError(f"step: got {self.step}, expected a divisor of 360")
        return self


class Study(Checked):
    """A study's page: its title, its introduction, and its kinds of tables. `tables` has an entry <study>-<kind>."""

    title: str
    about: str
    tables: Names


class PublishedWeights(MadeOfRuns):
    """The weights of one seed of a run that are in git. The key is the run's name, or <run>-seed-<seed>."""

    run: Name
    seed: Seed
    dtype: Literal["bfloat16", "float32"]


class Sections(Checked):
    """All sections of params.yaml. `presets` hold what other entries merge, and are not checked by themselves."""

    seeds: Annotated[Seeds, Field(min_length=1)]
    tracking: Tracking
    datasets: dict[Name, Dataset]
    test_pairs: Pairing
    presets: dict[str, dict[str, Any]]
    runs: dict[Name, AnyRun]
    published: dict[Name, PublishedValues]
    tune: dict[Name, Tune]
    figures: dict[Name, Figures]
    compare: dict[Name, Compare]
    pairs: dict[Name, SeparationFigures]
    robustness: dict[Name, Rotations]
    studies: dict[Name, Study]
    tables: dict[Name, AnyTable]
    published_weights: dict[Name, PublishedWeights]

    @property
    def studies_of_runs(self) -> dict[str, str]:
        """The study of each run, and of each tuned run."""
        tuned = {name + TUNED: search.study for name, search in self.tune.items()}
        return {name: run.study for name, run in self.runs.items()} | tuned

    def runs_of(self, study: str) -> list[str]:
        """Return the runs and tuned runs of a study, in the order of params.yaml, tuned ones last."""
        return [name for name, of in self.studies_of_runs.items() if of == study]

    def base_of(self, name: str) -> Run:
        """Return a run; for a tuned run the one whose values its search started from."""
        return self.runs[self.tune[name.removesuffix(TUNED)].run if name not in self.runs else name]

    def seeds_of(self, run: Run) -> tuple[int, ...]:
        """Return the seeds of a run: its own, or those of the project."""
        return run.seeds or self.seeds

    def study_of(self, name: str) -> str:
        """Return the study of a run or tuned run. Raises ValueError for an unknown name."""
        require(name, self.studies_of_runs, "run")
        return self.studies_of_runs[name]
