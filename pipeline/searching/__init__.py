"""The search for alpha and lr of one run with Optuna: its trials, its storage, what came out, and the plots."""
