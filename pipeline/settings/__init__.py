"""The parts of params.yaml as checked, frozen models."""
