"""MLflow: recording runs, finding them again, and models that MLflow loads."""
