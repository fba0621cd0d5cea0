"""All that differs between Linux, macOS and Windows: each call that one of them lacks, with what takes its place there.

No other module asks which system it is. A call that is missing is noticed by its absence, and so the tests take calls away.

- `files`: opening, reading at an offset, flushing to the disk, replacing and removing while others read, locks of the kernel,
  names that a file can have.
- `forks`: what is called when this process forks.
- `processes`: cores, signals, priorities, and when a process began.
- `interrupts`: Ctrl-C, as threads notice it that are not the main one, and where Python hides it behind another error.
- `stop_signals`: Ctrl-C, and what else asks to stop, as one exception at a moment at which it leaves nothing half done.
- `maps`: files mapped into memory, at addresses of one's own choice.
- `bus_errors`: says why, when the process ends since a page of a map cannot be read.
- `libtiff_messages`: what the decoder of TIFFs says, kept in place of printed, where the loader lets it be reached.
- `folders`: where a program keeps what it can fetch again.
- `shared`: memory that several processes use.
"""
