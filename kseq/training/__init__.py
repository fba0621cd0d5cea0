"""Batches for `fit`, `evaluate` and `predict`: buffers, read-ahead, augmentation, and the Keras Sequence on top.

Holds `ShardSequence`, the only module that imports keras. Imports `kseq.reading`, `kseq.ordering` and what is below,
never `kseq.packing`.
"""
