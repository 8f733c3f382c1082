"""Where the runs of a queued experiment and of a copied project go: beside the store of their own project."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from small_study import SmallStudy
from stored import select

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LOCATIONS = (
    "select artifact_uri from runs",
    "select artifact_location from experiments where name = 'test'",
    "select artifact_location from logged_models",
)


def places(study: SmallStudy) -> list[Path]:
    """Return each folder of artifacts that MLflow has noted for the study."""
    noted = [row[0] for statement in LOCATIONS for row in select(study.folder / "mlflow.db", statement)]
    return [Path(url2pathname(urlsplit(each).path)) for each in noted]


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return when each file of a folder was changed, and what it holds."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_queued_experiment_makes_the_experiment_of_mlflow_beside_the_store_of_the_project(study: SmallStudy) -> None:
    study.forget_runs()
    study.call("dvc", "exp", "run", "--queue", "--name", "longer", "-S", "runs.toy-fc.epochs=3", "evaluate@toy-fc")
    study.call("dvc", "queue", "start")
    study.wait_for_queue()
    found = select(study.folder / "mlflow.db", "select name, status from runs order by name")
    assert found == [("toy-fc", "FINISHED"), ("toy-fc seed 0", "FINISHED")]
    tags = select(study.folder / "mlflow.db", "select distinct value from tags where key = 'dvc.experiment'")
    assert tags == [("longer",)]
    for place in places(study):
        assert place.is_relative_to(study.folder / "mlartifacts")
    artifacts = [path.name for path in (study.folder / "mlartifacts").rglob("*") if path.is_file()]
    assert {"history.csv", "seed-0.safetensors", "MLmodel"} <= {*artifacts}
    (events,) = (study.folder / "tensorboard/toy-fc").glob("longer-*")
    assert len([*events.glob("seed-0/*")]) == 1
    left = (study.folder / ".dvc/tmp/exps").rglob("*")
    assert not [path for path in left if path.name in ("mlflow.db", "mlruns", "mlartifacts", "tensorboard")]


@pytest.mark.parametrize("command", [("dvc", "repro", "evaluate@toy-fc"), ("mlflow", "run", ".", "-e", "evaluate")])
def test_a_copied_project_records_in_its_own_folder_and_leaves_the_original_as_it_was(
    command: tuple[str, ...], study: SmallStudy
) -> None:
    study.call("python", "-m", "pipeline.apps.record")  # the study is a copy, too
    before = contents(study.folder)
    copy = SmallStudy(study.folder.parent / "copy")
    study.call("cp", "-a", str(study.folder), str(copy.folder))
    copy.change("toy-fc", epochs=3)
    if command[0] == "mlflow":
        command += ("--env-manager", "local", "--experiment-name", "test", "-P", "run=toy-fc")
    copy.call(*command)
    epochs = select(copy.folder / "mlflow.db", "select value from params where key = 'epochs'")
    assert ("3",) in epochs
    assert contents(study.folder) == before
    for place in places(copy):
        assert place.is_relative_to(copy.folder / "mlartifacts")
    assert len([*copy.folder.glob("mlartifacts/**/history.csv")]) > len(
        [*study.folder.glob("mlartifacts/**/history.csv")]
    )
