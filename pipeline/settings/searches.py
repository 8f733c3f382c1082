"""What a search may be in params.yaml: bounds, and what chooses and what gives up a trial."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.checked import Checked, Count, Name, Range


class Tpe(Checked):
    """Optuna's tree-structured Parzen estimator, both values together, after `startup_trials`.

    The first of those is the run as it is, the others are random.
    """

    name: Literal["tpe"]
    startup_trials: Count


class Median(Checked):
    """Give up a trial that is behind the median of those before it at the same epoch.

    Not while fewer than `startup_trials` of them are complete, nor before the end of epoch `warmup_epochs`.
    """

    name: Literal["median"]
    startup_trials: Count
    warmup_epochs: Annotated[int, Field(ge=0)]


class Never(Checked):
    """Let every trial come to its end."""

    name: Literal["none"]


PRUNERS: dict[str, type[Checked]] = {"median": Median, "none": Never}


class Tune(Checked):
    """A search for alpha and lr of one run; bounds are inclusive, both searched on a logarithmic scale.

    The first trial has the run's own values; the sampler chooses those of the others.
    """

    study: Name
    dataset: Name
    run: Name
    trials: Count
    epochs: Count
    validation: Annotated[float, Field(gt=0, lt=1)]
    alpha: Range
    lr: Range
    sampler: Tpe
    pruner: Annotated[Median | Never, Field(discriminator="name")]

    @model_validator(mode="after")
    def _tpe_gets_to_choose(self) -> Self:
        if self.sampler.startup_trials >= self.trials:
            raise ValueError(
                f"sampler.startup_trials: got {self.sampler.startup_trials}, expected fewer than the {self.trials} "
                "trials: TPE learns from those"
            )
        return self

    @model_validator(mode="after")
    def _pruner_gets_to_prune(self) -> Self:
        if isinstance(self.pruner, Median):
            for key, limit in (("startup_trials", self.trials), ("warmup_epochs", self.epochs)):
                if (value := getattr(self.pruner, key)) >= limit:
                    raise ValueError(f"pruner.{key}: got {value}, expected fewer than {limit}, or the pruner none")
        return self
