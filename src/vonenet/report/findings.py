"""For modules that move soon."""

NAMED_MODELS = 3  # up to so many are named in a heading, more are counted
