/* The struct conf: what was allocated for the caller's struct, where each field stood in the file, and the
 * complaints. The parts beside it (conf_load.c, conf_schema.c, conf_types.c) fill it; programs ask it after
 * reading. Knows no YAML. */
#include "base/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf_impl.h"

struct conf_block {
    struct conf_block *next;
    max_align_t data[];
};

static struct conf *conf_new(const char *name, const struct conf_section *section, void *out)
{
    struct conf *c = mem_zalloc(sizeof *c);
    c->name = mem_strdup(name);
    c->folder = mem_strdup("");
    c->root = section;
    memset(out, 0, section->size);
    return c;
}

/* Reads the whole of fd into text. 0, or an errno. */
static int read_all(int fd, struct buf *text)
{
    for (;;) {
        if (buf_reserve(text, 16384) < 0)
            return EFBIG;
        ssize_t n = read(fd, text->data + text->len, 16384);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            return text->len > CONF_FILE_MAX ? EFBIG : 0;
        text->len += (size_t)n;
    }
}

struct conf *conf_read(const char *path, const struct conf_section *section, void *out)
{
    struct conf *c = conf_new(path, section, out);
    const char *slash = strrchr(path, '/');
    if (slash) {
        free(c->folder);
        c->folder = mem_strndup(path, (size_t)(slash + 1 - path));
    }

    struct buf text;
    buf_init(&text, CONF_FILE_MAX + 2 * 16384);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? errno : read_all(fd, &text);
    if (rc == EFBIG)
        conf_complain(c, (struct conf_mark){0}, "cannot be read: larger than %d bytes", CONF_FILE_MAX);
    else if (rc != 0)
        conf_complain(c, (struct conf_mark){0}, "cannot be read: %s", strerror(rc));
    else
        conf_load_text(c, (const char *)text.data, text.len, out);
    if (fd >= 0)
        close(fd);
    buf_deinit(&text);
    return c;
}

struct conf *conf_read_text(const char *name, const char *text, size_t len,
                            const struct conf_section *section, void *out)
{
    struct conf *c = conf_new(name, section, out);
    if (len > CONF_FILE_MAX)
        conf_complain(c, (struct conf_mark){0}, "cannot be read: larger than %d bytes", CONF_FILE_MAX);
    else
        conf_load_text(c, text, len, out);
    return c;
}

void conf_free(struct conf *c)
{
    if (c == NULL)
        return;
    while (c->blocks) {
        struct conf_block *b = c->blocks;
        c->blocks = b->next;
        free(b);
    }
    for (size_t i = 0; i < c->complaint_count; i++)
        free(c->complaints[i].text);
    free(c->complaints);
    free(c->places);
    free(c->folder);
    free(c->name);
    free(c);
}

bool conf_ok(const struct conf *c)
{
    return c->errors == 0;
}

void *conf_alloc(struct conf *c, size_t size)
{
    assert(size <= SIZE_MAX - sizeof(struct conf_block));
    struct conf_block *b = mem_zalloc(sizeof *b + size);
    b->next = c->blocks;
    c->blocks = b;
    return b->data;
}

const char *conf_path(struct conf *c, const char *path)
{
    size_t folder_len = path[0] == '/' ? 0 : strlen(c->folder);
    size_t len = strlen(path);
    char *joined = conf_alloc(c, folder_len + len + 1);
    memcpy(joined, c->folder, folder_len);
    memcpy(joined + folder_len, path, len);
    return joined;
}

/* ---- places --------------------------------------------------------------------------------- */

struct conf_mark conf_mark_of(const yaml_mark_t *mark)
{
    return (struct conf_mark){(int)mark->line + 1, (int)mark->column + 1};
}

void conf_remember(struct conf *c, const void *addr, size_t size, bool section, struct conf_mark at)
{
    if (c->place_count == c->place_cap) {
        c->place_cap = c->place_cap ? 2 * c->place_cap : 64;
        c->places = mem_realloc(c->places, c->place_cap * sizeof *c->places);
    }
    c->places[c->place_count++] =
        (struct conf_place){.addr = addr, .size = size, .section = section, .at = at};
}

void conf_remember_bad(struct conf *c, const void *addr, struct conf_mark at)
{
    conf_remember(c, addr, 1, false, at);
    c->places[c->place_count - 1].bad = true;
}

/* The innermost place around addr. A section and its first field begin at the same address: the smaller one
 * is meant, and of two of the same size the field. */
static struct conf_mark find_mark(const struct conf *c, const void *addr)
{
    const struct conf_place *best = NULL;
    for (size_t i = 0; i < c->place_count; i++) {
        const struct conf_place *p = &c->places[i];
        if ((uintptr_t)addr < (uintptr_t)p->addr || (uintptr_t)addr >= (uintptr_t)p->addr + p->size)
            continue;
        if (best == NULL || p->size < best->size || (p->size == best->size && !p->section))
            best = p;
    }
    return best ? best->at : (struct conf_mark){0};
}

static bool has_place(const struct conf *c, const void *field, bool bad_too)
{
    for (size_t i = 0; i < c->place_count; i++)
        if (c->places[i].addr == field && !c->places[i].section && (bad_too || !c->places[i].bad))
            return true;
    return false;
}

bool conf_given(const struct conf *c, const void *field)
{
    return has_place(c, field, false);
}

bool conf_written(const struct conf *c, const void *field)
{
    return has_place(c, field, true);
}

/* ---- complaints ----------------------------------------------------------------------------- */

static void add_complaint(struct conf *c, struct conf_mark at, bool warning, const char *fmt, va_list ap)
{
    if (!warning)
        c->errors++;
    if (c->complaint_count == CONF_COMPLAINTS_MAX) {
        c->unshown++;
        return;
    }
    if (c->complaint_count == c->complaint_cap) {
        c->complaint_cap = c->complaint_cap ? 2 * c->complaint_cap : 16;
        c->complaints = mem_realloc(c->complaints, c->complaint_cap * sizeof *c->complaints);
    }
    c->complaints[c->complaint_count++] = (struct conf_complaint){at, warning, mem_vprintf(fmt, ap)};
}

void conf_complain(struct conf *c, struct conf_mark at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_complaint(c, at, false, fmt, ap);
    va_end(ap);
}

void conf_error(struct conf *c, const void *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_complaint(c, find_mark(c, field), false, fmt, ap);
    va_end(ap);
}

void conf_warning(struct conf *c, const void *field, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_complaint(c, find_mark(c, field), true, fmt, ap);
    va_end(ap);
}

static int in_file_order(const void *pa, const void *pb)
{
    const struct conf_complaint *a = *(const struct conf_complaint *const *)pa;
    const struct conf_complaint *b = *(const struct conf_complaint *const *)pb;
    if (a->at.line != b->at.line)
        return a->at.line < b->at.line ? -1 : 1;
    if (a->at.column != b->at.column)
        return a->at.column < b->at.column ? -1 : 1;
    return a < b ? -1 : a > b; /* as they were made: both are in one array */
}

int conf_print(const struct conf *c, FILE *to)
{
    const struct conf_complaint **order = mem_alloc(c->complaint_count * sizeof *order);
    for (size_t i = 0; i < c->complaint_count; i++)
        order[i] = &c->complaints[i];
    qsort(order, c->complaint_count, sizeof *order, in_file_order);
    for (size_t i = 0; i < c->complaint_count; i++) {
        const struct conf_complaint *m = order[i];
        char place[32] = "";
        if (m->at.line > 0)
            snprintf(place, sizeof place, ":%d:%d", m->at.line, m->at.column);
        /* in one piece: a gateway that reloads has threads that log to the same standard error */
        fprintf(to, "%s%s: %s%s\n", c->name, place, m->warning ? "warning: " : "", m->text);
    }
    if (c->unshown > 0)
        fprintf(to, "%s: %zu more complaints are not shown\n", c->name, c->unshown);
    free(order);
    return c->errors;
}

const char *conf_quote(char dst[CONF_QUOTED], const char *text, size_t len)
{
    static const char more[] = "...\"";
    const size_t room = CONF_QUOTED - sizeof more;
    size_t n = 0;

    dst[n++] = '"';
    for (size_t i = 0; i < len;) {
        char piece[16];
        uint32_t point;
        size_t used = utf8_decode(text + i, len - i, &point);
        if (used == 0) {
            used = 1;
            snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)text[i]);
        } else if (point == '\n' || point == '\t') {
            snprintf(piece, sizeof piece, "\\%c", point == '\n' ? 'n' : 't');
        } else if (point < 0x20 || (point >= 0x7f && point < 0xa0)) {
            snprintf(piece, sizeof piece, "\\x%02x", point);
        } else {
            snprintf(piece, sizeof piece, "%.*s", (int)used, text + i);
        }
        size_t piece_len = strlen(piece);
        if (n + piece_len > room) {
            memcpy(dst + n, more, sizeof more);
            return dst;
        }
        memcpy(dst + n, piece, piece_len);
        n += piece_len;
        i += used;
    }
    memcpy(dst + n, "\"", 2);
    return dst;
}
