"""`make verify` sees what differs by more than the committed seeds do among themselves, and nothing else."""

import io
import json
import math
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from tiny_project import ROOT, VARIANTS

from pipeline.apps import verify
from pipeline.apps.verify import compare, tolerances
from pipeline.runtime.paths import MODELS, model_name

# Numbers as a study of small images gives them, rounded.
DECODERS = """\
run,model,parameters,seeds,rloss_mean,rloss_std,mloss_mean,mloss_std,accuracy_mean,accuracy_std,published_accuracy,difference
fc,FC,525040,3,18.356,0.392,0.03809,0.00218,96.889,0.667,,
fc_bn,FC w/ BN,525936,3,13.771,0.330,0.03498,0.00281,97.259,0.339,97.5,-0.241
deconv,DeConv,344817,3,17.152,0.284,0.03798,0.00215,96.889,0.667,,
deconv_bn,DeConv w/ BN,345713,3,14.094,0.444,0.03598,0.00354,96.815,0.642,,
bfloat16,"DeConv w/ BN, bfloat16",345713,3,14.059,0.532,0.03624,0.00366,96.889,0.588,,
tuned,"DeConv w/ BN, tuned",345713,3,11.946,0.410,0.03263,0.00091,97.111,0.222,,
"""
RUNS = ["fc", "fc_bn", "deconv", "deconv_bn", "bfloat16", "tuned"]
# The three that have to be seen: column, factor, summand.
CHANGES = {
    "RLoss three times as large": ("rloss_mean", 3.0, 0.0),
    "MLoss doubled": ("mloss_mean", 2.0, 0.0),
    "accuracy 0.9 points lower": ("accuracy_mean", 1.0, -0.9),
}


def table(text: str = DECODERS) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def changed(made: pd.DataFrame, column: str, factor: float, summand: float, runs: list[str]) -> pd.DataFrame:
    rows = made["run"].isin(runs)
    return made.assign(**{column: made[column].where(~rows, made[column] * factor + summand)})


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("run", RUNS)
def test_each_change_of_a_single_run_is_seen_and_named(run: str, change: str) -> None:
    column, factor, summand = CHANGES[change]
    found = compare("decoders", changed(table(), column, factor, summand, [run]), table())
    assert found.faults[0].startswith(f"decoders: {run}: {column}: got ")
    assert all(f" {column}: " in line for line in found.faults)


@pytest.mark.parametrize(
    ("kind", "change"),
    [*(("decoders", change) for change in CHANGES), ("benchmarks", "accuracy 0.9 points lower")],
)
def test_each_change_of_all_runs_is_seen_in_the_study_in_git(kind: str, change: str) -> None:
    column, factor, summand = CHANGES[change]
    theirs = pd.read_csv(ROOT / f"reports/digits/tables/{kind}.csv")
    assert compare(kind, theirs, theirs).faults == []
    found = compare(kind, changed(theirs, column, factor, summand, list(theirs["run"])), theirs)
    assert any(f"all runs together: {column}: " in line for line in found.faults)


def test_what_another_rounding_does_is_no_difference() -> None:
    """Means and spreads that are off by a tenth of a spread, as one thread instead of two gave them."""
    ours = table()
    for number, column in enumerate(("rloss", "mloss", "accuracy")):
        shift = 0.1 * ours[f"{column}_std"].mean() * pd.Series([1, -1, 1, 0, -1, (-1) ** number])
        ours[f"{column}_mean"] += shift
        ours[f"{column}_std"] += shift.abs()
    found = compare("decoders", ours, table())
    assert found.faults == []
    assert found.values == ours.size


def test_the_tolerance_is_half_the_seeds_and_half_the_columns_spread() -> None:
    spreads = (0.667, 0.339, 0.667, 0.642, 0.588, 0.222)
    pooled = sum(each**2 for each in spreads) / 6
    allowed = tolerances(table(), same_draws=True)
    assert allowed["accuracy_mean"][5] == pytest.approx(math.sqrt((0.222**2 + pooled) / 2))
    assert allowed["difference"][5] == pytest.approx(math.sqrt(0.222**2 + pooled))
    other = tolerances(table(), same_draws=False)
    assert other["accuracy_mean"][5] == pytest.approx(4 * math.sqrt(2 / 3) * allowed["accuracy_mean"][5])


def test_other_draws_of_the_same_seeds_may_differ_by_more_but_not_all_of_them() -> None:
    ours = changed(table(), "accuracy_mean", 1.0, -0.9, ["fc"])
    assert compare("decoders", ours, table(), same_draws=False).faults == []
    for column, factor, summand in CHANGES.values():
        ours = changed(table(), column, factor, summand, RUNS)
        assert compare("decoders", ours, table(), same_draws=False).faults


def test_an_ensemble_is_one_measurement_and_published_rows_are_compared() -> None:
    text = """\
run,model,dataset,seeds,accuracy_mean,accuracy_std,published_accuracy,source
fc,FC,digits,3,96.0,0.5,,
fc,FC (ensemble of 3),digits,1,97.0,,,
,Others,digits,,,,99.0,Somebody
"""
    assert compare("benchmarks", table(text), table(text)).faults == []
    near, far = table(text.replace(",97.0,", ",97.8,")), table(text.replace(",97.0,", ",98.1,"))
    assert compare("benchmarks", near, table(text)).faults == []
    (said,) = compare("benchmarks", far, table(text)).faults
    assert (
        said
        == "benchmarks: fc: accuracy_mean: got 98.1, expected 97 within 0.87: the difference is 1.1, 1.3 times that"
    )
    (said,) = compare("benchmarks", table(text.replace("99.0", "98.0")), table(text)).faults
    assert said == "benchmarks: Others: published_accuracy: got 98.0, expected 99.0"


def test_a_rotated_row_is_held_to_the_spread_at_its_own_angle() -> None:
    text = """\
run,model,dataset,seeds,degrees,accuracy_mean,accuracy_std
fc,FC,digits,3,,96.0,0.5
fc,FC,digits,3,45,30.0,3.0
fc,FC (ensemble of 3),digits,1,45,31.0,
"""
    mean, at_45, ensemble = tolerances(table(text), same_draws=True)["accuracy_mean"]
    pooled = (0.5**2 + 3.0**2) / 2
    assert mean == pytest.approx(math.sqrt((0.5**2 + pooled) / 2))
    assert at_45 == pytest.approx(math.sqrt((3.0**2 + pooled) / 2))
    assert ensemble == pytest.approx(math.sqrt(3) * at_45)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fc,FC,525040", "fc,FC,525041", "decoders: fc: parameters: got 525041, expected 525040"),
        ("fc,FC,", "fc,FC w/ BN,", "decoders: fc: model: got FC w/ BN, expected FC"),
        ("0.667,,\nfc_bn", ",,\nfc_bn", "decoders: fc: accuracy_std: got nan, expected 0.667 within 0.61"),
        ("deconv_bn,DeConv", "deconv-bn,DeConv", "decoders: rows: got ['fc', 'fc_bn', 'deconv', 'deconv-bn', "),
        ("parameters", "weights", "decoders: columns: got ['run', 'model', 'weights', "),
        (",3,11.946,0.410", ",3,11.946,1.410", "decoders: tuned: rloss_std: got 1.41, expected 0.41 within "),
    ],
)
def test_anything_else_that_differs_is_seen_too(old: str, new: str, said: str) -> None:
    found = compare("decoders", table(DECODERS.replace(old, new, 1)), table())
    assert len([line for line in found.faults if line.startswith(said)]) == 1, found.faults


def test_without_a_spread_a_number_has_to_be_equal() -> None:
    text = "run,seeds,accuracy_mean,accuracy_std\nfc,1,96.5,\n"
    assert compare("decoders", table(text), table(text)).faults == []
    found = compare("decoders", table(text.replace("96.5", "96.6")), table(text)).faults
    assert found[0] == "decoders: fc: accuracy_mean: got 96.6, expected 96.5 exactly: it has no spread"


def test_the_name_of_a_model_may_differ_in_its_precision_with_a_remark() -> None:
    other = table(DECODERS.replace("DeConv w/ BN, bfloat16", "DeConv w/ BN"))
    found = compare("decoders", other, table())
    assert found.remarks == ["decoders: bfloat16: model: got DeConv w/ BN, expected DeConv w/ BN, bfloat16"]
    assert found.faults == []


@pytest.fixture
def repository(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of made-up results, committed, with a file for each of its models."""
    folder = shutil.copytree(results, tmp_path / "project")
    monkeypatch.chdir(folder)
    for run in (*VARIANTS, "toy-tuned", "toy-pairs"):
        (folder / MODELS / run).mkdir(parents=True)
        (folder / MODELS / run / model_name(0)).touch()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "reports"], ["commit", "-qm", "Results"]):
        subprocess.run([*git, *command], check=True, cwd=folder)
    return folder


def test_every_table_of_the_study_is_compared_and_the_verdict_is_in_words_and_status(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        verify.main(["toy"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith("reports/toy/tables: ")
    assert said.endswith(
        "in decoders, benchmarks, topologies, robustness: all as committed, or within the spread of the seeds\n"
    )
    for kind in ("decoders", "benchmarks", "topologies", "robustness"):
        path = repository / f"reports/toy/tables/{kind}.csv"
        before = path.read_text()
        ours = pd.read_csv(path, dtype={"value": str})
        ours.loc[0, "accuracy_mean"] -= 30
        ours.to_csv(path, index=False)
        with pytest.raises(SystemExit) as ended:
            verify.main(["toy"])
        said = capsys.readouterr().out
        assert ended.value.code == 1
        assert f"\n{kind}: " in f"\n{said}"
        assert "accuracy_mean: got 68, expected 98 within " in said or "expected 99.25 within" in said
        assert " differ by more than the spread of the seeds\n" in said
        path.write_text(before)


def test_a_study_trained_on_a_gpu_is_known_by_its_metrics(repository: Path) -> None:
    runs = ["toy-fc", "toy-deconv"]
    path = repository / "reports/toy/metrics/toy-fc.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cuda": "13.2"}))
    assert verify.on_gpus("toy", runs) == [True, False]
    assert verify.on_gpus("toy", runs, "HEAD") == [False, False]


def test_a_table_that_was_only_checked_out_is_no_result(repository: Path) -> None:
    shutil.rmtree(repository / MODELS / "toy-fc")
    with pytest.raises(
        FileNotFoundError, match="models/toy-fc: no trained models; `dvc repro report@toy` makes this study"
    ):
        verify.main(["toy"])


def test_before_the_demo_the_command_that_makes_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "reports/digits/tables", tmp_path / "reports/digits/tables")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "committed", lambda path, _: path.read_text())
    with pytest.raises(FileNotFoundError, match=r"models/digits-[a-z_0-9]*: no trained models; `make demo` makes this"):
        verify.verify("digits", ["decoders"], "HEAD")
