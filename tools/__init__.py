"""The `kseq` command: a thin skin over the library, which only calls its public API; only here something is printed.

Installed as `kseq_tools`. `main`: finds the command, and turns errors into one line and an exit code. `commands/`: a
module for each subcommand. `console/`: what they share. `bench/`: `kseq bench`, which measures kseq beside other loaders.
`doctor/`: `kseq doctor`, which measures who waits for whom.
`soak`: no command, but a script for the repository, which runs faults for a given time.
"""
