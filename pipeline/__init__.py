"""The stages: one file each, with the same name in dvc.yaml. The command line names what to make, params.yaml says how.

The folders beside the stages hold what stages share: `settings` (params.yaml), `runtime` (what every stage needs),
`training`, `scoring` and `searching` (the work of train, evaluate and tune), `tracking` (MLflow), `drawing` and
`reporting`. In `apps` is what a person starts by hand.

Imports stand at the top of a file, with one exception. The packages in SLOW take seconds to load, and --help, a wrong
name and the stages that need none of them must not wait for that. So SLOW packages, and modules of the project that
load them, may be imported late: in the function that needs them. A test allows an import in a function only if it loads
a SLOW package that the top of the file has not loaded.
"""

SLOW = ("torch", "mlflow", "dvc", "optuna", "matplotlib", "gradio", "distributed")
