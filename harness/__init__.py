"""The ground floor: what a step is, where it lies, who it was, and how text, encoders and scores look to everybody above.

Imports none of the other packages. Nothing here imports torch, mteb or hydra at module level, so that planning, `status`
and reports start in a fraction of a second.
"""
