"""Batches for `fit`, `evaluate` and `predict`, with the Keras Sequence on top.

`sequence` is the only module that imports keras. Imports `kseq.reading`, `kseq.ordering` and what is below, never
`kseq.packing`.

- `sequence`: `ShardSequence`, what Keras calls. `epochs`: which pass of Keras it is.
- `arguments`, `dataset_argument`, `sampling_argument`, `block_shuffle`: what its arguments mean: label modes and sample
  weights; datasets; order and sampling; blocks.
- `augment`: `Augmentation` and those that come with kseq, to which others are added. `transforms`: applies a list of them
  to image, mask and boxes. `batch_functions`: functions of the user over a whole batch.
- `batch_maker`: fills the rows of a batch from samples. `pixel_readers`: reads, cuts and fits their pixels. `image_spec`:
  what images of a batch are like. `batch_outputs`: the last step, from arrays to what models and losses want, labels as
  `label_mode` says.
- `loader`: threads or processes that read ahead, and where the training waits for a batch. `buffers`: the memory of
  batches.
"""
