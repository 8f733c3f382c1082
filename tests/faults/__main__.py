"""Do every fault to a small study many times, and write what was lost: reports/faults.csv.

    python -m tests.faults
    python -m tests.faults --only kills --share 0.05

At most 20 minutes on two cores. Status 1 if anything was lost.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

from capsnet.files import write_whole  # noqa: E402
from pipeline.runtime.command_line import parser, run_stage  # noqa: E402
from pipeline.runtime.paths import REPORTS, csv_text  # noqa: E402
from tests.faults.at_once import at_once, same_at_once  # noqa: E402
from tests.faults.damages import damaged_inputs  # noqa: E402
from tests.faults.disks_full import folders, full_disk  # noqa: E402
from tests.faults.growth import growth  # noqa: E402
from tests.faults.kills import kills  # noqa: E402
from tests.faults.result import Fault  # noqa: E402

SEED = 0
KILLS = 100
DAMAGES = 100_000
EPOCHS = 200
STORE_TIMES = 1

Family = Callable[[Path, float], Iterator[Fault]]


def _kills(folder: Path, share: float) -> Iterator[Fault]:
    yield kills(folder, max(3, round(share * KILLS)), SEED)


def _disks(folder: Path, share: float) -> Iterator[Fault]:
    yield full_disk(folder)
    yield from folders(folder)


def _inputs(folder: Path, share: float) -> Iterator[Fault]:
    yield from damaged_inputs(folder, round(share * DAMAGES), SEED)


def _at_once(folder: Path, share: float) -> Iterator[Fault]:
    yield at_once(folder, 8)
    yield same_at_once(folder, 4)


def _growth(folder: Path, share: float) -> Iterator[Fault]:
    yield growth(folder, EPOCHS)


def _store(folder: Path, share: float) -> Iterator[Fault]:
    """Do the faults of the store of runs, where tests/support/store_faults.py is."""
    if not (SUPPORT / "store_faults.py").exists():
        return
    from importlib import import_module

    for name, fault in import_module("store_faults").FAULTS.items():
        happened, lost = fault(STORE_TIMES)
        yield Fault(name, STORE_TIMES, happened, lost, "tests/pipeline/tracking/test_store_faults.py")


FAMILIES: dict[str, Family] = {
    "kills": _kills,
    "disks": _disks,
    "inputs": _inputs,
    "at-once": _at_once,
    "growth": _growth,
    "store": _store,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("--only", choices=FAMILIES, nargs="+", default=[*FAMILIES], help="these families [all]")
    made.add_argument("--share", type=float, default=1.0, help="of the kills and damaged files [1]")
    made.add_argument("--out", type=Path, default=REPORTS / "faults.csv", help="the table [reports/faults.csv]")
    arguments = made.parse_args(argv)
    rows: list[Fault] = []
    for name in arguments.only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as folder:
            for row in FAMILIES[name](Path(folder).resolve(), arguments.share):
                rows.append(row)
                print(f"{row.fault}: {row.times} times: {row.happened}; lost: {row.lost}", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    write_whole(arguments.out, csv_text([row._asdict() for row in rows]))
    if any(row.lost != "nothing" for row in rows):
        sys.exit("something was lost")


if __name__ == "__main__":
    run_stage(main)
