"""The stages: one file each, with the same name in dvc.yaml. The command line names what to make, params.yaml says how.

The folders beside the stages hold what stages share: `settings` (params.yaml), `runtime` (what every stage needs),
`training`, `scoring` and `searching` (the work of train, evaluate and tune), `tracking` (MLflow), `drawing` and
`reporting`. `apps` holds the programs that a person starts by hand.

Imports stand at the top of a file, with one exception. The packages in SLOW take seconds to load, and --help, a wrong
name and the stages that need none of them must not wait for that. So SLOW packages, and modules of the project that
load them, may be imported late: in the function that needs them. A test allows an import in a function only if it loads
a SLOW package that the top of the file has not loaded.
"""

import sys
from importlib.util import find_spec

SLOW = ("torch", "mlflow", "dvc", "optuna", "matplotlib", "gradio", "distributed")
NEEDED = ("numpy", "pydantic", "ruamel", "safetensors", "torch")  # without one of them no stage starts


def _refuse_other_environment() -> None:
    """Exit with one line if this Python is not the one of the project's environment."""
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing:
        advice = "`make env` builds .venv, `source .venv/bin/activate` enters it"
        print(f"error: environment: {sys.executable} has no package {missing}; {advice}", file=sys.stderr)
        sys.exit(2)


if sys.argv[:1] == ["-m"]:  # `python -m pipeline.<stage>` is starting, and will import packages that may be missing
    _refuse_other_environment()
