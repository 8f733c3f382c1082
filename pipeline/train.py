"""Train one run with every seed: models/<run>/seed-<s>.safetensors, history.csv, environment.json.

    python -m pipeline.train digits-fc
    python -m pipeline.train digits-tuned            (the run of the search `digits`, with the best values it found)
    python -m pipeline.train digits-fc --set alpha=0.001 --set decoder=deconv --set epochs=2 --out /tmp/try
    torchrun --nproc-per-node 2 -m pipeline.train mnist-fc       (each process trains on its share of every batch)

The same command continues an interrupted training. It ends with the same bytes as an uninterrupted one; if the number
of processes has changed, the results are equal up to rounding. With --out, no file that DVC manages is changed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.launch import start_processes, usable_processes
from pipeline.runtime.paths import MODELS, REPORTS, TUNED, TUNING
from pipeline.runtime.torchrun import leads, started_by_torchrun
from pipeline.settings.params import Params, check_run, find, load_params, override
from pipeline.settings.reading import read_yaml
from pipeline.settings.runs import RUNS, Run


def run_named(name: str, params: Params) -> Run:
    """Return a run of params.yaml; for <search>-tuned the run of that search, with the values in its best.yaml."""
    search = name.removesuffix(TUNED)
    if name in params.runs or search not in params.tune:
        return find(name, params.runs, "run")
    entry = params.tune[search]
    path = REPORTS / entry.study / TUNING / search / "best.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `dvc repro tune@{search}` writes it")
    best = read_yaml(path)
    if not isinstance(best, dict) or not best.keys() >= {"alpha", "lr"}:
        raise ValueError(f"{path}: expected alpha and lr; `dvc repro -f tune@{search}` writes them")
    return check_run(
        {**params.runs[entry.run].all_settings(), **{key: best[key] for key in ("alpha", "lr")}}, str(path)
    )


def _parser() -> argparse.ArgumentParser:
    try:
        presets = load_params().presets
    except (ValueError, OSError):  # --help works without a params.yaml
        presets = {}
    made = parser(__doc__, ("RUN", "a key of `runs` in params.yaml, or <search>-tuned"))
    made.epilog = _settings_help(presets)
    made.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="another value for a setting")
    made.add_argument("--out", metavar="DIR", type=Path, help="write here instead of models/RUN")
    made.add_argument("--resume", metavar="PATH", type=Path, help="start from a training state; --set may raise epochs")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), help="short for --set device=...")
    made.add_argument("--seeds", metavar="SEED", type=int, nargs="+", help="short for --set seeds=[SEED, ...]")
    return made


def _settings_help(presets: dict[str, dict[str, object]]) -> str:
    """List the settings of each network, with their values in a preset of that network."""
    lines = ["settings for --set, with their values in a preset of params.yaml:"]
    for network, model in RUNS.items():
        name = next((name for name, preset in presets.items() if preset.get("network") == network), "")
        lines += ["", f"network: {network}" + (f", preset `{name}`" if name else "")]
        for setting, field in model.model_fields.items():
            value = f" [{presets[name][setting]}]" if name and setting in presets[name] else ""
            lines.append(f"  {setting:<18} {field.description}{value}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    arguments = _parser().parse_args(argv)
    params = load_params()
    settings = arguments.set + ([f"device={arguments.device}"] if arguments.device else [])
    settings += [f"seeds={arguments.seeds}"] if arguments.seeds else []
    run = override(run_named(arguments.run, params), settings, f"runs.{arguments.run} with --set")
    if arguments.out is None and (settings or arguments.resume):
        raise ValueError(
            "--out: missing; models/ holds what params.yaml says, so other settings need a folder of their own"
        )
    seeds = params.seeds_of(run)
    if arguments.resume and len(seeds) != 1:
        raise ValueError(f"--resume: a training state belongs to one seed; name it with --seeds, got {seeds}")
    out = arguments.out or MODELS / arguments.run

    if run.processes > 1 and not started_by_torchrun():
        number = usable_processes(run.processes, run.device)
        if number < run.processes:
            print(f"{arguments.run}: trains in {number} of {run.processes} processes: no more GPUs can be used here")
        if number > 1:
            start_processes(number, "pipeline.train", sys.argv[1:] if argv is None else argv)
            return

    from pipeline.training.whole_run import train_run

    train_run(arguments.run, run, params, out, resume=arguments.resume, keep_states=arguments.out is not None)
    if leads():
        print(f"{out}: {arguments.run}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")


if __name__ == "__main__":
    run_stage(main)
