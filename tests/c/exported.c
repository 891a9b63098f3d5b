#include "exported.h"

#include <string.h>

#define CHECK(what)          \
    do {                     \
        if (!(what))         \
            return __LINE__; \
    } while (0)

static int32_t twice(int32_t n)
{
    return 2 * n;
}

int ex_all(void)
{
    static const char text[] = "some text";
    struct ex_small small = {-3, 0.5f};
    struct ex_large large = {{1, 2, 3, 4}, 1LL << 40, text};
    union ex_either either = {.bytes = {1, 2, 3, 4, 5, 6, 7, 8}};
    uint32_t array[3] = {1, 2, 3};
    int32_t result = 0;

    CHECK(ex_numbers(-1, 65535, INT64_MIN, UINT64_MAX, 0.5f, -0.25, 7, 8, 9, 10.0, 255) == -1);
    small = ex_small(small);
    CHECK(small.a == -6 && small.b == 1.0f);
    large = ex_large(large, 0.5);
    CHECK(large.d[0] == 1.5 && large.d[3] == 4.5 && large.n == (1LL << 41) && large.text == text);
    either = ex_either(either);
    CHECK(either.bytes[0] == 8 && either.bytes[7] == 1);
    CHECK(ex_color(EX_RED, true) == EX_BLUE && ex_color(EX_RED, false) == EX_RED);
    CHECK(ex_function(twice, &result) == twice && result == 42);
    CHECK(ex_function(NULL, &result) == NULL && result == -1);
    CHECK(strcmp(ex_text(text, 5), "text") == 0);
    ex_nothing(&array);
    CHECK(array[0] == 3 && array[2] == 1);
    CHECK(ex_under_another_name() == 5);
    return 0;
}

int ex_panics(void)
{
    struct ex_large large = {{0}, -1, NULL};
    struct ex_small small = {INT32_MAX, 0};
    uint32_t array[3] = {0, 0, 0};

    CHECK(ex_numbers(-2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) == -100);
    small = ex_small(small);
    CHECK(small.a == -1 && small.b == -1.0f);
    large = ex_large(large, 0);
    CHECK(large.d[0] == 9 && large.n == -9 && large.text == NULL);
    CHECK(ex_text(NULL, 0) == NULL);
    ex_nothing(&array);
    return 0;
}
