/* The log: one event, one line, one write(2) to standard error. JSON for machines, text on a terminal.
 *
 * The event's name is constant text; data go into fields. Never a ticket or a password (fingerprints only).
 * Peer misbehaviour is info; error means that an operator must act. A line that standard error does not take
 * (full disk, closed pipe) is dropped and counted, never waited for longer than the write itself.
 * Thread-safe: each line is built on the caller's stack.
 *
 *     struct log_line l;
 *     log_begin(&l, LOG_INFO, "ready");
 *     log_int(&l, "workers", 2);
 *     log_end(&l);
 */
#ifndef STAGATE_BASE_LOG_H
#define STAGATE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_AUTO, LOG_JSON, LOG_TEXT };

#define LOG_LINE_MAX 4096

struct log_line {
    enum log_level level;
    bool off; /* below the level in force: the calls do nothing */
    bool json;
    bool first;      /* no field yet in the innermost object or array */
    int depth;       /* objects and arrays open */
    uint32_t arrays; /* a bit for each of them: it is an array */
    int skipped;     /* open ones inside one that was left out for want of room, itself counted */
    size_t len;
    char data[LOG_LINE_MAX];
};

/* Call once before threads start, and again on reload. LOG_AUTO: text when standard error is a terminal, else
 * JSON. */
void log_setup(enum log_format format, enum log_level level);
bool log_wants(enum log_level level);
uint64_t log_dropped(void);

void log_begin(struct log_line *l, enum log_level level, const char *event);
/* A NULL value leaves the field out, and so does a line that is full: what is there is always well-formed.
 * Values may be any bytes: they come out as UTF-8 without control characters, cut with "..." behind some 600
 * bytes. Keys are constants that need no escaping. */
void log_str(struct log_line *l, const char *key, const char *value);
void log_strn(struct log_line *l, const char *key, const char *value, size_t len);
void log_int(struct log_line *l, const char *key, int64_t value);
void log_bool(struct log_line *l, const char *key, bool value);
void log_open(struct log_line *l, const char *key); /* nested object */
void log_close(struct log_line *l);
void log_array_open(struct log_line *l, const char *key); /* array of strings: log_item, log_array_close */
void log_item(struct log_line *l, const char *value);     /* NULL: left out */
void log_array_close(struct log_line *l);
void log_end(struct log_line *l); /* closes what is open, and writes */

/* One-field shorthand: {"event":event,"message":...}. */
void log_message(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
