"""What the table `decoders` shows."""

from typing import Any

import pandas as pd

from pipeline.drawing.words import listed
from pipeline.reporting.findings.shared import against_published, highest_and_lowest, missing, of_seeds, scored
from pipeline.reporting.tables.columns import difference, spread
from pipeline.settings.tables import Decoders

# The first of each pair reconstructs better, says the reference study.
CLAIMS = (
    ("DeConv w/ BN", "FC"),
    ("DeConv", "FC"),
    ("DeConv w/ BN", "FC w/ BN"),
    ("FC w/ BN", "FC"),
    ("DeConv w/ BN", "DeConv"),
)
PRECISIONS_NAMED = ("", ", tf32", ", bfloat16")  # after the decoder in a model's name; float32 is not named


def decoders(table: pd.DataFrame, entry: Decoders) -> list[str]:
    """Say which published claims about decoders hold here, how accuracies differ, and how far the published ones are.

    Without published losses: which decoder reconstructs best, and which is the smallest.
    """
    names = names_of(table)
    said = missing(table)
    claims = reproduced(table, names) if table["published_rloss"].notna().any() else []
    table = scored(table)
    if table.empty:
        return said
    names = names[table.index]
    return [
        *said,
        *claims,
        *highest_and_lowest(table, names),
        *([] if claims else best_and_smallest(table, names)),
        *against_published(table, names, "accuracy", "Difference from the published accuracy, in points", " %"),
        *against_published(table, names, "rloss", "Difference from the published RLoss", ""),
    ]


def best_and_smallest(table: pd.DataFrame, names: "pd.Series[str]") -> list[str]:
    """Say which decoder reconstructs best, and which has the fewest parameters."""
    said = []
    rloss = table["rloss_mean"].round(2)
    if rloss.notna().any():
        best = names[rloss == rloss.min()]
        if len(best) == 1:
            said.append(f"{best.iloc[0]} reconstructs best: RLoss {_rloss(table.loc[best.index[0]])}.")
        else:
            said.append(f"{listed(best)} reconstruct best: RLoss {rloss.min():.2f}.")
    sizes = table.loc[table["decoder_parameters"] > 0, "decoder_parameters"].astype(int)
    if sizes.nunique() > 1:
        smallest, largest = (names[sizes.index[sizes == size]] for size in (sizes.min(), sizes.max()))
        said.append(
            f"{listed(smallest)} {'has' if len(smallest) == 1 else 'have'} the smallest decoder: {sizes.min():,} "
            f"parameters, {100 * (1 - sizes.min() / sizes.max()):.1f} % fewer than the {sizes.max():,} of "
            f"{listed(largest)}."
        )
    return said


def headline(table: pd.DataFrame, entry: Decoders) -> str:
    """Return the finding of the table in one sentence; nothing if fewer than two decoders are scored."""
    names, both = names_of(table), scored(table).dropna(subset=["rloss_mean"])
    if len(both) < 2:
        return ""
    best, worst = both["rloss_mean"].idxmin(), both["rloss_mean"].idxmax()
    if difference(both.loc[worst, "rloss_mean"], both.loc[best, "rloss_mean"]) == 0:
        return f"All {len(both)} runs reconstruct with a squared error of {both.loc[best, 'rloss_mean']:.2f} per image."
    reference = both.loc[best, "published_rloss"]
    published = "" if pd.isna(reference) else f"published {reference:.2f}"
    return (
        f"Of {len(both)} runs, {names[best]} has the lowest squared error per image, "
        f"{_rloss(both.loc[best], published)}, and {names[worst]} the highest, {_rloss(both.loc[worst])}."
    )


def names_of(table: pd.DataFrame) -> "pd.Series[str]":
    """Return names that differ between rows: the model, or the run where models repeat.

    A precision that all models share is left out: the table names it.
    """
    if not table["model"].is_unique:
        return table["run"]
    shared = next((each for each in PRECISIONS_NAMED if each and table["model"].str.contains(each).all()), "")
    return table["model"].str.replace(shared, "", regex=False)


def reproduced(table: pd.DataFrame, names: "pd.Series[str]") -> list[str]:
    """Say which published claims about decoders hold here: deconvolution, batch normalisation, the order by RLoss.

    The model of a run decides which side of a claim it is on. Runs are compared if their precision is the same. A claim
    is left out unless both sides are scored.
    """
    done = scored(table).dropna(subset=["rloss_mean"])
    of_model = {name: row for name, (_, row) in zip(done["model"], done.iterrows(), strict=True)}
    said = []
    for precision in PRECISIONS_NAMED:
        models = {name.removesuffix(precision): row for name, row in of_model.items() if name.endswith(precision)}
        for decoder, other in CLAIMS:
            if decoder in models and other in models:
                fewer = 1 - models[decoder]["decoder_parameters"] / models[other]["decoder_parameters"]
                parameters = f", with {100 * fewer:.0f} % fewer parameters in the decoder" if fewer > 0.01 else ""
                said.append(f"{_better(models[decoder], models[other], names)}{parameters}.")
    both = done.dropna(subset=["published_rloss"])
    if len(both) > 1:
        ours, theirs = (
            [*names[both.sort_values(key, ascending=False).index]] for key in ("rloss_mean", "published_rloss")
        )
        whole = "" if len(both) == table["published_rloss"].notna().sum() else f" of these {len(both)} runs"
        published = "as published" if ours == theirs else f"published is {', '.join(theirs)}"
        said.append(f"The order{whole} by RLoss, highest first, is {', '.join(ours)}: {published}.")
    return said


def _better(one: "pd.Series[Any]", other: "pd.Series[Any]", names: "pd.Series[str]") -> str:
    """Say which of two runs reconstructs better, and whether the seeds are enough to say so."""
    apart = difference(one["rloss_mean"], other["rloss_mean"])
    verb = "better than" if apart < 0 else "worse than" if apart > 0 else "as well as"
    spreads = one["rloss_std"] + other["rloss_std"]
    if min(one["seeds"], other["seeds"]) == 1:
        sure = ", which one seed does not settle"
    else:
        sure = ", which is within the spread of the seeds" if abs(apart) <= spreads else ""
    ours, theirs = _rloss(one), _rloss(other)
    return f"{names[one.name]} reconstructs {verb} {names[other.name]}: RLoss {ours} against {theirs}{sure}"


def _rloss(row: "pd.Series[Any]", remark: str = "") -> str:
    """Return the reconstruction error of a run with its spread and number of seeds."""
    return f"{spread(row['rloss_mean'], row['rloss_std'], 2)} ({of_seeds(row, remark)})"
