"""The parts of record: they add to MLflow what only files have."""
