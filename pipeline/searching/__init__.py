"""The search for alpha and lr of one run with Optuna: its trials, its storage, and its outcome."""
