"""A small study of real networks over two workers, one of them killed in a training: the bytes of `dvc repro`."""

import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from errands import Errands, ended, wait_until
from stored import select
from tiny_project import ROOT, make_project, tiny_params, write_params

EPOCHS = 20  # of the training that loses its worker
OUTPUTS = ("data/*", "models/**/*", "reports/**/*", "dvc.lock", ".dvc/cache/**/*")


def few_params() -> dict:
    params = tiny_params()
    runs = {"toy-fc": {"epochs": EPOCHS}, "toy-deconv": {"seeds": [0]}}
    params["runs"] = {name: params["runs"][name] | changes for name, changes in runs.items()}
    params |= {part: {} for part in ("tune", "figures", "compare", "pairs", "robustness", "published_weights")}
    params["studies"]["toy"]["tables"] = ["decoders"]
    params["tables"] = {"toy-decoders": params["tables"]["toy-decoders"] | {"runs": list(runs)}}
    return params


def make_study(folder: Path) -> Errands:
    """Make a project with the code of now, in git."""
    folder.mkdir()
    make_project(folder)
    write_params(folder, few_params())
    for name in ("capsnet", "pipeline", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, folder / name)
    for name in ("figures", "tuning"):  # no stage of this study draws or tunes
        (folder / "reports/toy" / name).mkdir(parents=True)
        (folder / "reports/toy" / name / ".gitkeep").touch()
    study = Errands(folder)
    study.call("git", "init", "--quiet")
    study.call("git", "add", "--all")
    return study


def made(study: Errands) -> dict[str, bytes]:
    paths = [path for pattern in OUTPUTS for path in study.folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(study.folder)): path.read_bytes() for path in paths}


def worker_in_training(study: Errands, running: "subprocess.Popen[str]") -> psutil.Process:
    """Wait until a training has written its second checkpoint, and return the worker that runs it."""

    written: set[int] = set()

    def twice_written() -> bool:
        states = study.folder.glob(".scratch/train/toy-fc/*/seed-0.state.safetensors")
        written.update(path.stat().st_mtime_ns for path in states)
        return len(written) >= 2

    wait_until(twice_written)
    for worker in psutil.Process(running.pid).children():
        for below in worker.children(recursive=True):
            if below.cmdline()[1:] == ["-m", "pipeline.train", "toy-fc"]:
                return worker
    raise AssertionError("no worker trains")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_over_two_workers_one_of_them_killed_is_that_of_dvc_to_the_byte(tmp_path: Path) -> None:
    sequential, parallel = make_study(tmp_path / "sequential"), make_study(tmp_path / "parallel")
    sequential.call("dvc", "repro", "report@toy")
    running = parallel.cluster("report@toy", "--workers", "2")
    worker_in_training(parallel, running).kill()
    assert "started again, and its stage is tried again" in ended(running)
    assert made(parallel) == made(sequential)
    assert "up to date" in parallel.call("dvc", "status", "report@toy")
    counted = "select status, count(*) from runs where name like 'toy-fc%' group by status"
    runs = select(parallel.folder / "mlflow.db", counted)
    assert runs == [("FINISHED", 3)]  # both seeds and their parent went on where they were
