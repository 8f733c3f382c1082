"""Search for alpha and lr of a run with Optuna, on held-out training images: reports/<study>/tuning/<name>/.

    python -m pipeline.tune digits
    python -m pipeline.tune digits --worker      (another process, or machine, that shares the trials of this search)

One process makes one trial after the other, and is deterministic. The same command continues an interrupted search,
which then makes the same trials as an uninterrupted one. With more `trials` in params.yaml, it makes only those that
are missing. CAPSNET_OPTUNA_STORAGE, the URL of a PostgreSQL or sqlite database, replaces the journal file in .scratch/.

With --worker, this process makes trials until the search has all of them, and writes no results. Its trials are in a
PostgreSQL database, and the result then depends on which process was faster. See docs/scale.md.
"""

from collections.abc import Sequence

from pipeline.reporting.search_method import choice
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import REPORTS, TUNING
from pipeline.runtime.stopping import ends_with_dvc
from pipeline.settings.params import find, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    made = parser(__doc__, ("SEARCH", "a key of `tune` in params.yaml"))
    made.add_argument("--worker", action="store_true", help="share the trials of a search; write no results")
    arguments = made.parse_args(argv)
    name = arguments.search
    params = load_params()
    entry = find(name, params.tune, "search")

    from pipeline.searching.whole_search import help_search, run_search

    if arguments.worker:
        print(f"{name}: this worker has made {help_search(name, entry, params)} of {entry.trials} trials")
        return
    with ends_with_dvc():
        best = run_search(name, entry, params, REPORTS / entry.study / TUNING / name, choice)
    for sentence in choice(best):
        print(sentence)
    print(", ".join(f"{key}: {best[key]!r}" for key in ("alpha", "lr", "val_accuracy", "trial")), f"({name})")


if __name__ == "__main__":
    run_stage(main)
