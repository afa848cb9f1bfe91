"""The quickstart backbone: a small decoder language model of our own, with the script that trains it.

Idea: a LoRA fine-tune needs a start that has already seen language; this folder holds one small enough to commit.
Boundary: text collection is in ``corpus``, training and export in ``build``; the result is a plain folder.
What it is not: an importable model class. Load ``weights/`` by path; nothing here is imported by the product.
"""
