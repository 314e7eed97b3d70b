long square(long number);
