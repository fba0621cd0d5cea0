"""The subcommands of `kseq`, one module each: `add_parser` adds it to the parser, `run` runs it.

Each calls the public API of `kseq` and prints what it returned; imports `kseq` and `kseq_tools.console`.
"""
