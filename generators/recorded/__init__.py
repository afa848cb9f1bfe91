"""Recorded answers of a language model that ship with us: one `<corpus>.jsonl` a recording, described in README.md."""
