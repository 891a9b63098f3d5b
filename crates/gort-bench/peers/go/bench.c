/* The same C source that the Rust program compiles. */
#include "../../c/bench.c"
