"""Pure functions from values to a plan; one file a problem, every named strategy of that problem in it.

Nothing but the standard library is needed, and numpy for partitions: anyone can call
`segmentation.plan(pull_s, forward_s, startup_s)`.
"""
