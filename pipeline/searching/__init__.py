"""The search for alpha and lr of one run with Optuna, by one process or by several.

- whole_search: a search from the parameters to its files, and the help of another process.
- study: which of Optuna's studies a search begins or continues.
- search: what the trials have in common, the sampler, the pruner.
- storage: where Optuna keeps the trials, and what processes that share them need.
- claim: which trial a process makes next.
- trial: one trial, trained and scored.
- records: the trials in MLflow.
- outcome: the best trial, and the files that say so.
"""
