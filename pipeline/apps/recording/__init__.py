"""The parts of record: what files know and MLflow does not."""
