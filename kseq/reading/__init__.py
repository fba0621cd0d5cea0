"""Samples of a packed dataset by id, from any thread or process, without Keras.

Holds `ShardDataset` and what it stands on. Imports `kseq.storage`, `kseq.images` and what is below, never `kseq.sources`.
"""
