"""MLflow: it records what the stages did, and decides nothing.

- mlflow_run: open an MLflow run for the length of a block.
- recorder: what a stage writes into it, and the recorder that records nothing.
- recorded_scores: scores and mean curves added to the runs of models.
- process_facts: commit, versions and peak memory of a process.
- killed_runs: runs of trainings that were killed, set to KILLED.
- views: what MLflow's pages show at first.
- system_metrics: processor, memory and disk during a run.
- outbox: keep what the store does not take now. delivery: write one record into it.
- run_search, lookup: find runs again, by their tags or by the model that they trained.
- store, new_store, experiments, moved_artifacts: where the runs lie.
- mlflow_model, model_loader: a trained network as a model that MLflow serves.
- tensorboard: the same metrics as event files.
"""
