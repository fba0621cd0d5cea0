"""Seeded arithmetic: (seed, epoch, batch number, rank) to positions in a split, and random draws of splits and folds.

Opens no file and keeps no state. Imports only `kseq.errors` and `kseq.arguments`.

- `permutation`: a keyed permutation, and the random numbers that everything seeded is drawn from.
- `epoch_order`: which positions make up each batch of each epoch. `block_order`: the same for `shuffle="block"`.
- `sampling`: orders in which some samples come more often: balanced classes, weights, proportions of datasets.
- `stratified`: which samples go to which split or fold.
"""
