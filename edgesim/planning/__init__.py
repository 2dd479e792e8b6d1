"""Pure functions from values to a plan; one file a problem, every named strategy of that problem in it."""
