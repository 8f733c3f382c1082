"""Contracts between files: import arrows, dvc.yaml's deps, params.yaml, names, the README's tables."""

import hashlib
import json
import subprocess
from configparser import ConfigParser
from dataclasses import fields, replace
from html import unescape
from pathlib import Path
from typing import get_args

import pytest
from choices import CHOICES
from imports import file_of, imported, in_circles, neighbours
from ruamel.yaml import YAML
from tiny_project import SHAPES

from capsnet.networks.capsnet import NETWORKS, ModelConfig
from capsnet.networks.saved import load, read_settings
from capsnet.sources.catalogue import OFFICIAL
from capsnet.training.training_config import TrainingConfig
from pipeline.apps.readme import documents, with_results
from pipeline.draw import DRAWERS
from pipeline.reporting.tables import build
from pipeline.settings.datasets import FORMATS, LARGEST, SMALLEST
from pipeline.settings.figures import FigureName
from pipeline.settings.params import load_params, recorded_run
from pipeline.settings.runs import RUNS, Run

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
# They check, lock, record, join processes and parse arguments: no result depends on them, nor on what they import.
RESULT_FREE = (
    "capsnet/__init__.py",
    "pipeline/runtime/advice.py",
    "pipeline/runtime/command_line.py",
    "pipeline/runtime/launch.py",
    "pipeline/runtime/locks.py",
    "pipeline/runtime/masking.py",
    "pipeline/runtime/scratch.py",
    "pipeline/runtime/termination.py",
    "pipeline/runtime/stopping.py",
    "pipeline/runtime/torchrun.py",
    "pipeline/runtime/unrecorded.py",
    "pipeline/runtime/workspace.py",
    "pipeline/settings/checked.py",
    "pipeline/settings/datasets.py",
    "pipeline/settings/params.py",
    "pipeline/settings/reading.py",
    "pipeline/settings/references.py",
    "pipeline/settings/searching.py",
    "pipeline/settings/sections.py",
    "pipeline/settings/sizes.py",
    "pipeline/tracking/",
)
# They decide results and are declared, but what they import is only named there as a type or checked against.
DECIDING = ("pipeline/settings/",)
FORBIDDEN = {"pipeline", "mlflow", "dvc", "optuna", "pandas", "yaml", "ruamel", "matplotlib", "argparse", "pydantic"}


def needed(*paths: Path) -> set[str]:
    """The project's own files that some files' results need, they included."""
    found: set[str] = set()
    waiting = [*paths]
    while waiting:
        current = waiting.pop()
        name = str(current.relative_to(ROOT))
        if name in found or name.startswith(RESULT_FREE) or name.endswith("__init__.py"):
            continue
        found.add(name)
        if not name.startswith(DECIDING):
            waiting += [target for module in imported(current) if (target := file_of(module))]
    return found


def code_of(stage: str) -> set[str]:
    """The files and folders of code that a stage of dvc.yaml declares."""
    return {dep for dep in STAGES[stage]["do"]["deps"] if dep.split("/")[0] in ("capsnet", "pipeline")}


def covers(dep: str, name: str) -> bool:
    return name == dep or name.startswith(f"{dep}/")


@pytest.mark.parametrize("path", sorted((ROOT / "capsnet").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_knows_nothing_of_the_pipeline_and_its_tools(path: Path) -> None:
    assert not {module.split(".")[0] for module in imported(path)} & FORBIDDEN


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_all_code_that_decides_its_result_and_no_other(stage: str) -> None:
    sources = [*(ROOT / "capsnet" / "sources").glob("*.py")] if stage in ("download", "prepare") else []
    expected = needed(ROOT / "pipeline" / f"{stage.removesuffix('-tuned')}.py", *sources)
    declared = code_of(stage)
    assert not {name for name in expected if not any(covers(dep, name) for dep in declared)}
    assert not {dep for dep in declared if not any(covers(dep, name) for name in expected)}


def test_the_sizes_of_own_pictures_are_those_that_a_network_can_see(tiny_model: ModelConfig) -> None:
    for size in (SMALLEST, LARGEST):
        assert replace(tiny_model, image_size=size).image_size == size
    for size in (SMALLEST - 1, LARGEST + 1):
        with pytest.raises(ValueError, match=f"image_size: got {size}"):
            replace(tiny_model, image_size=size)


def test_each_stage_is_a_file_and_what_mlflow_can_start_is_a_stage() -> None:
    floor = {path.name for path in (ROOT / "pipeline").glob("*.py")}
    assert {f"{name.removesuffix('-tuned')}.py" for name in STAGES} == floor - {"__init__.py"}
    entry_points = YAML(typ="safe", pure=True).load((ROOT / "MLproject").read_text())["entry_points"]
    assert set(entry_points) == {"main", "train", "evaluate", "tune", "report"}
    assert set(entry_points) - {"main"} <= set(STAGES)


def test_dvc_links_files_that_it_keeps_and_never_by_their_absolute_path() -> None:
    """A hard link first, or models are copied into the cache; a symbolic one breaks when the project is moved."""
    config = ConfigParser()
    config.read_string("\n".join(line.strip() for line in (ROOT / ".dvc/config").read_text().splitlines()))
    kinds = config["cache"]["type"].strip('"').split(",")
    assert kinds[0] == "hardlink"
    assert kinds[-1] == "copy"
    assert "symlink" not in kinds


def test_the_parameters_in_git_are_valid_and_spell_out_every_setting() -> None:
    params = load_params(ROOT / "params.yaml")
    of_data = {"image_size", "channels", "classes"}
    for (network, run), preset in zip(RUNS.items(), ("reference", "attention"), strict=True):
        settings = {field.name for config in (NETWORKS[network], TrainingConfig) for field in fields(config)}
        recorded = {name for name, field in run.model_fields.items() if not field.exclude}
        assert settings - of_data <= recorded == set(params.presets[preset])
        assert set(run.model_fields) - recorded == {"processes"}  # it changes no result, and has a default
        assert set(run.model_fields) - settings - set(Run.model_fields) == set()
        assert all(run.model_fields[name].is_required() for name in recorded)
        assert all(field.description for field in run.model_fields.values())


def test_a_run_can_be_of_every_network_of_the_library() -> None:
    assert set(RUNS) == set(NETWORKS)


@pytest.mark.parametrize("name", load_params(ROOT / "params.yaml").runs)
def test_every_run_in_git_can_be_built_and_configured(name: str) -> None:
    run = load_params(ROOT / "params.yaml").runs[name]
    assert run.model(*SHAPES[run.dataset]).decoder == run.decoder
    assert run.training().alpha == run.alpha


def test_the_choices_of_the_parameters_are_those_of_the_library() -> None:
    for name, offered in CHOICES.items():
        for run in RUNS.values():
            if name in run.model_fields:
                assert set(get_args(run.model_fields[name].annotation)) == set(offered), name
        assert any(name in run.model_fields for run in RUNS.values())


def test_the_pictures_that_the_parameters_offer_are_those_that_can_be_drawn() -> None:
    assert get_args(FigureName) == tuple(DRAWERS)


def test_every_data_set_with_official_files_is_downloaded_and_has_a_format_and_an_entry() -> None:
    assert STAGES["download"]["foreach"] == list(OFFICIAL)
    assert set(FORMATS) == {*OFFICIAL, "affnist", "npz", "folder"}
    assert list(STAGES["download"]["do"]["outs"][0]) == ["data/raw/${item}"]
    datasets = load_params(ROOT / "params.yaml").datasets
    for name in OFFICIAL:
        assert datasets[name].format == name
        assert datasets[name].raw == f"data/raw/{name}"


def test_a_data_set_in_git_is_read_from_a_folder_that_a_download_fills() -> None:
    """So that `dvc repro` of a data set made from another one's files fetches those first."""
    raws = {f"data/raw/{name}" for name in OFFICIAL}
    assert {entry.raw for entry in load_params(ROOT / "params.yaml").datasets.values()} <= raws


def test_the_tables_in_the_readme_and_the_docs_are_those_in_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As committed: a demo that was run here may have changed the tables since.
    names = ["README.md", "docs", "reports", "params.yaml"]
    archive = subprocess.run(["git", "archive", "HEAD", *names], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=tmp_path, input=archive.stdout, check=True)
    monkeypatch.chdir(tmp_path)
    marked = 0
    for path in documents():
        text = path.read_text()
        markers = sum(text.count(f"<!-- {kind}:") for kind in ("table", "findings", "in short"))
        assert markers == text.count("<!-- end -->"), path
        assert text == with_results(text), f"{path}: `make readme` puts them there"
        marked += markers
    assert marked >= 1


def test_the_page_in_git_shows_the_tables_in_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = load_params()
    for study in (path.parent.name for path in Path("reports").glob("*/index.html")):
        page = unescape(Path(f"reports/{study}/index.html").read_text())
        for kind in params.studies[study].tables:
            table = build(f"{study}-{kind}", params)
            csv = table.data.to_csv(index=False, lineterminator="\n")
            assert Path(f"reports/{study}/tables/{kind}.csv").read_text() == csv
            assert all(cell in page for row in table.cells for cell in row)


def test_no_file_in_git_names_a_package_registry_or_a_folder_above_the_project() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hosts = ("py" + "pi.org", "python" + "hosted.org", "." * 2 + "/shared")
    for name in filter(None, listed.split("\0")):
        if name == ".ci/run" or not (ROOT / name).is_file() or name.endswith((".png", ".pdf", ".gif", ".safetensors")):
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not any(host in text for host in hosts), name


@pytest.mark.parametrize("path", sorted((ROOT / "published").glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_published_file_is_read_whichever_version_wrote_it(path: Path) -> None:
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest["sha256"]
    run = recorded_run(read_settings(path), str(path))
    assert (run.dataset, run.epochs) == (manifest["dataset"], manifest["epochs"])
    assert sum(parameter.numel() for parameter in load(path).parameters()) == manifest["parameters"]


# The rooms of the library, and which others each imports: what is above may use what is below, never the other way.
ROOMS = {
    "explain": {"data", "evaluation", "networks", "tensors", "training"},
    "training": {"data", "evaluation", "networks", "tensors"},
    "evaluation": {"data", "networks"},
    "networks": {"files", "kernels", "tensors"},
    "kernels": set[str](),
    "sources": {"data", "files"},
    "data": {"files"},
    "tensors": {"files"},
    "files": set[str](),
}
LIBRARY = sorted(path for path in (ROOT / "capsnet").rglob("*.py") if path.name != "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "capsnet").parts[0].removesuffix(".py")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_library_imports_the_rooms_below_it_and_no_other(room: str) -> None:
    files = [path for path in LIBRARY if room_of(path) == room]
    assert {room_of(target) for path in files for target in neighbours(path, LIBRARY)} - {room} == ROOMS[room]


def test_the_rooms_of_the_library_are_those_listed_from_top_to_bottom() -> None:
    assert {room_of(path) for path in LIBRARY} == set(ROOMS)
    order = [*ROOMS]
    assert all(order.index(room) < order.index(below) for room, others in ROOMS.items() for below in others)


def test_no_two_files_of_the_library_import_each_other_directly_or_through_others() -> None:
    assert in_circles(LIBRARY) == set()
