#ifndef RELEASE_H
#define RELEASE_H

/* The glibc whose headers this was compiled with: 2036 for 2.36. */
int release_compiled_for(void);

#endif
