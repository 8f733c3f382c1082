"""Commands that a person starts by hand: predict, explore, cluster, register, verify, results, prove, readme, costs."""
