"""Assemble one table of a study: reports/<study>/tables/<kind>.csv, and as people read it .md and .tex.

    python -m pipeline.tabulate digits-decoders

A run that is not scored yet stands in the table as "not run"; the commands that would fill such gaps are printed.
"""

from collections.abc import Sequence

from pipeline.reporting.tables import write
from pipeline.reporting.typeset import NOT_RUN, markdown
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.settings.params import load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "TABLE", "a key of `tables` in params.yaml", argv)
    table = write(name, load_params())
    print(markdown(table.cells))
    for command in table.missing:
        print(f"{NOT_RUN}: `{command}`")


if __name__ == "__main__":
    run_stage(main)
