"""The searches in params.yaml: bounds, the sampler that chooses trials, and the pruner that stops some."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.checked import Checked, Count, MadeOfRuns, Name, Range


class Tpe(Checked):
    """Optuna's tree-structured Parzen estimator, which chooses both values of each trial after `startup_trials`.

    The first startup trial has the run's own values; the others are random.
    """

    name: Literal["tpe"]
    startup_trials: Count


class Median(Checked):
    """Stop a trial that is behind the median of earlier trials at the same epoch.

    No trial is stopped before `startup_trials` others are complete, nor before the end of its epoch `warmup_epochs`.
    """

    name: Literal["median"]
    startup_trials: Count
    warmup_epochs: Annotated[int, Field(ge=0)]


class Never(Checked):
    """Stop no trial."""

    name: Literal["none"]


PRUNERS: dict[str, type[Checked]] = {"median": Median, "none": Never}


class Tune(MadeOfRuns):
    """A search for alpha and lr of one run, both on a logarithmic scale between inclusive bounds.

    The first trial has the run's own values. The sampler chooses those of the others.
    """

    run: Name
    trials: Count
    epochs: Count
    validation: Annotated[float, Field(gt=0, lt=1)]
    alpha: Range
    lr: Range
    sampler: Tpe
    pruner: Annotated[Median | Never, Field(discriminator="name")]

    @model_validator(mode="after")
    def _sampler_chooses_a_trial(self) -> Self:
        if self.sampler.startup_trials >= self.trials:
            raise ValueError(
                f"sampler.startup_trials: got {self.sampler.startup_trials}, expected fewer than the {self.trials} "
                "trials: TPE learns from those"
            )
        return self

    @model_validator(mode="after")
    def _pruner_can_stop_a_trial(self) -> Self:
        if isinstance(self.pruner, Median):
            for key, limit in (("startup_trials", self.trials), ("warmup_epochs", self.epochs)):
                if (value := getattr(self.pruner, key)) >= limit:
                    raise ValueError(f"pruner.{key}: got {value}, expected fewer than {limit}, or the pruner none")
        return self
