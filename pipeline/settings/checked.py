"""What the models of params.yaml have in common: a strict base class, and types of numbers and names with bounds."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

Values = TypeVar("Values", bound=tuple[object, ...])

MOST_LISTED = 8  # names that are listed although some of them are similar to the wrong one


def distinct(values: Values) -> Values:
    """Return the values. Raises ValueError if one of them occurs twice."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"got {value!r} twice, expected each once")
    return values


def rising(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the bounds. Raises ValueError if the second is not above the first."""
    if bounds[0] >= bounds[1]:
        raise ValueError(f"got {list(bounds)}, expected the lower bound first")
    return bounds


def require(value: object, known: Collection[object], where: str) -> None:
    """Raise ValueError if the value is not known. It lists what is known, or of many names those that are similar."""
    if value in known:
        return
    names = [*map(str, known)]
    if len(names) > MOST_LISTED and (similar := get_close_matches(str(value), names)):
        raise ValueError(
            f"{where}: got {value!r}, expected one of {len(names)} names; did you mean {', '.join(similar)}?"
        )
    raise ValueError(f"{where}: got {value!r}, expected one of {', '.join(names)}")


LONGEST_NAME = 100  # characters: file names of 255 are made of it
LARGEST_NUMBER = 2**31 - 1  # what torch, numpy and Optuna all take

# DVC reads a dot as nesting, and a command line a leading - as an option.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=LONGEST_NAME)]
Count = Annotated[int, Field(gt=0, le=LARGEST_NUMBER)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
# YAML has lists, not tuples: these take a list.
Widths = Annotated[tuple[Count, ...], Strict(False)]
Range = Annotated[tuple[Positive, Positive], Strict(False), AfterValidator(rising)]
Factors = Annotated[tuple[NotNegative, NotNegative], Strict(False)]
Seeds = Annotated[tuple[Seed, ...], Strict(False), AfterValidator(distinct)]
Names = Annotated[tuple[Name, ...], Strict(False)]


class Checked(BaseModel):
    """A model without unknown keys, silent conversions, or changes after the check."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MadeOfRuns(Checked):
    """An entry about one or more runs, which all have this study and this data set."""

    study: Name
    dataset: Name
