"""Model files: whole or absent, the same bytes for the same content, no pickle, nothing in them trusted."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged import FILES, header_of
from disks import fill_disk
from safetensors.torch import save_file
from tiny_project import TINY

from capsnet.networks import saved
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.saved import MODEL, described, load, read_facts, read_settings, save_model
from capsnet.tensors import HEADER, write_tensors
from capsnet.training.checkpoint import load_state, read_history, save_state
from pipeline.settings.runs import DynamicRun

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(tiny_model: ModelConfig) -> CapsNet:
    return network(tiny_model)


def network(config: ModelConfig) -> CapsNet:
    """Build a network with the same weights each time and the memory format of training."""
    torch.manual_seed(0)
    network = CapsNet(config)
    network.encoder[0].to(memory_format=torch.channels_last)
    return network


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_a_loaded_model_is_the_saved_one_in_evaluation_mode(
    decoder: str, batch_norm: bool, tiny_model: ModelConfig, tmp_path: Path
) -> None:
    saved = network(replace(tiny_model, decoder=decoder, batch_norm=batch_norm, routing_bias=True, channels=3))
    images = torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    saved(images)
    save_model(tmp_path / "model.safetensors", saved, {})
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.config == saved.config
    assert not loaded.training
    assert loaded.state_dict().keys() == saved.state_dict().keys()
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    saved.eval()
    torch.testing.assert_close(loaded(images).lengths, saved(images).lengths)


def test_a_path_may_be_given_as_text(model: CapsNet, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", model, {})
    assert load(str(tmp_path / "model.safetensors")).config == model.config


def test_equal_models_give_equal_bytes_whatever_the_name_of_the_file(tiny_model: ModelConfig, tmp_path: Path) -> None:
    paths = [tmp_path / "one.safetensors", tmp_path / "folder" / "another.safetensors"]
    for path in paths:
        save_model(path, network(tiny_model), {"run": "digits", "seed": 0})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_facts_are_read_back_with_the_architecture(model: CapsNet, tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", model, {"run": "digits", "seed": 7, "settings": {"lr": 1e-3}})
    facts = read_facts(tmp_path / "model.safetensors")
    assert facts["run"] == "digits"
    assert facts["seed"] == 7
    assert facts["settings"] == {"lr": 0.001}
    assert facts["config"]["image_size"] == 20


def write_foreign(kind: str, path: Path, model: CapsNet) -> None:
    """Write a file that is no model file, in one of many ways."""
    if kind == "pickle":
        torch.save(model.state_dict(), path)
    elif kind == "foreign safetensors":
        save_file({"weight": torch.ones(2)}, path)
    elif kind == "foreign header":
        save_file({"weight": torch.ones(2)}, path, {HEADER: json.dumps({"kind": "something"})})
    elif kind == "training state":
        save_state(path, {}, {}, [])
    elif kind == "text":
        path.write_text("not a model")
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        save_model(path, model, {})
        path.write_bytes(path.read_bytes()[:-100])


FOREIGN = {
    "pickle": "not a safetensors file",
    "foreign safetensors": "got 'a foreign safetensors file', expected a capsnet model",
    "foreign header": "got 'something', expected a capsnet model",
    "training state": "got 'training state', expected a capsnet model",
    "text": "not a safetensors file",
    "empty": "not a safetensors file",
    "truncated": "not a safetensors file",
}


@pytest.mark.parametrize(("kind", "message"), FOREIGN.items())
@pytest.mark.parametrize("read", [load, read_facts])
def test_what_is_no_model_file_is_refused(kind: str, message: str, read: Any, model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_foreign(kind, path, model)
    with pytest.raises(ValueError, match=f"file.safetensors: {message}"):
        read(path)


@pytest.mark.parametrize("read", [load, read_facts, read_history, lambda path: load_state(path, {})])
def test_a_file_that_is_not_there_is_named(read: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors: no such file"):
        read(tmp_path / "absent.safetensors")


def test_weights_that_do_not_fit_the_architecture_are_refused(model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    config = {**vars(model.config), "class_dim": 5}
    save_file(dict(model.state_dict()), path, {HEADER: json.dumps({"kind": MODEL, "config": config})})
    with pytest.raises(ValueError, match=r"file\.safetensors: weights do not fit the architecture"):
        load(path)


@pytest.mark.parametrize("kind", FILES)
def test_what_a_damaged_file_says_of_itself_is_not_believed(kind: str, model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write, said = FILES[kind]
    write(path, model)
    with pytest.raises(ValueError, match=rf"file\.safetensors: .*{said}") as refused:
        load(path)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 500


def test_a_configuration_is_refused_before_there_is_memory_for_it(
    model: CapsNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten gigabytes could be had on some machines."""
    path = tmp_path / "file.safetensors"
    header = header_of(model)
    header["config"]["conv_channels"] = 10**6
    save_file(model.state_dict(), path, {HEADER: json.dumps(header)})
    built: list[torch.device] = []
    monkeypatch.setattr(saved, "CapsNet", lambda config: built.append(torch.empty(0).device) or CapsNet(config))
    with pytest.raises(ValueError, match="weights do not fit"):
        load(path)
    assert built == [torch.device("meta")]


@pytest.mark.parametrize("value", [0, -1, True, "2", 2.5, None, [2], float("nan"), 1e999, "conv", {}], ids=repr)
@pytest.mark.parametrize("name", [field.name for field in fields(ModelConfig)])
def test_a_header_takes_no_value_that_the_parameters_do_not_take(name: str, value: Any, model: CapsNet) -> None:
    """Image size, channels and classes are not in params.yaml: there the data decides."""
    try:
        described(ModelConfig, header_of(model)["config"] | {name: value}, 10)
    except ValueError:
        return
    if name in DynamicRun.model_fields:
        run = {key: each for key, each in header_of(model)["config"].items() if key in DynamicRun.model_fields}
        DynamicRun.model_validate(TINY | run | {name: value})


def test_every_flipped_bit_is_noticed(model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_model(path, model, {"run": "digits", "seed": 0})
    whole = path.read_bytes()
    places = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:50].tolist()
    for number, place in enumerate([*range(0, 2000, 40), *places]):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << number % 8)]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="file"):
            load(path)


def test_a_file_from_before_there_was_a_checksum_is_read(model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file(model.state_dict(), path, {HEADER: json.dumps(header_of(model))})
    loaded = load(path)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_in_half_precision_are_widened(model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    half = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    write_tensors(path, half, header_of(model))
    for name, tensor in load(path).state_dict().items():
        assert torch.equal(tensor, half[name].float()), name


@pytest.mark.parametrize("settings", [None, ["toy"], "toy"])
def test_settings_that_are_none_are_named(settings: Any, model: CapsNet, tmp_path: Path) -> None:
    save_model(tmp_path / "file.safetensors", model, {"settings": settings})
    with pytest.raises(ValueError, match=r"file\.safetensors: settings: got .*, expected those of a run"):
        read_settings(tmp_path / "file.safetensors")


def test_a_full_disk_leaves_no_half_model(model: CapsNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left on device"):
        save_model(tmp_path / "model.safetensors", model, {})
    assert list(tmp_path.iterdir()) == []


def test_saving_twice_replaces_the_file_and_leaves_nothing_else(model: CapsNet, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for seed in (0, 1):
        save_model(path, model, {"seed": seed})
    assert read_facts(path)["seed"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_reading_a_model_leaves_the_global_generator_alone(tiny_model: ModelConfig, tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", CapsNet(tiny_model), {})
    before = torch.get_rng_state()
    load(tmp_path / "a.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
