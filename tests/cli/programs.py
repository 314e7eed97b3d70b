"""Programs that the tests of ``jupyter exec run --exec`` send, build and run."""

import shutil
from pathlib import Path

import pytest

needs_compiler = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("gcc")),
    reason="needs make and gcc: apt-get install make gcc",
)

MAKEFILE = """\
main: main.o square.o
\tgcc -o main main.o square.o
%.o: %.c
\tgcc -c -o $@ $<
clean:
\trm -f main *.o
"""

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
int square(int);
int main(int argc, char **argv) {
  FILE *file = fopen("out.csv", "w");
  for (int i = 1; i < argc; i++) {
    printf("%d\\n", square(atoi(argv[i])));
    fprintf(file, "%s,%d\\n", argv[i], square(atoi(argv[i])));
  }
  fclose(file);
  fprintf(stderr, "squared\\n");
  return 0;
}
"""

SQUARE = """\
int square(int x) { return x * x; }
"""

TABLE = """\
import csv, os, pathlib, sys
rows = [line.split() for line in sys.stdin]
folder = pathlib.Path("results", "deep")
folder.mkdir(parents=True)
for path in (folder.parent / "a.csv", folder / "b.csv"):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
print("size", os.environ["SIZE"], len(rows))
"""


def c_program(folder: Path) -> Path:
    """Write a program of two files with a makefile, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("Makefile", MAKEFILE), ("main.c", MAIN), ("square.c", SQUARE)):
        (folder / name).write_text(text)
    return folder
