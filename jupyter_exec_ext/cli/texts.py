"""The long texts of ``--help``."""

DESCRIPTION = """\
Run notebooks and programs as executions of a Jupyter Server, and look after them.

How it differs from `jupyter execute` (of nbclient): that command starts a kernel itself, runs a
notebook in it and forgets about it. `jupyter exec` hands the notebook to a Jupyter Server, which
keeps a record of the execution: inputs go in as environment variables, named variables come out,
and it can be listed, shown and cancelled, from another terminal or another machine too.
"""

SERVERS = """\
which server:
  --server URL or JUPYTER_EXEC_URL, with --token or JUPYTER_EXEC_TOKEN; else a running server of
  yours that has the extension and whose root folder holds the notebook (for programs and the
  other commands: the current folder); else one that is started on 127.0.0.1 and stopped
  afterwards. Each server has records of its own; all that are started in this way share theirs,
  wherever they are started.
"""

EXIT_CODES = """\
exit codes:
  0    succeeded
  1    the code failed: it raised, ran out of time, asked for input that nobody gave or ended its
       kernel; a program ended with another exit code than 0, which the last line and --json tell;
       or somebody else cancelled the execution
  2    usage: something that was typed cannot be accepted (a wrong option or value, no such
       notebook, cell, kernel or execution)
  3    the service could not do it: no server, wrong token, busy, stopped, the kernel did not
       start or was restarted by somebody else, the notebook or a download could not be saved
  4    --build failed, so the program was not run
  5    the program succeeded, but something is missing: what --download names is not there, or it
       printed more than the server keeps
  130  ctrl-C: the execution was cancelled (143 and 129 for SIGTERM and SIGHUP); a second ctrl-C
       gives up at once
"""

RUN_EXAMPLES = """\
examples:
  jupyter exec run analysis.ipynb -i SPECIES=Adelie -o mean_mass --save-to out.ipynb
  jupyter exec run analysis.ipynb --cells up_to=load --json
  jupyter exec run ask.ipynb --stdin answers.txt
  jupyter exec run weekly.ipynb --server https://hub.example/user/alice/ --save-to week.ipynb
  jupyter exec run --upload src/ --build make --exec "./main 10" --download out.csv
  jupyter exec run --upload src/ --build '*' --exec '*' --stdin in.txt > out.txt
  jupyter exec run --exec "python3 train.py" --upload train.py --upload data/=data \\
      --download "results/*.csv=here" --download model.bin=models/ --session training

files of programs:
  --upload LOCAL[=REMOTE]    the content of a folder goes to the top of the session's folder, or
      with REMOTE into that folder; a file goes there by its name, or with REMOTE to that path, or
      with REMOTE/ into that folder. Hidden files, links and empty folders are left out, and so
      is the right to execute a file: sh run.sh instead of ./run.sh.
  --download REMOTE[=LOCAL]  a file, a folder with its content, or a pattern (* ? [abc], ** for any
      folders; in quotes, so that your shell leaves it alone) goes into the current folder by its
      name, a match with the folders that the pattern leaves open; or with LOCAL to that file or
      into that folder, which is made. What is there is replaced. Also after a program that failed.
  --stdin FILE               as many lines as the server takes (max_stdin_answers); upload a larger
      file, and let the shell give it to the program: --exec './main < in.txt'.
      (A notebook takes answers from FILE too; without --stdin, input() reads a line of standard
      input: a person types it, or it comes through a pipe.)
  The last = separates; end with = where a name has one itself.
"""
