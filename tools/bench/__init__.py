"""`kseq bench`: kseq beside the loaders that people would otherwise use, in one run on the same photos."""
