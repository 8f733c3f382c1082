"""Search for alpha and lr of a run with Optuna, on held-out training images: reports/<study>/tuning/<name>/.

    python -m pipeline.tune digits

Trials run one after the other and are deterministic. The same command continues an interrupted search, which then
makes the same trials as an uninterrupted one. CAPSNET_OPTUNA_STORAGE, the URL of any Optuna storage, replaces the
journal file in the scratch folder.
"""

from collections.abc import Sequence

from pipeline.reporting.search_method import decided
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.paths import REPORTS, TUNING
from pipeline.runtime.stopping import ends_with_dvc
from pipeline.settings.params import find, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "SEARCH", "a key of `tune` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.tune, "search")

    from pipeline.searching.whole_search import run_search

    with ends_with_dvc():
        best = run_search(name, entry, params, REPORTS / entry.study / TUNING / name)
    if explanation := decided(best):
        print(explanation)
    print(", ".join(f"{key}: {best[key]!r}" for key in ("alpha", "lr", "val_accuracy", "trial")), f"({name})")


if __name__ == "__main__":
    run_stage(main)
