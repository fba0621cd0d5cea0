"""What the subcommands share: tables and sizes as text, options, progress, conditions written in a shell.

Imports only the public API of `kseq`.
"""
