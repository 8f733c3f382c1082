"""params.yaml as checked, frozen models: past this module nobody checks a parameter again."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from pipeline.runtime.paths import PRIMARY, TUNED
from pipeline.settings.checked import (
    Checked,
    Count,
    Name,
    Names,
    Seed,
    Seeds,
)
from pipeline.settings.datasets import FORMATS, Dataset
from pipeline.settings.figures import Compare, Figures, Primary, TakenApart
from pipeline.settings.runs import EARLIER, RUNS, Entry, Run
from pipeline.settings.searches import PRUNERS, Tune
from pipeline.settings.tables import KINDS, Benchmarks, Decoders, Published, Robustness, Table, Topologies, factor

PARAMS = Path("params.yaml")

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")

# Where params.yaml offers several models, and the key that chooses.
CHOICES: dict[tuple[str, ...], tuple[str, dict[str, type[Any]]]] = {
    ("datasets", "*"): ("format", {**FORMATS}),
    ("runs", "*"): ("network", {**RUNS}),
    ("tables", "*"): ("kind", {**KINDS}),
    ("tune", "*", "pruner"): ("name", {**PRUNERS}),
}


class Rotations(Checked):
    """A run that is scored on its test images rotated by 0, step, 2 step, ... degrees as well; its name is the key."""

    study: Name
    dataset: Name
    step: Annotated[int, Field(gt=0, le=360)]

    @model_validator(mode="after")
    def _step_closes_the_circle(self) -> Self:
        if 360 % self.step:
            raise ValueError(f"step: got {self.step}, expected a divisor of 360")
        return self


class PublishedWeights(Checked):
    """The weights of one seed of a run that lie in git; in bfloat16 unless rounding moves the accuracy.

    The key is the run's name, or <run>-seed-<seed>.
    """

    run: Name
    dataset: Name
    seed: Seed
    dtype: Literal["bfloat16", "float32"]


class Study(Checked):
    """What a study is called and about, and its tables, in the order of its page; `tables` has <study>-<table>."""

    title: str
    about: str
    tables: Names


class Pairing(Checked):
    """The pairs of test images that runs with the task `separate` are scored on: `per_image` with each as the first."""

    seed: Seed
    per_image: Count


class Tracking(Checked):
    """Where runs are recorded besides the declared files."""

    experiment: str
    tensorboard: bool


class Params(Checked):
    """All of params.yaml; `presets` are only there to be taken over by runs."""

    seeds: Annotated[Seeds, Field(min_length=1)]
    tracking: Tracking
    datasets: dict[Name, Dataset]
    test_pairs: Pairing
    presets: dict[str, Any]
    runs: dict[Name, Entry]
    tune: dict[Name, Tune]
    figures: dict[Name, Figures]
    primary: dict[Name, Primary]
    compare: dict[Name, Compare]
    pairs: dict[Name, TakenApart]
    robustness: dict[Name, Rotations]
    studies: dict[Name, Study]
    tables: dict[Name, Table]
    published: dict[Name, Published]
    published_weights: dict[Name, PublishedWeights]

    @model_validator(mode="after")
    def _folders_of_runs_are_their_own(self) -> Self:
        for name in self.runs:
            for suffix, stage in ((TUNED, "train-tuned"), (PRIMARY, "decode")):
                if name.endswith(suffix):
                    raise ValueError(
                        f"runs: got {name!r}, expected no name that ends in {suffix}, as those of {stage} do"
                    )
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        for name, run in self.runs.items():
            _require(run.dataset, self.datasets, f"runs.{name}.dataset")
            _require(run.study, self.studies, f"runs.{name}.study")
        for name, search in self.tune.items():
            _require(search.run, self.runs, f"tune.{name}.run")
            if not self.runs[search.run].alpha:
                raise ValueError(f"tune.{name}.run: alpha: got 0, expected greater than 0 on a logarithmic scale")
            for key in ("alpha", "lr"):
                (low, high), own = getattr(search, key), getattr(self.runs[search.run], key)
                if not low <= own <= high:
                    raise ValueError(
                        f"tune.{name}.{key}: got [{low}, {high}], expected bounds that hold {own}, the {key} of "
                        f"{search.run}: the first trial is the run as it is"
                    )
            _require(search.study, [self.runs[search.run].study], f"tune.{name}.study")
            _require(search.dataset, [self.runs[search.run].dataset], f"tune.{name}.dataset")
        for name, figures in self.figures.items():
            _require(figures.run, self.runs, f"figures.{name}.run")
            _require(name, [self.runs[figures.run].dataset], f"figures.{name}")
            _require(figures.study, [self.runs[figures.run].study], f"figures.{name}.study")
            _require(self.runs[figures.run].task, ["classify"], f"figures.{name}.run: task")
            _require(name, self.primary, "primary, for figures of the same name")
        for name, primary in self.primary.items():
            _require(name, self.figures, f"primary.{name}")
            _require(primary.run, [self.figures[name].run], f"primary.{name}.run")
        for name, compare in self.compare.items():
            _require(name, [key for key in self.compare if key not in self.figures], f"compare.{name}")
            for run_name in compare.runs:
                _require(run_name, self.runs, f"compare.{name}.runs")
                _require(compare.dataset, [self.runs[run_name].dataset], f"compare.{name}.dataset")
                _require(compare.study, [self.runs[run_name].study], f"compare.{name}.study")
                _require(self.runs[run_name].task, ["classify"], f"compare.{name}.runs: {run_name}: task")
        for name, pairs in self.pairs.items():
            _require(name, [each for each, run in self.runs.items() if run.task == "separate"], f"pairs.{name}")
            _require(name, [key for key in self.pairs if key not in (*self.figures, *self.compare)], f"pairs.{name}")
            _require(pairs.study, [self.runs[name].study], f"pairs.{name}.study")
            _require(pairs.dataset, [self.runs[name].dataset], f"pairs.{name}.dataset")
        for name, rotations in self.robustness.items():
            _require(name, self.studies_of_runs, f"robustness.{name}")
            _require(rotations.study, [self.studies_of_runs[name]], f"robustness.{name}.study")
            _require(rotations.dataset, [self.base_of(name).dataset], f"robustness.{name}.dataset")
            _require(self.base_of(name).task, ["classify"], f"robustness.{name}: task")
        for name, weights in self.published_weights.items():
            where = f"published_weights.{name}"
            _require(weights.run, self.studies_of_runs, f"{where}.run")
            _require(name, [weights.run, f"{weights.run}-seed-{weights.seed}"], where)
            _require(weights.dataset, [self.base_of(weights.run).dataset], f"{where}.dataset")
        for name, study in self.studies.items():
            for kind in study.tables:
                _require(f"{name}-{kind}", self.tables, f"studies.{name}.tables")
        ensembles = [run for table in self.tables.values() for run in getattr(table, "ensembles", ())]
        for name, published in self.published.items():
            together = published.ensemble or published.ensemble_accuracy is not None
            _require(name, ensembles if together else self.studies_of_runs, f"published.{name}")
        return self

    @model_validator(mode="after")
    def _tables_can_be_made(self) -> Self:
        for name, table in self.tables.items():
            where = f"tables.{name}"
            _require(name, [f"{study}-{kind}" for study, s in self.studies.items() for kind in s.tables], where)
            _require(name, [f"{table.study}-{table.kind}"], where)
            known = [run for run, study in self.studies_of_runs.items() if study == table.study]
            for key in ("runs", "ensembles"):
                for run in getattr(table, key, ()):
                    _require(run, known, f"{where}.{key}")
            if isinstance(table, Decoders):
                self._require_one_test_set(table.runs, f"{where}.runs")
            if isinstance(table, Benchmarks):
                for protocol, followers in table.protocols.items():
                    for run in followers:
                        _require(run, (*table.runs, *table.ensembles), f"{where}.protocols.{protocol}")
            if isinstance(table, Topologies):
                _require(table.base, known, f"{where}.base")
                self._require_one_test_set((table.base, *table.runs), f"{where}.runs")
                base = self.base_of(table.base).model_dump()
                for run in table.runs:
                    factor(self.base_of(run).model_dump(), base, f"{where}.runs: {run}")
            if isinstance(table, Robustness):
                rotated = [run for run in table.runs if run in self.robustness]
                for run in table.runs:
                    _require(run, [*self.robustness, *self.hard_as_they_are], f"{where}.runs")
                for run in rotated:
                    for degrees in table.degrees:
                        _require(degrees, range(0, 360, self.robustness[run].step), f"{where}.degrees")
        return self

    def _require_one_test_set(self, names: Sequence[str], where: str) -> None:
        sets = dict.fromkeys((run.dataset, run.task) for run in map(self.base_of, names))
        if len(sets) > 1:
            got = " and ".join(f"{dataset} ({task})" for dataset, task in sets)
            raise ValueError(f"{where}: got runs of {got}, expected runs of one data set and one task")

    @property
    def studies_of_runs(self) -> dict[str, str]:
        """The study whose tables each run, and each tuned run, belongs to."""
        tuned = {name + TUNED: search.study for name, search in self.tune.items()}
        return {name: run.study for name, run in self.runs.items()} | tuned

    @property
    def hard_as_they_are(self) -> list[str]:
        """The runs whose own test images differ from what they were trained on, or overlap."""
        return [
            name
            for name in self.studies_of_runs
            if self.base_of(name).task == "separate" or self.datasets[self.base_of(name).dataset].format == "affnist"
        ]

    def base_of(self, name: str) -> Run:
        """Return a run, or the one that a tuned run was before its search."""
        return self.runs[self.tune[name.removesuffix(TUNED)].run if name not in self.runs else name]

    def seeds_of(self, run: Run) -> tuple[int, ...]:
        """Return the seeds of a run: its own, or those of the project."""
        return run.seeds or self.seeds

    def study_of(self, name: str) -> str:
        """Return the study of a run, or of a tuned run. Raises ValueError for an unknown name."""
        return find(name, self.studies_of_runs, "run")


def load_params(path: Path = PARAMS) -> Params:
    """Read and check params.yaml. Raises ValueError with every fault, one a line: where, got what, expected what."""
    return validate(Params, read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """Read YAML 1.2 as DVC does: `1e-3` is a number. Raises ValueError naming the line for anything else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file in {Path.cwd()}; stages run in the project's top folder")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: got byte 0x{content[error.start]:02x}, expected text in UTF-8") from error
    return _parse(text, str(path))


def override(run: Run, settings: list[str], where: str) -> Run:
    """Return `run` with `name=value` settings replaced, checked like params.yaml; values are YAML."""
    values: dict[str, Any] = run.model_dump()
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected NAME=VALUE")
        values[name] = _parse(value, f"--set {setting}")
    return check_run(values, where)


def check_run(values: Any, where: str) -> Run:
    """Check plain values against the model of the network that they name. Raises ValueError as `validate` does."""
    if not isinstance(values, dict) or "network" not in values:
        raise ValueError(f"{where}: network: missing")
    _require(values["network"], [*RUNS], f"{where}: network")
    return validate(RUNS[values["network"]], values, where)


def recorded_run(values: Any, where: str) -> Run:
    """Check the settings in the header of a model file, of whatever version. Raises ValueError like `check_run`."""
    return check_run({**EARLIER, **values} if isinstance(values, dict) else values, where)


def validate(model: type[Model], values: Any, where: str) -> Model:
    """Check plain values against a model. Raises ValueError with every fault, one a line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # A merged preset repeats a fault in every run that takes it over; all are named.
        raise ValueError("\n".join(f"{where}: {_fault(model, fault)}" for fault in error.errors())) from error


def find(name: str, mapping: dict[str, Value], kind: str) -> Value:
    """Look up what the user named. Raises ValueError with the names there are."""
    _require(name, mapping, kind)
    return mapping[name]


def _require(name: object, known: Any, where: str) -> None:
    if name not in known:
        raise ValueError(f"{where}: got {name!r}, expected one of {', '.join(map(str, known))}")


def _parse(text: str, where: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ValueError(f"{where}:{line}: not YAML: {error.problem}") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"{where}:{line}: not YAML: character 0x{error.character:02x}") from error


def _choice(where: Sequence[str]) -> tuple[int, str, dict[str, type[Any]]]:
    """Return how deep a place lies where params.yaml offers several models, the key that chooses, and the models."""
    for place, (chooser, choices) in CHOICES.items():
        if len(where) >= len(place) and all(key in ("*", part) for key, part in zip(place, where, strict=False)):
            return len(place), chooser, choices
    return 0, "", {}


def _fault(model: type[BaseModel], fault: Any) -> str:
    where = [str(part) for part in fault["loc"]]
    owner = model
    depth, chooser, choices = _choice(where)
    if len(where) > depth and where[depth] in choices:
        owner = choices[where.pop(depth)]  # the choice, by which pydantic chose the model: no key of the file
    if where[-1:] == ["[key]"]:  # pydantic's word for a fault in the key itself
        del where[-2:]
    path = ".".join(where)
    message = fault["msg"].replace("Input should be", "expected").replace("Value error, ", "")
    if fault["type"] == "missing":
        return f"{path}: missing"
    if fault["type"] == "union_tag_not_found":
        return f"{path}.{chooser}: missing"
    if fault["type"] == "union_tag_invalid":
        return f"{path}.{chooser}: got {fault['input'][chooser]!r}, expected one of {', '.join(choices)}"
    if fault["type"] == "extra_forbidden":
        of_others = [name for name, run in RUNS.items() if where[-1] in run.model_fields and issubclass(owner, Run)]
        if of_others:
            return f"{path}: unknown key, a setting of network {' and '.join(of_others)}"
        similar = difflib.get_close_matches(where[-1], owner.model_fields, 1)
        hint = f", did you mean {similar[0]!r}?" if similar else ""
        if choices and not similar and not issubclass(owner, Run):
            hint = f", this {chooser} takes {', '.join(sorted(owner.model_fields))}"
        return f"{path}: unknown key{hint}"
    if fault["type"] == "string_pattern_mismatch":
        return f"{path}: got {fault['input']!r}, expected letters, digits, _ and - only"
    if fault["type"] == "value_error":  # of a value: "got ...", or of a model: "<key>: got ..."
        return f"{path}: {message}" if message.startswith("got ") else f"{path}.{message}".lstrip(".")
    return f"{path}: got {fault['input']!r}, {message}"
