"""From a source to shards and an index: the plan, the encoding of each sample, and the processes that build shards.

Holds `pack`. Imports `kseq.sources`, `kseq.ordering`, `kseq.storage`, `kseq.images` and what is below, never `kseq.training`.
"""
