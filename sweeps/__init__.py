"""Where all floors meet: composing configurations, planning runs as one graph of steps, and running it.

Nothing here imports torch at module level: the parent of a sweep plans, supervises and prints; workers compute.
"""
