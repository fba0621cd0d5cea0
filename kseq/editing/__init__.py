"""Changes to a packed dataset: one module for each command, each of which publishes one new index that `undo` takes back.

Imports `kseq.packing`, `kseq.reading`, `kseq.sources` and what is below, never `kseq.exporting`.
"""
