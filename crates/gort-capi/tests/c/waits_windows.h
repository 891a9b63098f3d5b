/* What the system has to wait for, and who ends the wait; for parks.c. */

struct objects {
    LONG set; /* by __atomic */
};

static void make_objects(struct objects *o, const char *name) {
    (void)o;
    (void)name;
}
static void close_objects(struct objects *o) { (void)o; }

#ifdef LINKED_STATICALLY

static void wait_for_word(struct objects *o) {
    LONG unset = 0;
    while (__atomic_load_n(&o->set, __ATOMIC_ACQUIRE) == unset)
        CHECK(WaitOnAddress(&o->set, &unset, sizeof unset, INFINITE));
    __atomic_store_n(&o->set, 0, __ATOMIC_RELAXED);
}
static void set_word(struct objects *o) {
    __atomic_store_n(&o->set, 1, __ATOMIC_RELEASE);
    WakeByAddressSingle(&o->set);
}

static void sleep_a_little(struct objects *o) {
    (void)o;
    Sleep(1);
}
static void nothing(struct objects *o) { (void)o; }

static const struct system_wait system_waits[] = {
    {"WaitOnAddress", wait_for_word, set_word},
    {"Sleep", sleep_a_little, nothing},
    {NULL, NULL, NULL},
};

#else

/* The program's own calls go to the system. */
static const struct system_wait system_waits[] = {{NULL, NULL, NULL}};

#endif
