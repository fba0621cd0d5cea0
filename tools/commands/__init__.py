"""The subcommands of `kseq`, a module each: `add_parser` adds it to the parser, `run` runs it.

Each calls the public API of `kseq` alone, and prints what that returned with the help of `console/`. To add one, write
its module and list it in `tools/main.py`.
"""
