"""What the table `decoders` shows."""

from typing import Any

import pandas as pd

from pipeline.drawing.words import listed
from pipeline.reporting.findings.shared import against_published, highest_and_lowest, missing, scored
from pipeline.reporting.tables.columns import difference
from pipeline.settings.tables import Decoders

BATCH_NORM = " w/ BN"  # after the name of a decoder
PRECISIONS_NAMED = ("", ", tf32", ", bfloat16")  # at the end of a model's name; float32 is not named


def decoders(table: pd.DataFrame, entry: Decoders) -> list[str]:
    """Say which decoder is best, by how much, and what it costs, and which published losses are reproduced."""
    names = names_of(table)
    said = missing(table)
    claims = reproduced(table, names) if table["published_rloss"].notna().any() else []
    table = scored(table)
    if table.empty:
        return said
    names = names[table.index]
    said += [*claims, *highest_and_lowest(table, names)]
    rloss = table["rloss_mean"].round(2)
    if rloss.notna().any():
        best = names[rloss == rloss.min()]
        verb = "reconstructs" if len(best) == 1 else "reconstruct"
        said.append(f"{listed(best)} {verb} best, with an RLoss of {rloss.min():.2f} per image.")
    sizes = table.loc[table["decoder_parameters"] > 0, "decoder_parameters"].astype(int)
    if sizes.nunique() > 1:
        smallest, largest = (names[sizes.index[sizes == size]] for size in (sizes.min(), sizes.max()))
        said.append(
            f"{listed(smallest)} {'has' if len(smallest) == 1 else 'have'} the smallest decoder: {sizes.min():,} "
            f"parameters, {100 * (1 - sizes.min() / sizes.max()):.1f} % fewer than the {sizes.max():,} of "
            f"{listed(largest)}."
        )
    return [
        *said,
        *against_published(table, names, "accuracy", "Difference to the published accuracy, in points", " %"),
        *against_published(table, names, "rloss", "Difference to the published RLoss", ""),
    ]


def headline(table: pd.DataFrame, entry: Decoders) -> str:
    """Return the finding of the table in one sentence; nothing if fewer than two decoders are scored."""
    names, both = names_of(table), scored(table).dropna(subset=["rloss_mean"])
    if len(both) < 2:
        return ""
    best, worst = both["rloss_mean"].idxmin(), both["rloss_mean"].idxmax()
    if difference(both.loc[worst, "rloss_mean"], both.loc[best, "rloss_mean"]) == 0:
        return f"All {len(both)} runs reconstruct with a squared error of {both.loc[best, 'rloss_mean']:.2f} per image."
    reference = both.loc[best, "published_rloss"]
    published = "" if pd.isna(reference) else f" (published {reference:.2f})"
    return (
        f"{names[best]} reconstructs best, with a squared error of {both.loc[best, 'rloss_mean']:.2f} per image"
        f"{published}; {names[worst]} has {both.loc[worst, 'rloss_mean']:.2f}."
    )


def names_of(table: pd.DataFrame) -> "pd.Series[str]":
    """Return names that differ between rows: the model, or the run where models repeat."""
    return table["model"] if table["model"].is_unique else table["run"]


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
        for suffix in ("", BATCH_NORM):
            one, other = models.get(f"FC{suffix}"), models.get(f"DeConv{suffix}")
            if one is not None and other is not None:
                fewer = 100 * (1 - other["decoder_parameters"] / one["decoder_parameters"])
                said.append(f"{_better(other, one)}, with {fewer:.0f} % fewer parameters in the decoder.")
        for decoder in ("FC", "DeConv"):
            without, with_it = models.get(decoder), models.get(decoder + BATCH_NORM)
            if without is not None and with_it is not None:
                said.append(f"{_better(with_it, without)}.")
    both = done.dropna(subset=["published_rloss"])
    if len(both) > 1:
        ours, theirs = (
            names[both.sort_values(key, ascending=False).index] for key in ("rloss_mean", "published_rloss")
        )
        whole = "" if len(both) == table["published_rloss"].notna().sum() else f" of these {len(both)} runs"
        order = f"The order{whole} by RLoss, highest first, is {'; '.join(ours)}"
        said.append(
            f"{order}: {'as published' if list(ours) == list(theirs) else 'published is ' + '; '.join(theirs)}."
        )
    return said


def _better(one: "pd.Series[Any]", other: "pd.Series[Any]") -> str:
    """Say which of two runs reconstructs better, and whether the seeds of one run differ as much."""
    apart = difference(one["rloss_mean"], other["rloss_mean"])
    verb = "better than" if apart < 0 else "worse than" if apart > 0 else "as well as"
    seeds = listed(dict.fromkeys(str(int(row["seeds"])) for row in (one, other)))
    spreads = one["rloss_std"] + other["rloss_std"]
    beyond = "" if pd.isna(spreads) or abs(apart) > spreads else ", which is within the spread of the seeds"
    return (
        f"{one['model']} reconstructs {verb} {other['model']}: RLoss {one['rloss_mean']:.2f} against "
        f"{other['rloss_mean']:.2f} (n = {seeds}){beyond}"
    )
