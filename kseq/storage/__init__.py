"""Bytes on disk: the HDF5 profile, shards, the index, checksums, file names, atomic publishing, the lock on a folder.

Knows what a file holds, not how it is packed or read into batches. Imports `kseq.errors`, `kseq.arguments`, `kseq.images`.
"""
