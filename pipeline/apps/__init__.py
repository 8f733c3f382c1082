"""Commands that a person starts by hand: predict, explore, verify, results, prove, readme, costs."""
