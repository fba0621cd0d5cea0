"""Batches by epoch and number, with the Keras Sequence on top.

Only `sequence`, `resume_training`, `input_logger`, `input_monitor`, `training_run` and `training_state` import keras. The room
imports `kseq.reading`, `kseq.ordering` and what is below, never `kseq.packing`.

- `batches`: `kseq.Batches`, any batch of any epoch, without state and without Keras. `batches_inside`: what other modules ask
  of it, beyond what users may. `sequence`: `ShardSequence`, the same for Keras, which says no epoch.
- `epochs`: which epoch each batch of a Sequence is of, whoever asks. `callers`: who asks. `keras_passes`, `plain_loops`: what
  Keras's iterations and loops of one's own ask for. `epoch_count`: counts what is complete. `looked_batches`: what Keras asks
  for only to learn shapes. `keras_adapter`: what an adapter of Keras does otherwise for kseq.
- Elsewhere than in Keras: `tf_dataset` (`ShardSequence.to_tf_dataset`), `torch_batches` (`kseq.TorchBatches`), `jax_devices`
  (`kseq.prefetch_to_device`), `joined_batches` (`Batches.arrays`). `batch_leaves`: batches as trees of arrays. `tf_passes`:
  passes in TensorFlow's threads.
- `ranks`: which process this is among those that train together. `keras_use`: refuses what Keras would do wrongly with it.
  `tf_sharing`: notices what TensorFlow shares out once more. `rank_failures`: a rank that fails tells the others. `rank_notes`:
  where it does, in the library that connects them.
- `resume_training`: `kseq.ResumeTraining`, by which a stopped `fit` goes on. `training_run`: one such `fit`, what is kept of
  it and when. `training_state`: all that changes in a training, as arrays. `checkpoints`: the files. `keras_fit`: the `fit`
  that is running, and how it begins within an epoch. `position`: a place in the order, kept and found again.
- What the arguments of `Batches` mean: `dataset_argument` (datasets, splits), `sampling_argument` (order, sampling),
  `split_purpose` (what is shuffled by default), `block_shuffle` (`kseq.BlockShuffle`), `label_mode` (how labels leave: as
  numbers, one-hot), `arguments` (all others).
- `augment`: `kseq.Augmentation` and those that come with kseq. One class says everything of an augmentation: what it draws,
  and what it does to an image, a mask, points and boxes; a new one is a class and a public name. `affine_augment`: turns and
  shifts. `color_augment`: colours, erased parts.
- `moving_fields`: which fields follow the image, and what is refused where one cannot.
- `transforms`: applies a list of augmentations, whatever they are. `batch_functions`: functions of the user over a batch.
  `mixing`: MixUp and CutMix, which mix the samples of a batch. `sample_functions`: functions of the user over a sample.
  `instance_masks`: a mask for each box. `albumentations_adapter`: transforms of Albumentations as such.
- `batch_maker`: fills the rows of a batch from samples. `pixel_readers`: reads, cuts and fits their pixels. `image_spec`:
  what images of a batch are like. `batch_outputs`: the last step, from filled arrays to what Keras gets. `keras_layout`: the
  same as one dict, for layers of Keras. `row_weights`: the
  weight of each row, 0 where it does not count.
- `loader`: threads or processes that read ahead, and where the training waits for a batch. `read_ahead`: who reads in sequence,
  and what was begun for them. `crowding`: whether other jobs take the cores. `worker_process`: what runs in a process.
  `fetch_ahead`: fetches shards from under a URL. `buffers`: the memory of batches.
- For people who look: `batch_look`: a batch in a notebook, as a figure or a picture. `batch_description`: its arrays, rows and
  pixels. `described_images`: what its images are like, and what was cropped. `input_logger`: `kseq.InputLogger`, which
  logs that of a `fit`. `run_logs`: where to.
- What loading costs: `stage_times` times the stages of a batch, `input_stats` adds them up, `input_monitor` is
  `kseq.InputMonitor`, which says for each epoch of a `fit` how much of a step waits for input. `batch_listeners`: who is told
  when Keras gets a batch.
- When something goes wrong: `waiting` tells of long waits and ends them, `worker_deaths` fills again what a process died of,
  `error_places` says where an error was raised, `damaged_samples` mends batches and tells of what they lack.
"""
