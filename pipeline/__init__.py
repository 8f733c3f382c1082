"""The stages: one file each, with the same name in dvc.yaml; params.yaml says how, the command line says which."""
