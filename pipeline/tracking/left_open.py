"""End the runs in MLflow that killed trainings of this project left open.

    python -m pipeline.tracking.left_open

A stage that records nothing starts this after its work, in a process of its own, if working files of a killed training
lie here: it may be the last stage that `dvc repro` runs. Its exit status does not matter to that stage.
"""

import sys

from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.store import open_client, unusable


def main() -> None:
    """Run the command."""
    try:
        deliver_left(open_client())
    except Exception as error:  # the store, the network and the disk may raise anything
        print(f"warning: {unusable(error)}; runs of a killed training are still open there", file=sys.stderr)


if __name__ == "__main__":
    main()
