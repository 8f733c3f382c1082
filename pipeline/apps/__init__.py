"""Programs that a person starts by hand: each file here, except doubt, network and shape_words, which several share.

The folders hold the parts of the larger programs.
"""
