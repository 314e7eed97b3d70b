"""The guard of a step: runs it, and sees to it that no process of it is left afterwards.

These modules are sent into a kernel as texts, in the order of `engine.commands.sending`, and run
there as one program, by whatever Python there is: from 3.8 on, standard library only. What they
import of this package they find there already. The program writes lines `MARKER KIND ...`:

    b PID GUARD         the command runs, in a group of this number; its guard is that process
    o OFFSET BASE64     bytes of its standard output; OFFSET is how many came before
    e OFFSET BASE64     the same of its standard error
    x BASE64            how it ended, as JSON; the last line

SIGINT asks it to stop the command: as a terminal would, then harder. When whoever reads is gone,
or holds the standard input no more, it kills all at once.
"""
