"""params.yaml as checked, frozen models. Code that uses them need not check a value again."""

from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import model_validator

from pipeline.settings.checked import require
from pipeline.settings.reading import parse_yaml, read_yaml, validate
from pipeline.settings.references import check_references
from pipeline.settings.runs import EARLIER, RUNS, Run
from pipeline.settings.sections import Sections
from pipeline.settings.sizes import check_sizes

PARAMS = Path("params.yaml")

Value = TypeVar("Value")


class Params(Sections):
    """All of params.yaml, with the rules between its sections."""

    @model_validator(mode="after")
    def _names_exist_and_entries_fit(self) -> Self:
        check_references(self)
        return self


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises ValueError with one line for each fault: where, got what, expected what."""
    return validate(Params, read_yaml(path), str(path))


def override(run: Run, settings: list[str], where: str) -> Run:
    """Return `run` with some settings replaced by `name=value`, whose values are YAML.

    Raises like `check_run`, and ValueError for a setting in pixels that does not fit the prepared images.
    """
    values = run.all_settings()
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected NAME=VALUE")
        values[name] = parse_yaml(value, f"--set {setting}")
    changed = check_run(values, where)
    check_sizes(changed, None, f"{where}: ")
    return changed


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
