"""What is computed in which precision, on hardware that has bfloat16 and on hardware that has not."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from made_study import FOLDER
from stored import select
from tiny_project import tiny_params, write_params

from capsnet.networks.saved import load, read_settings
from pipeline import evaluate, tabulate, train, tune
from pipeline.reporting.tables import build
from pipeline.runtime import device
from pipeline.runtime.device import Hardware, computed_precision, precision_here
from pipeline.searching import whole_search
from pipeline.searching.search import Search
from pipeline.settings.params import load_params
from pipeline.training import whole_run

CPU, GPU = torch.device("cpu"), torch.device("cuda")
WITH = pytest.mark.parametrize("there", [True, False], ids=["with bfloat16", "without"])
MODEL = Path("models/toy-deconv/seed-0.safetensors")


def settle(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Take the processor for one with bfloat16, or without."""
    monkeypatch.setattr(device, "_has_bfloat16", lambda: there)


@pytest.fixture
def asking(prepared: Path) -> Path:
    """The project with a run in bfloat16, which differs from one in float32 in nothing else."""
    params = tiny_params()
    params["seeds"] = [0]
    params["runs"]["toy-deconv"] |= {"precision": "bfloat16"}
    params["runs"]["toy-deconv_bn"] = params["runs"]["toy-deconv"] | {"precision": "float32"}
    one_before_tpe = {"sampler": {"name": "tpe", "startup_trials": 1}, "pruner": {"name": "none"}}
    params["tune"]["toy"] |= {"run": "toy-deconv", "trials": 2, **one_before_tpe}
    params["tables"]["toy-decoders"]["runs"] = ["toy-deconv", "toy-deconv_bn"]
    params["tables"]["toy-topologies"]["runs"] = ["toy-deconv"]
    write_params(prepared, params)
    return prepared


@WITH
def test_everything_that_is_written_says_what_was_computed(
    there: bool, asking: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(monkeypatch, there)
    for run in ("toy-deconv", "toy-deconv_bn"):
        train.main([run])
        evaluate.main([run])
    lines = capsys.readouterr().out.splitlines()
    assert sum("does not compute bfloat16" in line for line in lines) == (not there)
    got = "bfloat16" if there else "float32"
    instead: dict[str, Any] = {} if there else {"instead_of": "bfloat16"}
    environment = json.loads(Path("models/toy-deconv/environment.json").read_text())
    metrics = json.loads((FOLDER / "metrics/toy-deconv.json").read_text())
    for facts in (environment, metrics):
        assert {key: facts[key] for key in ("precision", "instead_of") if key in facts} == {"precision": got, **instead}
    assert read_settings(MODEL)["precision"] == metrics["settings"]["precision"] == got
    assert json.loads((FOLDER / "metrics/toy-deconv_bn.json").read_text())["precision"] == "float32"
    recorded = select(
        Path("mlflow.db"),
        "select distinct value from params join runs using (run_uuid) where key = 'precision'"
        " and name like 'toy-deconv' or key = 'precision' and name like 'toy-deconv seed 0'",
    )
    assert recorded == [(got,)]
    for table in ("decoders", "topologies"):
        tabulate.main([f"toy-{table}"])
    text = (FOLDER / "tables/decoders.md").read_text()
    assert ("| toy-deconv | DeConv, bfloat16 |" in text) == there
    footnote = "- toy-deconv: trained in float32, because its hardware does not compute bfloat16."
    assert (footnote in text.splitlines()) == (not there)
    table = build("toy-topologies", load_params())
    assert table.data["factor"].tolist() == ["precision", "precision"]
    assert table.data["value"].tolist() == ["float32", got]


def test_float32_in_place_of_bfloat16_is_float32_to_the_bit(asking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, False)
    weights = {}
    for run in ("toy-deconv", "toy-deconv_bn"):
        train.main([run])
        weights[run] = load(f"models/{run}/seed-0.safetensors").state_dict()
    one, other = weights.values()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (Path("models/toy-deconv/history.csv")).read_text() == Path("models/toy-deconv_bn/history.csv").read_text()


def test_an_interrupted_training_is_not_resumed_in_another_precision(
    asking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    scratch = whole_run.scratch

    def noting(stage: str, name: str, out: Path, key: str, **more: Any) -> Any:
        keys.append(key)
        return scratch(stage, name, out, key, **more)

    monkeypatch.setattr(whole_run, "scratch", noting)
    for there in (True, False):
        settle(monkeypatch, there)
        train.main(["toy-deconv"])
    assert len(set(keys)) == 2


@WITH
def test_a_search_computes_in_the_precision_that_there_is(
    there: bool, asking: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(monkeypatch, there)

    def run_trials(search: Search, *_: Any) -> None:
        raise ValueError(search.run.training().precision)

    monkeypatch.setattr(whole_search, "run_trials", run_trials)
    with pytest.raises(ValueError, match="^bfloat16$" if there else "^float32$"):
        tune.main(["toy"])
    assert ("does not compute bfloat16" in capsys.readouterr().out) == (not there)


def test_a_search_that_began_on_another_kind_of_device_is_another_search(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device without numbers stands for the other kind: only its name counts before the first trial."""
    keys = []
    for kind in ("cpu", "meta"):
        hardware = Hardware(torch.device(kind), "the same words")
        monkeypatch.setattr(whole_search, "configure_torch", lambda device, threads, got=hardware: got)
        params = load_params()
        search = whole_search.prepare_search("toy", params.tune["toy"], params, "worker")
        keys.append(search.tags["fingerprint"])
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("where", "there", "asked", "got"),
    [
        (CPU, True, "float32", "float32"),
        (CPU, True, "bfloat16", "bfloat16"),
        (CPU, False, "bfloat16", "float32"),
        (CPU, True, "tf32", "float32"),
        (GPU, False, "float32", "float32"),
        (GPU, False, "bfloat16", "float32"),
        (GPU, False, "tf32", "float32"),
        (GPU, True, "bfloat16", "bfloat16"),
        (GPU, True, "tf32", "tf32"),
    ],
)
def test_a_precision_that_would_be_emulated_becomes_float32(
    where: torch.device, there: bool, asked: str, got: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch, there)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0) if there else (7, 5))
    assert computed_precision(asked, where) == got


@pytest.mark.parametrize(
    ("machine", "library", "processor", "there"),
    [
        ("x86_64", True, True, True),
        ("x86_64", True, False, False),  # AVX512 without bfloat16
        ("x86_64", False, False, False),  # AVX2
        ("x86_64", False, True, False),  # a library that is told to do without
        ("AMD64", True, False, False),
        ("aarch64", True, False, True),
        ("aarch64", False, False, False),
    ],
)
def test_a_processor_has_bfloat16_if_it_and_its_library_multiply_it(
    machine: str, library: bool, processor: bool, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: library)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert device._has_bfloat16() == there


def test_a_processor_without_the_library_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not device._has_bfloat16()


def test_of_several_processes_one_says_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settle(monkeypatch, False)
    hardware = Hardware(CPU, "an old processor, 2 threads")
    assert precision_here("toy", "bfloat16", hardware, say=False) == "float32"
    assert capsys.readouterr().out == ""
    assert precision_here("toy", "bfloat16", hardware) == "float32"
    assert capsys.readouterr().out == (
        "toy: trains in float32: this hardware does not compute bfloat16 (an old processor, 2 threads)\n"
    )
