"""Image collections as people have them: one module for each format, listed in `registry.py`; `base.py` says how to add one.

Reads images and their targets where they lie. Imports `kseq.storage`, `kseq.images` and what is below, never `kseq.reading`.
"""
