"""Findings: sentences about tables and searches, against numbers worked out by hand."""

import pandas as pd
import pytest

from pipeline.reporting.findings import HEADLINES
from pipeline.reporting.findings.benchmarks import benchmarks
from pipeline.reporting.findings.costs import costs
from pipeline.reporting.findings.decoders import decoders, names_of
from pipeline.reporting.findings.robustness import robustness
from pipeline.reporting.findings.shared import missing
from pipeline.reporting.findings.topologies import topologies
from pipeline.reporting.search_shown import plots
from pipeline.settings.tables import Benchmarks, Costs, Decoders, Robustness, Topologies

ENTRY = {"study": "toy", "title": "Toy", "runs": ()}
DECODERS = Decoders(**ENTRY, kind="decoders")
BENCHMARKS = Benchmarks(study="toy", title="Toy", kind="benchmarks", runs=(), published=())
TOPOLOGIES = Topologies(**ENTRY, kind="topologies", base="base")
ROBUSTNESS = Robustness(**ENTRY, kind="robustness", degrees=(0,))


def decoder_table(accuracies: list[float], spreads: list[float | None], **columns: list[object]) -> pd.DataFrame:
    empty = [float("nan")] * len(accuracies)
    values: dict[str, list[object]] = {
        "run": [f"run-{number}" for number in range(len(accuracies))],
        "model": [*"ABCDEF"[: len(accuracies)]],
        "decoder_parameters": [0] * len(accuracies),
        "seeds": [3] * len(accuracies),
        "rloss_mean": [*empty],
        "rloss_std": [*empty],
        "published_rloss": [*empty],
        "accuracy_mean": [*accuracies],
        "accuracy_std": [*spreads],
        "published_accuracy": [*empty],
    }
    return pd.DataFrame(values | columns).astype({"accuracy_std": float})


def test_decoders_that_differ_by_less_than_their_seeds_are_said_to() -> None:
    assert decoders(decoder_table([97.0, 97.5, 97.25], [0.5, 0.25, 0.125]), DECODERS) == [
        "B has the highest mean accuracy (97.50 %), A the lowest (97.00 %): 0.50 points apart; the standard deviation "
        "between the seeds of one run is 0.12 to 0.50 points, n = 3, so the order may be chance."
    ]


def test_decoders_that_differ_by_more_are_not_called_chance_and_equals_are_named_together() -> None:
    (said,) = decoders(decoder_table([97.0, 98.0, 98.0], [0.25, 0.25, 0.48]), DECODERS)
    assert said.startswith(
        "B and C have the highest mean accuracy (98.00 %), A the lowest (97.00 %): 1.00 points apart"
    )
    assert said.endswith("is 0.25 to 0.48 points, n = 3.")
    (said,) = decoders(decoder_table([97.0, 98.0, 98.0], [0.25, 0.25, 0.5]), DECODERS)  # twice 0.5 points apart
    assert said.endswith("is 0.25 to 0.50 points, n = 3, so the order may be chance.")


def test_a_single_seed_has_no_spread_to_compare_with_and_equal_decoders_no_order() -> None:
    assert decoders(decoder_table([97.0, 98.0], [None, None], seeds=[1, 1]), DECODERS) == [
        "B has the highest mean accuracy (98.00 %), A the lowest (97.00 %)."
    ]
    (said,) = decoders(decoder_table([97.0, 98.0], [0.25, None], seeds=[3, 1]), DECODERS)
    assert said.endswith("is 0.25 points, n = 3.")
    said = decoders(decoder_table([97.0, 97.0], [0.5, 0.5], seeds=[2, 3]), DECODERS)
    assert said == ["A and B have a mean accuracy of 97.00 % (n = 2 and 3)."]


def test_a_difference_is_that_of_the_numbers_as_they_stand_there() -> None:
    table = decoder_table([97.2649, 96.8151], [0.1, 0.1], published_accuracy=[97.0051, None])
    said = decoders(table, DECODERS)
    assert said[0].startswith("A has the highest mean accuracy (97.26 %), B the lowest (96.82 %): 0.44 points apart")
    assert said[-1] == "Difference from the published accuracy, in points: A +0.25 (published 97.01 %)."


def test_reconstruction_size_and_published_values_of_decoders_are_compared() -> None:
    columns = {"rloss_mean": [21.0, 10.5], "decoder_parameters": [1000, 250], "published_rloss": [20.0, None]}
    table = decoder_table([97.0, 98.0], [0.1, 0.1], **columns, published_accuracy=[97.5, None])
    assert decoders(table, DECODERS)[1:] == [
        "B reconstructs best: RLoss 10.50 (n = 3).",
        "B has the smallest decoder: 250 parameters, 75.0 % fewer than the 1,000 of A.",
        "Difference from the published accuracy, in points: A −0.50 (published 97.50 %).",
        "Difference from the published RLoss: A +1.00 (published 20.00).",
    ]
    headline = HEADLINES["decoders"](table, DECODERS)
    assert headline == (
        "Of 2 runs, B has the lowest squared error per image, 10.50 (n = 3), and A the highest, 21.00 (n = 3)."
    )
    assert HEADLINES["decoders"](table.iloc[:1], DECODERS) == ""


FEWER = "with 82 % fewer parameters in the decoder"
FOUR = {
    "model": ["FC", "FC w/ BN", "DeConv", "DeConv w/ BN"],
    "decoder_parameters": [1000, 1000, 180, 180],
    "rloss_mean": [21.0, 13.0, 13.5, 9.0],
    "rloss_std": [0.5, 0.25, 0.5, 0.25],
    "published_rloss": [21.5, 13.25, 11.0, 9.5],
}


def test_the_claims_about_decoders_are_held_against_what_came_out() -> None:
    table = decoder_table([99.0] * 4, [0.1] * 4, **FOUR)
    fc, fc_bn, deconv, deconv_bn = (
        f"{value} (n = 3)" for value in ("21.00 ± 0.50", "13.00 ± 0.25", "13.50 ± 0.50", "9.00 ± 0.25")
    )
    assert decoders(table, DECODERS)[:6] == [
        f"DeConv w/ BN reconstructs better than FC: RLoss {deconv_bn} against {fc}, {FEWER}.",
        f"DeConv reconstructs better than FC: RLoss {deconv} against {fc}, {FEWER}.",
        f"DeConv w/ BN reconstructs better than FC w/ BN: RLoss {deconv_bn} against {fc_bn}, {FEWER}.",
        f"FC w/ BN reconstructs better than FC: RLoss {fc_bn} against {fc}.",
        f"DeConv w/ BN reconstructs better than DeConv: RLoss {deconv_bn} against {deconv}.",
        "The order by RLoss, highest first, is FC, DeConv, FC w/ BN, DeConv w/ BN: published is FC, FC w/ BN, DeConv, "
        "DeConv w/ BN.",
    ]
    table["rloss_mean"] = [13.6, 13.0, 13.5, 9.0]
    assert decoders(table, DECODERS)[1].endswith(f", which is within the spread of the seeds, {FEWER}.")
    table.loc[2, ["seeds", "rloss_std"]] = [1, float("nan")]
    assert decoders(table, DECODERS)[1] == (
        "DeConv reconstructs better than FC: RLoss 13.50 (n = 1) against 13.60 ± 0.50 (n = 3), which one seed does not "
        f"settle, {FEWER}."
    )
    table["rloss_mean"] = [21.0, 13.0, 11.0, 11.0]
    assert decoders(table, DECODERS)[4].startswith("DeConv w/ BN reconstructs as well as DeConv: RLoss 11.00 ± 0.25")
    table["rloss_mean"] = [21.0, 13.0, 10.0, 11.0]
    assert decoders(table, DECODERS)[4].startswith("DeConv w/ BN reconstructs worse than DeConv: RLoss 11.00 ± 0.25")


def test_claims_compare_runs_of_the_same_precision() -> None:
    names = ["FC, bfloat16", "FC w/ BN", "DeConv, bfloat16", "DeConv w/ BN, bfloat16"]
    said = decoders(decoder_table([99.0] * 4, [0.1] * 4, **FOUR | {"model": names}), DECODERS)
    compared = [sentence.partition(": RLoss")[0] for sentence in said[:4]]
    assert compared[:3] == [
        "DeConv w/ BN, bfloat16 reconstructs better than FC, bfloat16",
        "DeConv, bfloat16 reconstructs better than FC, bfloat16",
        "DeConv w/ BN, bfloat16 reconstructs better than DeConv, bfloat16",
    ]
    assert compared[3].startswith("The order by RLoss")


def test_a_precision_that_all_share_is_not_repeated() -> None:
    plain, tuned = decoder_table([99.0] * 4, [0.1] * 4, **FOUR), "DeConv w/ BN, bfloat16, tuned"
    same = decoder_table([99.0] * 4, [0.1] * 4, **FOUR | {"model": [f"{name}, bfloat16" for name in plain["model"]]})
    assert decoders(same, DECODERS) == decoders(plain, DECODERS)
    same["model"] = [*same["model"][:3], tuned]
    assert names_of(same)[3] == "DeConv w/ BN, tuned"


def test_a_claim_of_which_a_side_is_missing_is_not_made() -> None:
    table = decoder_table([99.0] * 4, [None] * 4, **FOUR)
    table.loc[[1, 2], ["accuracy_mean", "rloss_mean"]] = float("nan")
    table["rloss_std"] = float("nan")
    table["seeds"] = [1, 0, 0, 1]
    assert decoders(table, DECODERS)[:4] == [
        "Not run yet: run-1 and run-2.",
        "DeConv w/ BN reconstructs better than FC: RLoss 9.00 (n = 1) against 21.00 (n = 1), which one seed does not "
        f"settle, {FEWER}.",
        "The order of these 2 runs by RLoss, highest first, is FC, DeConv w/ BN: as published.",
        "FC and DeConv w/ BN have a mean accuracy of 99.00 % (n = 1).",
    ]
    table.loc[[1, 2], "decoder_parameters"] = float("nan")  # then the others are no whole numbers in a file either
    table["published_rloss"] = float("nan")
    assert decoders(table, DECODERS)[3] == (
        "DeConv w/ BN has the smallest decoder: 180 parameters, 82.0 % fewer than the 1,000 of FC."
    )
    table["accuracy_mean"] = float("nan")
    assert decoders(table, DECODERS) == ["Not run yet: run-0, run-1, run-2 and run-3."]


def test_a_run_that_is_scored_but_makes_no_ensemble_is_not_called_missing() -> None:
    table = pd.DataFrame({"run": ["a", "a", None], "accuracy_mean": [99.0, None, None]})
    assert missing(table) == []
    assert missing(table.iloc[1:]) == ["Not run yet: a."]


def test_runs_of_one_model_are_told_apart_by_their_names() -> None:
    said = decoders(decoder_table([97.0, 98.0], [0.1, 0.1], model=["FC", "FC"]), DECODERS)
    assert said[0].startswith("run-1 has the highest mean accuracy (98.00 %), run-0 the lowest (97.00 %)")


def test_benchmarks_are_compared_within_a_data_set_and_ensembles_with_their_networks() -> None:
    rows = [
        ("a", "FC", "mnist", 60, 3, 99.5, 0.1, 99.75, "S, table 1", -0.25),
        ("b", "FC", "mnist", 25, 3, 99.0, 0.1, None, None, None),
        ("c", "none", "cifar10", 25, 7, 70.0, 1.0, None, None, None),
        ("c", "none (ensemble of 7)", "cifar10", 25, 1, 75.0, None, 89.5, "S, section 7", -14.5),
        (None, "Others", "mnist", None, None, None, None, 99.84, "T", None),
    ]
    columns = [
        "run",
        "model",
        "dataset",
        "epochs",
        "seeds",
        "accuracy_mean",
        "accuracy_std",
        "published_accuracy",
        "source",
        "difference",
    ]
    table = pd.DataFrame(rows, columns=columns).assign(note=[None, None, "a copy", None, None])
    assert benchmarks(table, BENCHMARKS) == [
        "a has the highest mean accuracy on mnist (99.50 %), b the lowest (99.00 %): 0.50 points apart; the standard "
        "deviation between the seeds of one run is 0.10 points, n = 3.",
        "These runs have 25 and 60 epochs, and may differ in other settings of training, so this is not a comparison "
        "of networks alone.",
        "c has a mean accuracy of 70.00 % on cifar10 (n = 7).",
        "a differs by −0.25 points from the published 99.75 % (S, table 1).",
        "The ensemble of the 7 networks of c reaches 75.00 %, +5.00 points compared with the mean of the single "
        "networks.",
        "The ensemble of the 7 networks of c differs by −14.50 points from the published 89.50 % (S, section 7).",
    ]
    assert HEADLINES["benchmarks"](table, BENCHMARKS) == (
        "a (FC) recognises 99.50 ± 0.10 % of the mnist test images (n = 3; published 99.75 %); b recognises 99.00 ± "
        "0.10 % (n = 3); c (none) recognises 70.00 ± 1.00 % of the cifar10 test images (n = 7; a copy)."
    )
    assert HEADLINES["benchmarks"](table.iloc[4:], BENCHMARKS) == ""


def topology_table(accuracies: dict[str, float], spread: float | None) -> pd.DataFrame:
    rows = [
        ("size", value, "base" if value == "2" else f"size-{value}", accuracy, spread, accuracy - accuracies["2"])
        for value, accuracy in accuracies.items()
    ]
    columns = ["factor", "value", "run", "accuracy_mean", "accuracy_std", "difference"]
    return pd.DataFrame(rows, columns=columns).astype({"accuracy_std": float})


def test_a_setting_counts_where_it_moves_the_accuracy_by_more_than_both_spreads() -> None:
    assert topologies(topology_table({"1": 98.0, "2": 99.0, "3": 99.25}, 0.25), TOPOLOGIES) == [
        "base, from which each run differs in one setting, recognises 99.00 ± 0.25 %.",
        "Of 2 settings, size 1 changes the accuracy most: by −1.00 points.",
        "These settings change the accuracy by more than the standard deviations of both runs together: size 1 "
        "(−1.00); the others do not.",
    ]
    said = topologies(topology_table({"1": 98.9, "2": 99.0}, 0.25), TOPOLOGIES)
    assert said[2] == "No setting changes the accuracy by more than the standard deviations of both runs together."
    assert len(topologies(topology_table({"1": 98.9, "2": 99.0}, None), TOPOLOGIES)) == 2


def test_a_run_is_lost_at_the_first_angle_that_halves_its_accuracy() -> None:
    columns = ["run", "seeds", "degrees", "accuracy_mean"]
    upright = float("nan")
    lost = [("a", 3, upright, 98.0), *(("a", 3, *at) for at in ((0, 98.0), (90, 48.0), (180, 50.0), (270, 20.0)))]
    kept = [("b", 3, upright, 98.0), *(("b", 3, *at) for at in ((0, 98.0), (120, 60.0), (240, 70.0)))]
    assert robustness(pd.DataFrame([*lost, *kept], columns=columns), ROBUSTNESS) == [
        "a recognises 98.00 % of the upright images (n = 3), 48.00 % at 90°, and 50.00 % upside down. Its accuracy "
        "falls below half of that at 90° and is lowest at 270° (20.00 %).",
        "b recognises 98.00 % of the upright images (n = 3), 60.00 % at 120°. Its accuracy never falls below half of "
        "that and is lowest at 120° (60.00 %).",
    ]
    headline = HEADLINES["robustness"](pd.DataFrame(kept, columns=columns), ROBUSTNESS)
    assert (
        headline == "b recognises 98.00 % of the upright test images (n = 3), but 60.00 % if they are rotated by 120°."
    )


def test_a_finding_says_so_if_fewer_seeds_of_a_run_are_scored_on_rotated_images() -> None:
    columns = ["run", "seeds", "degrees", "accuracy_mean"]
    rows = [("a", 3, float("nan"), 98.5), ("a", 1, 0, 98.0), ("a", 1, 90, 60.0)]
    table = pd.DataFrame(rows, columns=columns)
    assert robustness(table, ROBUSTNESS)[0].startswith("a recognises 98.00 % of the upright images (n = 1 of 3), 60.00")
    assert "98.00 % of the upright test images (n = 1 of 3), but" in HEADLINES["robustness"](table, ROBUSTNESS)


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.002, "1 minute"), (0.031, "2 minutes"), (0.9, "54 minutes"), (1.0, "1.0 hours"), (1234.5, "1,234.5 hours")],
)
def test_what_training_took_is_in_minutes_below_an_hour(hours: float, words: str) -> None:
    row = {"run": "a", "seeds": 2, "seconds_an_epoch": 1.5, "hours": hours, "hardware": "a slide rule"}
    assert costs(pd.DataFrame([row]), Costs(study="toy", title="Toy", kind="costs")) == [
        f"{words} of training are recorded, for 2 networks of 1 runs.",
        "An epoch of a seed takes 1.5 seconds on a slide rule.",
    ]


def test_a_run_that_is_not_turned_is_compared_with_what_is_published() -> None:
    columns = ["run", "degrees", "accuracy_mean", "accuracy_std", "published_accuracy", "difference"]
    nothing = float("nan")
    rows = [
        ("a", nothing, 98.0, 1.0, nothing, nothing),
        *[("a", degrees, accuracy, 1.0, nothing, nothing) for degrees, accuracy in ((0, 98.0), (90, 40.0))],
        ("b", nothing, 77.5, 0.5, 79.0, -1.5),
        ("c", nothing, 60.0, nothing, nothing, nothing),
    ]
    assert robustness(pd.DataFrame(rows, columns=columns).assign(seeds=3), ROBUSTNESS) == [
        "a recognises 98.00 % of the upright images (n = 3), 40.00 % at 90°. Its accuracy falls below half of that at "
        "90° and is lowest at 90° (40.00 %).",
        "b recognises 77.50 ± 0.50 % of its test images, −1.50 points compared with the published 79.00 %.",
        "c recognises 60.00 % of its test images.",
    ]


@pytest.mark.parametrize("trials", [1, 4])
def test_the_plots_of_a_search_are_captioned_with_its_trials(trials: int) -> None:
    values = {"alpha": [0.1, 0.2, 0.3, 0.4], "lr": [4.0, 3.0, 2.0, 1.0], "val_accuracy": [90.0, 91.0, 92.0, 99.0]}
    states = [*["complete"] * 3, "pruned"]
    table = pd.DataFrame({"trial": range(4), "state": states, **values}).head(trials)
    shown = {each.name: each for each in plots(table, min(trials, 3) - 1)}
    if trials == 1:
        assert shown["importance"].finding.endswith("is unknown for alpha and unknown for lr.")
        return
    assert [each.finding for each in shown.values()] == [
        "The highest validation accuracy is 92.00 %, of trial 2; trial 0 has 90.00 %.",
        "The best validation accuracy comes with alpha 0.3 and lr 2.",
        "The chosen trial, 2, has alpha 0.3 and lr 2.",
        "The rank correlation with the validation accuracy is +1.00 for alpha and −1.00 for lr.",
    ]
    assert shown["history"].caption == "1 of 4 trials was stopped early."


def test_trials_that_tie_are_said_to() -> None:
    values = {"alpha": [0.1, 0.2, 0.3], "lr": [4.0, 3.0, 2.0], "val_accuracy": [92.0, 91.0, 92.0]}
    history, parallel, contour, _ = plots(pd.DataFrame({"trial": range(3), "state": "complete", **values}), 2)
    assert (
        history.finding
        == "The highest validation accuracy is 92.00 %, of trials 0 and 2, which tie; trial 0 has 92.00 %."
    )
    assert parallel.finding == "The best validation accuracy comes with alpha from 0.1 to 0.3 and lr from 2 to 4."
    assert contour.caption == "A ring marks the trials that tie, a cross a trial that was stopped early."
