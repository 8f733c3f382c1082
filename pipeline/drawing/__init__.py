"""Figures: one file for each, with the function that draws it."""
