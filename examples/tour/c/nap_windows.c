/* See nap.h. */
#include "nap.h"

#include <windows.h>

/* What Sleep calls, found by its name when it is first needed: a host may have redirected the imports of its program. */
typedef LONG(NTAPI *delay)(BOOLEAN alertable, const LARGE_INTEGER *time);

void nap(uint64_t milliseconds) {
    delay delay_execution = (delay)(uintptr_t)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtDelayExecution");
    LARGE_INTEGER time;
    /* From now on, in units of 100 ns. */
    time.QuadPart = -(LONGLONG)milliseconds * 10000;
    delay_execution(FALSE, &time);
}
