/* Writes the first squares into out.csv, and their sum to standard output. */
#include <stdio.h>
#include <stdlib.h>

#include "square.h"

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 10, sum = 0;
  FILE *out = fopen("out.csv", "w");
  if (out == NULL) {
    perror("out.csv");
    return 1;
  }
  fprintf(out, "number,square\n");
  for (long number = 1; number <= count; number++) {
    fprintf(out, "%ld,%ld\n", number, square(number));
    sum += square(number);
  }
  printf("the sum of %ld squares is %ld\n", count, sum);
  return fclose(out) != 0;
}
