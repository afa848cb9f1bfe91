"""From a task taxonomy to pairs: written by a language model, mined from docstrings, or labelled by people; then mixed.

Everything ends as a file of `harness.pairs.Pair`. No encoder is loaded here and nothing is trained here.
"""
