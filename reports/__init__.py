"""Reading back: records on disk become tables, comparisons, verdicts and pages.

Imports `harness` only, and neither torch, transformers, hydra nor mteb: a table is rebuilt on a laptop, in a fraction of a
second, from what the steps wrote. Nothing here runs or changes a step.
"""
