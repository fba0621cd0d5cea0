"""Seeded arithmetic: (seed, epoch, batch number, rank) to positions in a split, and random draws of splits and folds.

Opens no file and keeps no state. Imports only `kseq.errors` and `kseq.arguments`.
"""
