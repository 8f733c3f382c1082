"""What the user sees: a line when a stage starts or ends and, in a terminal, a bar for all stages."""

import sys

from tqdm import tqdm


class Progress:
    """Lines on standard output; the bar is on standard error, and only if that is a terminal."""

    def __init__(self, stages: int) -> None:
        self.bar = tqdm(total=stages, unit=" stages", disable=None, leave=False, dynamic_ncols=True)

    def say(self, line: str) -> None:
        """Print a line above the bar, without delay also if the output is a file."""
        with self.bar.external_write_mode(file=sys.stdout):
            print(line, flush=True)

    def settle(self, stage: str, how: str = "") -> None:
        """Count a stage that is done. With `how`, print how it ended."""
        self.bar.update()
        if how:
            self.say(f"{stage}: {how}")

    def end(self) -> None:
        """Remove the bar."""
        self.bar.close()


def duration(seconds: float) -> str:
    """Return a time as a person says it: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
