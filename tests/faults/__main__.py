"""Do every fault to a small study many times, and write what was lost: reports/faults.csv.

    python -m tests.faults
    python -m tests.faults --only kills --share 0.05

At most 20 minutes on two cores. Status 1 if anything was lost.
"""

import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

from capsnet.files import write_whole  # noqa: E402
from pipeline.runtime.command_line import parser, run_stage  # noqa: E402
from pipeline.runtime.paths import REPORTS, csv_text  # noqa: E402
from tests.faults.families import FAMILIES, rows_of  # noqa: E402

AT_ONCE = 3  # families: most of their time they wait


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("--only", choices=FAMILIES, nargs="+", default=[*FAMILIES], help="these families [all]")
    made.add_argument("--share", type=float, default=1.0, help="of the kills and damaged files [1]")
    made.add_argument("--out", type=Path, default=REPORTS / "faults.csv", help="the table [reports/faults.csv]")
    arguments = made.parse_args(argv)
    began = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(AT_ONCE, mp_context=spawn, max_tasks_per_child=1) as pool:
        ended = [pool.submit(rows_of, name, arguments.share) for name in arguments.only]
    rows = [row for each in ended for row in each.result()]
    write_whole(arguments.out, csv_text([row._asdict() for row in rows]))
    print(f"{arguments.out}: {len(rows)} faults in {(time.monotonic() - began) / 60:.0f} minutes")
    if any(row.lost != "nothing" for row in rows):
        sys.exit("something was lost")


if __name__ == "__main__":
    run_stage(main)
