"""Build one table of a study: reports/<study>/tables/<kind>.csv, and for people .md and .tex.

    python -m pipeline.tabulate digits-decoders

A run that is not scored yet is "not run" in the table; the commands that fill such gaps are printed.
"""

from collections.abc import Sequence

from pipeline.reporting.tables.build import write
from pipeline.reporting.typeset import NOT_RUN, markdown_parts
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.settings.params import load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "TABLE", "a key of `tables` in params.yaml", argv)
    table = write(name, load_params())
    print(markdown_parts(table.parts))
    for command in table.missing:
        print(f"{NOT_RUN}: `{command}`")


if __name__ == "__main__":
    run_stage(main)
