"""Repositories with a run in dvc.lock, to be copied: really trained, or made up; and a run with models only."""

import importlib
import shutil
from pathlib import Path

import pytest
import torch
from proofs import STAGES, called, commit, make_repository, write_made_up_lock

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model


@pytest.fixture(scope="session")
def really_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one run trained and scored through DVC, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_repository(folder)
        called("dvc", "repro", "-q", STAGES[1])
        commit("Train")
    return folder


@pytest.fixture
def trained(really_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(really_trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a dvc.lock that says that a run was trained and scored, to be copied."""
    folder = tmp_path_factory.mktemp("made-up")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_repository(folder)
        importlib.import_module("pipeline.prepare").main(["squares"])
        write_made_up_lock()
        commit("Lock")
    return folder


@pytest.fixture
def repository(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made_up, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(tiny_model: ModelConfig, project: Path) -> str:
    """A run of two seeds, trained on images of 20 pixels of which nothing but the model files is there."""
    for seed in (0, 1):
        torch.manual_seed(seed)
        facts = {"settings": {"dataset": "squares", "crop": 0}}
        save_model(Path(f"models/toy/seed-{seed}.safetensors"), CapsNet(tiny_model), facts)
    return "toy"
