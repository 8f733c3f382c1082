"""params.yaml as checked, frozen models: past this module nobody checks a parameter again."""

import difflib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, Strict, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from pipeline.checked import (
    Checked,
    Count,
    Factors,
    Name,
    Names,
    NotNegative,
    Positive,
    Range,
    Seed,
    Seeds,
    Share,
    Widths,
)
from pipeline.data_config import FORMATS, Dataset
from pipeline.table_config import KINDS, Benchmarks, Published, Robustness, Table, Topologies, factor

if TYPE_CHECKING:
    from capsnet.explain.primary import PrimaryTraining
    from capsnet.model import ModelConfig
    from capsnet.training import TrainingConfig

PARAMS = Path("params.yaml")
TUNED = "-tuned"

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")

Picture = Literal[  # the keys of pipeline.figures.PICTURES
    "curves",
    "reconstructions",
    "rotation",
    "rotation-classes",
    "rotation-accuracy",
    "perturbation",
    "perturbation-classes",
    "confusion",
    "calibration",
    "embedding",
    "attributes",
    "coupling",
    "primary",
]

# Where params.yaml offers several models, and the key that chooses.
CHOICES: dict[str, tuple[str, dict[str, type[Any]]]] = {
    "datasets": ("format", {**FORMATS}),
    "tables": ("kind", {**KINDS}),
}


class Run(Checked):
    """One run: architecture, training, where. The descriptions are the help of `python -m pipeline.train`."""

    study: Name = Field(description="study whose tables the run belongs to")
    dataset: Name = Field(description="a key of `datasets`")
    seeds: Seeds = Field(description="seeds of this run; [] for those of the project")
    task: Literal["classify", "separate"] = Field(
        description="classify one image, or separate two that overlap, in a field with max_shift pixels around them"
    )
    crop: Annotated[int, Field(ge=0)] = Field(
        description="pixels that the network sees: a random square of a training image, the centre of others; 0 for all"
    )
    standardise: bool = Field(description="the network gives each image mean 0 and standard deviation 1")
    padding: Literal["valid", "same"] = Field(
        description="of both convolutions: valid for none; same: zeros for an output of ceil(size / stride) pixels"
    )
    conv_channels: Count = Field(description="channels of the first convolution")
    conv_kernel: Count = Field(description="kernel size of the first convolution, in pixels")
    primary_types: Count = Field(description="types of primary capsules: channels of their convolution / primary_dim")
    primary_dim: Count = Field(description="pose size of a primary capsule")
    primary_kernel: Count = Field(description="kernel size of the primary capsules' convolution, in pixels")
    primary_stride: Count = Field(description="stride of the primary capsules' convolution, in pixels")
    primary_scale: Positive = Field(description="factor on the primary capsules' convolution, before its bias")
    class_dim: Count = Field(description="pose size of a class capsule")
    routing_iterations: Count = Field(description="iterations of dynamic routing")
    routing_bias: bool = Field(description="add a learned bias to each class capsule before squash")
    leaky_routing: bool = Field(description="let primary capsules abstain: an extra zero logit in the softmax")
    decoder: Literal["none", "fc", "deconv"] = Field(description="decoder: none, fc or deconv")
    decoder_hidden: Widths = Field(description="widths of the fc decoder's hidden layers")
    decoder_channels: Count = Field(
        description="channels of the deconv decoder's first layer; they double up to 4 times it"
    )
    batch_norm: bool = Field(description="batch normalisation in encoder and decoder")
    initialisation: Literal["torch", "reference", "sabour"] = Field(
        description="torch; reference: Glorot's normal x 0.02 (class capsules 0.002); sabour: truncated normal 0.1 "
        "(first convolution 0.05), biases 0.1"
    )
    epochs: Count = Field(description="epochs; the last one is the result")
    batch_size: Count = Field(description="images a step")
    lr: Positive = Field(description="Adam's learning rate")
    lr_decay: Positive = Field(description="factor on lr per lr_decay_steps steps, applied continuously; 1 for none")
    lr_decay_steps: Count = Field(description="see lr_decay")
    lr_floor: NotNegative = Field(description="lr never falls below this")
    margin_weight: Positive = Field(
        description="weight of the margin loss, on the sum over classes; halved and averaged over 10 of them: 0.05"
    )
    alpha: NotNegative = Field(description="weight of the reconstruction loss, on the sum over pixels")
    alpha_schedule: Literal["constant", "tanh_delayed", "tanh"] = Field(
        description="constant; tanh_delayed: alpha (tanh(epoch / 8 - pi) + 1) / 2; tanh: alpha tanh(epoch / 16)"
    )
    reconstruction: Literal["l2", "l1"] = Field(description="reconstruction loss: l2 (summed squared error) or l1")
    max_shift: Annotated[int, Field(ge=0)] = Field(description="pixels by which a training image is shifted at most")
    flip: bool = Field(description="exchange left and right in half of the training images")
    brightness: Annotated[float, Field(ge=0, le=255)] = Field(
        description="largest change of a training image's brightness, in grey levels of 255; 0 for none"
    )
    brightness_change: Literal["add", "scale"] = Field(
        description="add up to brightness / 255, or scale by a factor from 1 - brightness / 255 to 1 + brightness / 255"
    )
    contrast: Factors = Field(
        description="lowest and highest factor on a training image's contrast; [1.0, 1.0] for none"
    )
    clip_pixels: bool = Field(
        description="cut a training image off at 0 and 1 after brightness and contrast; a decoder's target always is"
    )
    validation: Share = Field(description="share of the training images, or of their instances, held out; 0 for none")
    precision: Literal["float32", "bfloat16"] = Field(
        description="of convolutions and decoder in training; capsules, losses and every evaluation are in float32"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto takes a GPU where there is one")
    threads: Count = Field(description="CPU threads; the same number gives the same bytes")
    checkpoint_every: Count = Field(description="epochs between checkpoints")

    @model_validator(mode="after")
    def _batch_norm_needs_two(self) -> Self:
        if self.batch_norm and self.batch_size < 2:
            raise ValueError("batch_size: got 1, expected at least 2 with batch_norm")
        return self

    @model_validator(mode="after")
    def _contrast_rises(self) -> Self:
        if self.contrast[0] > self.contrast[1]:
            raise ValueError(f"contrast: got {list(self.contrast)}, expected the lowest factor first")
        return self

    @model_validator(mode="after")
    def _pairs_are_seen_whole(self) -> Self:
        if self.task == "separate" and self.crop:
            raise ValueError(f"crop: got {self.crop}, expected 0 with task separate")
        return self

    @property
    def label(self) -> str:
        """The run's decoder in the words of the published tables, FC w/ BN, and what else is special about it."""
        decoder = {"none": "no decoder", "fc": "FC", "deconv": "DeConv"}[self.decoder]
        precision = "" if self.precision == "float32" else f", {self.precision}"
        pairs = ", pairs" if self.task == "separate" else ""
        return decoder + (" w/ BN" if self.batch_norm else "") + precision + pairs

    def model(self, image_size: int, channels: int, classes: int) -> "ModelConfig":
        """Return the architecture for images of `image_size` pixels. Raises ValueError if it cannot be built."""
        from capsnet.model import ModelConfig

        if self.crop > image_size:
            raise ValueError(f"crop: got {self.crop}, expected at most {image_size}, the pixels of {self.dataset}")
        border = self.max_shift if self.task == "separate" else 0
        size = self.crop or image_size + 2 * border
        values: dict[str, Any] = {"image_size": size, "channels": channels, "classes": classes}
        values |= {field.name: getattr(self, field.name) for field in fields(ModelConfig) if field.name not in values}
        return ModelConfig(**values)

    def training(self) -> "TrainingConfig":
        """Return what decides the training."""
        from capsnet.training import TrainingConfig

        return TrainingConfig(**{field.name: getattr(self, field.name) for field in fields(TrainingConfig)})


class Tune(Checked):
    """A search for alpha and lr of one run; bounds are inclusive, both searched on a logarithmic scale."""

    study: Name
    dataset: Name
    run: Name
    trials: Count
    epochs: Count
    validation: Annotated[float, Field(gt=0, lt=1)]
    alpha: Range
    lr: Range


class Figures(Checked):
    """The pictures of one run's view of a data set, whose name is the key, in the order of the page."""

    study: Name
    run: Name
    pictures: Annotated[tuple[Picture, ...], Strict(False), Field(min_length=1)]


class Primary(Checked):
    """A decoder on the primary capsules of the network behind the pictures of a data set, whose name is the key."""

    run: Name
    hidden: Widths
    epochs: Count
    batch_size: Count
    lr: Positive
    subsets: bool

    def training(self) -> "PrimaryTraining":
        """Return what decides the training."""
        from capsnet.explain.primary import PrimaryTraining

        return PrimaryTraining(**{field.name: getattr(self, field.name) for field in fields(PrimaryTraining)})


class Compare(Checked):
    """Runs on one data set whose pictures stand beside each other: the four decoders."""

    study: Name
    dataset: Name
    runs: Annotated[tuple[Name, Name, Name, Name], Strict(False)]


class TakenApart(Checked):
    """A run, whose name is the key, that separates pairs: its pictures show how."""

    study: Name
    dataset: Name


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
    runs: dict[Name, Run]
    tune: dict[Name, Tune]
    figures: dict[Name, Figures]
    primary: dict[Name, Primary]
    compare: dict[Name, Compare]
    pairs: dict[Name, TakenApart]
    robustness: dict[Name, Rotations]
    studies: dict[Name, Study]
    tables: dict[Name, Table]
    published: dict[Name, Published]

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        for name, run in self.runs.items():
            _require(run.dataset, self.datasets, f"runs.{name}.dataset")
            _require(run.study, self.studies, f"runs.{name}.study")
        for name, search in self.tune.items():
            _require(search.run, self.runs, f"tune.{name}.run")
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
        for name, study in self.studies.items():
            for kind in study.tables:
                _require(f"{name}-{kind}", self.tables, f"studies.{name}.tables")
        ensembles = [run for table in self.tables.values() for run in getattr(table, "ensembles", ())]
        for name, published in self.published.items():
            _require(name, ensembles if published.ensemble else self.studies_of_runs, f"published.{name}")
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
            if isinstance(table, Benchmarks):
                for run in table.ensembles:
                    if len(self.seeds_of(self.base_of(run))) < 2:
                        raise ValueError(f"{where}.ensembles: got one seed of {run}, expected at least 2")
                for protocol, followers in table.protocols.items():
                    for run in followers:
                        _require(run, (*table.runs, *table.ensembles), f"{where}.protocols.{protocol}")
            if isinstance(table, Topologies):
                _require(table.base, known, f"{where}.base")
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
    return _parse(path.read_text(encoding="utf-8"), str(path))


def override(run: Run, settings: list[str], where: str) -> Run:
    """Return `run` with `name=value` settings replaced, checked like params.yaml; values are YAML."""
    values: dict[str, Any] = run.model_dump()
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected NAME=VALUE")
        values[name] = _parse(value, f"--set {setting}")
    return validate(Run, values, where)


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


def _fault(model: type[BaseModel], fault: Any) -> str:
    where = [str(part) for part in fault["loc"]]
    owner = Run if "runs" in where[:1] else model
    chooser, choices = CHOICES.get(where[0], ("", {})) if where else ("", {})
    if choices and len(where) > 3:
        owner = choices[where.pop(2)]  # the choice, by which pydantic chose the model: no key of the file
    path = ".".join(where)
    message = fault["msg"].replace("Input should be", "expected").replace("Value error, ", "")
    if fault["type"] == "missing":
        return f"{path}: missing"
    if fault["type"] == "union_tag_not_found":
        return f"{path}.{chooser}: missing"
    if fault["type"] == "union_tag_invalid":
        return f"{path}.{chooser}: got {fault['input'][chooser]!r}, expected one of {', '.join(choices)}"
    if fault["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(where[-1], owner.model_fields, 1)
        hint = f", did you mean {similar[0]!r}?" if similar else ""
        if choices and not similar:
            hint = f", this {chooser} takes {', '.join(sorted(owner.model_fields))}"
        return f"{path}: unknown key{hint}"
    if fault["type"] == "value_error":
        return f"{path}.{message}" if path else message
    return f"{path}: got {fault['input']!r}, {message}"
