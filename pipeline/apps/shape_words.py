"""Words for what a number of a class capsule does to the shape: the names of sliders, in every program."""

# A number is named after a measure that it changes by at least so many standard deviations of the images of the class,
# as in the perturbation figure.
NAMEABLE = 1
# What a shape becomes when a measure falls, and when it grows, in the order of capsnet.explain.shape.MEASURES.
WORDS = {
    "ink": ("less ink", "more ink"),
    "width": ("narrower", "wider"),
    "height": ("shorter", "taller"),
    "slant": ("leans left", "leans right"),
    "thickness": ("thinner", "thicker"),
    "x position": ("moves left", "moves right"),
    "y position": ("moves down", "moves up"),
}


def ends(measure: int, change: float) -> tuple[str, str]:
    """Return the words at both ends of a slider, from left to right.

    Args:
        measure: The place of the measure in `WORDS`.
        change: How much the measure grows from the left end to the right one.
    """
    low, high = list(WORDS.values())[measure]
    return (low, high) if change > 0 else (high, low)
