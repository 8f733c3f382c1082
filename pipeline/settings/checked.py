"""What every model of params.yaml is made of: a strict base, and numbers and names with their bounds."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

Values = TypeVar("Values", bound=tuple[object, ...])


def distinct(values: Values) -> Values:
    """Return the values. Raises ValueError if one is there twice."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"got {value!r} twice, expected each once")
    return values


def rising(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the bounds. Raises ValueError if the second is not above the first."""
    if bounds[0] >= bounds[1]:
        raise ValueError(f"got {list(bounds)}, expected the lower bound first")
    return bounds


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # DVC reads a dot as nesting
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
# YAML knows lists only.
Widths = Annotated[tuple[Count, ...], Strict(False)]
Range = Annotated[tuple[Positive, Positive], Strict(False), AfterValidator(rising)]
Factors = Annotated[tuple[NotNegative, NotNegative], Strict(False)]
Seeds = Annotated[tuple[Seed, ...], Strict(False), AfterValidator(distinct)]
Names = Annotated[tuple[Name, ...], Strict(False)]


class Checked(BaseModel):
    """No unknown key, no silent conversion, no change after the check."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
