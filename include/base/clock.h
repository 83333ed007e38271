/* Two clocks. Expiry of tickets is wall-clock time, which tests and demonstrations can move; deadlines are
 * monotonic. Both in milliseconds. Thread-safe. */
#ifndef STAGATE_BASE_CLOCK_H
#define STAGATE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_ms(void); /* since 1970-01-01 UTC, plus the offset: what tickets go by */
int64_t clock_true_ms(void); /* without the offset: what the log goes by */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);

/* Moves the wall clock of this process: for tests and demonstrations. */
void clock_set_offset_ms(int64_t offset);
int64_t clock_offset_ms(void);

/* RFC 3339 UTC with milliseconds, "2026-11-23T09:00:00.000Z", into dst[CLOCK_TEXT]. */
#define CLOCK_TEXT 25
void clock_format(char dst[CLOCK_TEXT], int64_t wall_ms);

/* Durations as users write them: a number and a unit out of ms s m h d w ("168h", "7d", "30s"; "1h30m" adds
 * up). 0, or ERR_SYNTAX with *why saying what is wrong and what would be right. At most 100 years. */
int duration_parse(const char *text, int64_t *ms, const char **why);
/* The shortest such text for ms: "168h", "90s", "1500ms". */
#define DURATION_TEXT 32
void duration_format(char dst[DURATION_TEXT], int64_t ms);

#endif
