"""Bytes on disk: field kinds, the HDF5 profile, shards, the index, checksums, file names, opening, publishing, locks.

Knows what a file holds, not how it is packed or read into batches. Imports `kseq.errors`, `kseq.arguments`, `kseq.images`.
"""
