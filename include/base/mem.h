/* Memory that never fails: out of memory ends the process with one line. Memory is bounded by admission
 * limits (connections, buffer maxima), not by a test after each allocation. Free with free(). */
#ifndef STAGATE_BASE_MEM_H
#define STAGATE_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *mem_alloc(size_t size);  /* uninitialised; size 0 gives a pointer that can be freed */
void *mem_zalloc(size_t size); /* zeroed */
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);            /* NULL stays NULL */
char *mem_strndup(const char *s, size_t n); /* n bytes of s and a NUL */
/* As much of src as fits, and a NUL; NULL is "". */
void mem_copy_text(char *dst, size_t cap, const char *src);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *mem_vprintf(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* Ends the process as a failed allocation does: for libraries that report it in a way of their own. */
_Noreturn void mem_fail(void);

/* Overwrites n bytes in a way no compiler removes: for tickets and keys before their memory is given back. */
void mem_wipe(void *p, size_t n);

#endif
