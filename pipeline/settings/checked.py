"""What every model of params.yaml is made of: a strict base, and numbers and names with their bounds."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
# YAML knows lists only.
Widths = Annotated[tuple[Count, ...], Strict(False)]
Range = Annotated[tuple[Positive, Positive], Strict(False)]
Factors = Annotated[tuple[NotNegative, NotNegative], Strict(False)]
Seeds = Annotated[tuple[Seed, ...], Strict(False)]
Names = Annotated[tuple[Name, ...], Strict(False)]


class Checked(BaseModel):
    """No unknown key, no silent conversion, no change after the check."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
