"""The `kseq` command: a thin skin over the library; only it prints."""
