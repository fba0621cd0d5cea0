"""Batches for `fit`, `evaluate` and `predict`, with the Keras Sequence on top.

`sequence` is the only module that imports keras. Imports `kseq.reading`, `kseq.ordering` and what is below, never
`kseq.packing`.

- `sequence`: `ShardSequence`, what Keras calls. `epochs`: which pass of Keras it is.
- What the arguments of `ShardSequence` mean: `dataset_argument` (datasets, splits), `sampling_argument` (order, sampling),
  `block_shuffle` (`kseq.BlockShuffle`), `label_mode` (how labels leave: as numbers, one-hot), `arguments` (all others).
- `augment`: `kseq.Augmentation` and those that come with kseq. One class says everything of an augmentation: what it draws,
  and what it does to an image, a mask, points and boxes; a new one is a class there and a public name.
- `transforms`: applies a list of augmentations, whatever they are. `batch_functions`: functions of the user over a batch.
- `batch_maker`: fills the rows of a batch from samples. `pixel_readers`: reads, cuts and fits their pixels. `image_spec`:
  what images of a batch are like. `batch_outputs`: the last step, from filled arrays to what Keras gets.
- `loader`: threads or processes that read ahead, and where the training waits for a batch. `buffers`: the memory of
  batches.
"""
