/* Windows has no forks; for misuse.c. */
static void forking(void) {}

static void forking_after_the_end(gort_thread_t parents, gort_channel_t channel) {
    (void)parents;
    (void)channel;
}
