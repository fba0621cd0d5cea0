"""From a packed dataset back to files that other tools read: one module for each target format.

Holds `export`. Imports `kseq.reading`, `kseq.sources`, `kseq.storage` and what is below, never `kseq.editing`.
"""
