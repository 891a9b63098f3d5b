#include "release.h"

#include <features.h>

int release_compiled_for(void)
{
    return 1000 * __GLIBC__ + __GLIBC_MINOR__;
}
