"""What `kseq doctor` measures, and what it makes of that.

- `script`: functions of a script of the user: what makes batches, or a model. `sequence_arguments`: arguments of a Sequence as
  words of the command.
- `loading`: how fast batches come, stage by stage and together. `disk`: how fast bytes come from the disk. `stepping`: how long
  a training step takes, with batches that are there and with those that are loaded.
- `trials`: other settings, each measured between two looks at the present one. `packed_sample`: some samples packed otherwise.
- `budget`: the time that is left, and what there was none for. `examination`: all of it in order. `report`: who waits for whom,
  and what to change, as a text and as JSON.
"""
