// longjmp as a C compiler makes it where buffers are checked: `____longjmp_chk`, which refuses to jump to a frame that the stack
// does not have.

#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 2

#include "jumps.h"

#include <setjmp.h>

#include "jumps_within.h"

int jp_within_fortified(int depth, int rounds, ct_fn fn, void *arg)
{
	return within(depth, rounds, fn, arg);
}
