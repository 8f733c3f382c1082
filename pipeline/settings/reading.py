"""Reading YAML and checking it against a model, with one clear line for each fault."""

import difflib
import re
import reprlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning
from ruamel.yaml.reader import ReaderError

from pipeline.runtime.masking import first_line
from pipeline.settings.checked import LONGEST_NAME
from pipeline.settings.datasets import FORMATS
from pipeline.settings.runs import RUNS, Run
from pipeline.settings.searching import PRUNERS
from pipeline.settings.tables import KINDS

MOST_FAULTS = 100  # that are listed
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxlong = SHORT.maxother = 200
SHORT.maxlist = SHORT.maxdict = SHORT.maxtuple = 20
SHORT.maxlevel = 4

Model = TypeVar("Model", bound=BaseModel)

# Where params.yaml offers several models: the key whose value chooses one, and the models.
CHOICES: dict[tuple[str, ...], tuple[str, dict[str, type[Any]]]] = {
    ("datasets", "*"): ("format", {**FORMATS}),
    ("runs", "*"): ("network", {**RUNS}),
    ("tables", "*"): ("kind", {**KINDS}),
    ("tune", "*", "pruner"): ("name", {**PRUNERS}),
}


def read_yaml(path: Path) -> Any:
    """Read YAML 1.2 as DVC does: `1e-3` is a number.

    Raises FileNotFoundError if there is no such file, and ValueError with the number of the line if it is not YAML.
    """
    if not path.is_file():
        advice = "" if Path("params.yaml").is_file() else "; stages run in the project's top folder"
        raise FileNotFoundError(f"{path}: no such file in {Path.cwd()}{advice}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: got byte 0x{content[error.start]:02x}, expected text in UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML 1.2. Raises ValueError with the number of the line if it is not YAML, or two anchors have one name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReusedAnchorWarning)
            return YAML(typ="safe", pure=True).load(text)
    except ReusedAnchorWarning as error:
        anchor = str(error).split("'")[1]
        first, second = re.findall(r", line (\d+), column", str(error))
        raise ValueError(
            f"{where}:{second}: got another anchor &{anchor}, expected a name that line {first} has not"
        ) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ValueError(f"{where}:{line}: not YAML: {str(error.problem).splitlines()[0]}") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"{where}:{line}: not YAML: character 0x{error.character:02x}") from error
    except Exception as error:  # the parser raises anything for odd numbers and dates, and for deep nesting
        raise ValueError(f"{where}: not YAML: {first_line(error)}") from error


def validate(model: type[Model], values: Any, where: str) -> Model:
    """Check plain values against a model. Raises ValueError with one line for each fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # A fault in a preset is a fault in every run that merges the preset, and each of them is named.
        lines = [f"{where}: {_in_words(fault, model)}" for fault in error.errors()[:MOST_FAULTS]]
        if (more := error.error_count() - MOST_FAULTS) > 0:
            lines.append(f"{where}: and {more} more")
        raise ValueError("\n".join(lines)) from error


def _in_words(fault: Any, model: type[BaseModel]) -> str:
    """Return a fault as pydantic describes it in the words of params.yaml: path, what it got, what it expected."""
    place = [str(part) for part in fault["loc"]]
    depth, chooser, choices = _choice(place)
    if len(place) > depth and place[depth] in choices:
        model = choices[place.pop(depth)]  # pydantic names the chosen model here, which is no key of the file
    if place[-1:] == ["[key]"]:  # pydantic's mark of a fault in the key itself
        del place[-2:]
    path = ".".join(part if len(part) <= LONGEST_NAME else f"{part[:20]}..." for part in place)
    message = fault["msg"].replace("Input should be", "expected").replace("Value error, ", "")
    match fault["type"]:
        case "missing":
            return f"{path}: missing"
        case "union_tag_not_found":
            return f"{path}.{chooser}: missing"
        case "union_tag_invalid":
            return f"{path}.{chooser}: got {shortened(fault['input'][chooser])}, expected one of {', '.join(choices)}"
        case "extra_forbidden":
            # Deeper in a model lies another one, whose keys are not those of `model`.
            return f"{path}: unknown key{_hint(place[-1], model, chooser) if len(place) == depth + 1 else ''}"
        case "string_pattern_mismatch":
            first = ", and no - at its beginning" if fault["input"].startswith("-") else ""
            return f"{path}: got {shortened(fault['input'])}, expected letters, digits, _ and - only{first}"
        case "string_too_long":
            return f"{path}: got {len(fault['input'])} characters, expected at most {LONGEST_NAME}"
        case "value_error":  # about a value: "got ..."; about a whole model: "<key>: got ..."
            return f"{path}: {message}" if message.startswith("got ") else f"{path}.{message}".lstrip(".")
    return f"{path}: got {shortened(fault['input'])}, {message}"


def shortened(value: Any) -> str:
    """Return a value as Python writes it; long texts and lists are cut in the middle, and deep ones at their depth."""
    return SHORT.repr(value)


def _choice(place: Sequence[str]) -> tuple[int, str, dict[str, type[Any]]]:
    """Return the length of the path to a choice between models, the key that chooses, and the models, if any."""
    for path, (chooser, choices) in CHOICES.items():
        if len(place) >= len(path) and all(key in ("*", part) for key, part in zip(path, place, strict=False)):
            return len(path), chooser, choices
    return 0, "", {}


def _hint(key: str, model: type[BaseModel], chooser: str) -> str:
    """Return what may be meant by an unknown key of a model, to be put after the message."""
    if issubclass(model, Run) and (networks := [name for name, run in RUNS.items() if key in run.model_fields]):
        return f", a setting of network {' and '.join(networks)}"
    if similar := difflib.get_close_matches(key, model.model_fields, 1):
        return f", did you mean {similar[0]!r}?"
    if chooser and not issubclass(model, Run):
        return f", this {chooser} takes {', '.join(sorted(model.model_fields))}"
    return ""
