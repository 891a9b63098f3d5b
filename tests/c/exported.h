/* Functions that Rust exports by #[gort::callback(export)], as a C program declares and calls them. */
#ifndef EXPORTED_H
#define EXPORTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ex_small {
    int32_t a;
    float b;
};

struct ex_large {
    double d[4];
    int64_t n;
    const char *text;
};

union ex_either {
    uint64_t whole;
    uint8_t bytes[8];
};

enum ex_color { EX_RED = 1, EX_BLUE = 7 };

typedef int32_t (*ex_fn)(int32_t);

int8_t ex_numbers(int8_t a, uint16_t b, int64_t c, uint64_t d, float e, double f, int32_t g, int32_t h, int32_t i,
                  double j, uint8_t k);
struct ex_small ex_small(struct ex_small s);
struct ex_large ex_large(struct ex_large l, double more);
union ex_either ex_either(union ex_either e);
enum ex_color ex_color(enum ex_color c, bool other);
ex_fn ex_function(ex_fn f, int32_t *result);
const char *ex_text(const char *text, size_t skip);
void ex_nothing(uint32_t (*array)[3]);
int32_t ex_under_another_name(void);

/* Calls all of them with good arguments. Returns 0, or the line of the first result that is wrong. */
int ex_all(void);

/* Calls those that can fail with arguments at which they panic. Returns 0, or the line of the first wrong result. */
int ex_panics(void);

#endif
