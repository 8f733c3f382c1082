"""All stages of the tiny project in order, and the bytes of what they leave."""

import importlib
from pathlib import Path

from tiny_project import VARIANTS, tiny_params

ORDER = [
    ("prepare", ["squares"]),
    *[("train", [run]) for run in (*VARIANTS, "toy-pairs")],
    *[("evaluate", [run]) for run in (*VARIANTS, "toy-pairs")],
    ("tune", ["toy"]),
    ("train", ["toy-tuned"]),
    ("evaluate", ["toy-tuned"]),
    ("rotate", ["toy-fc"]),
    *[("tabulate", [table]) for table in tiny_params()["tables"]],
    ("decode", ["squares"]),
    ("compare", ["toy-decoders"]),
    ("draw", ["squares"]),
    ("separate", ["toy-pairs"]),
    ("report", ["toy"]),
]
REPORTS = Path("reports/toy")


def run_stage(name: str, arguments: list[str]) -> None:
    importlib.import_module(f"pipeline.{name}").main(arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
