/* "did you mean": the nearest of a table of names. For configuration keys and values, options and commands;
 * knows none of them. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"

/* longer words are no slips of the finger, and the rows below stay on the stack */
#define WORD_MAX 64

static int fold(char c)
{
    return tolower((unsigned char)c);
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edit distance with swapped neighbours counted as one (optimal string alignment); case does not count. */
static size_t edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= blen; j++)
        last[j] = j;
    for (size_t i = 1; i <= alen; i++) {
        row[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            size_t d = last[j - 1] + (same ? 0 : 1);
            d = min_size(d, min_size(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                d = min_size(d, before[j - 2] + 1);
            row[j] = d;
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[blen];
}

/* Lower is nearer: the distance decides; among equals the longer common beginning, then the smaller step at
 * the first difference, so that "tls1.4" is taken for tls1.3 and not for tls1.0. */
static size_t score(const char *word, const char *name, size_t distance)
{
    size_t common = 0;
    while (word[common] != '\0' && fold(word[common]) == fold(name[common]))
        common++;
    return distance << 16 | (WORD_MAX - common) << 8 | (size_t)abs(fold(word[common]) - fold(name[common]));
}

const char *suggest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t best_score = 0;
    size_t len = strlen(word);
    size_t limit = len / 3 > 2 ? len / 3 : 2;

    if (len > WORD_MAX)
        return NULL;
    for (; *names != NULL; names++) {
        size_t name_len = strlen(*names);
        if (name_len > WORD_MAX)
            continue;
        size_t distance = edit_distance(word, len, *names, name_len);
        /* "ad" is not near "cn": at least half of the longer one has to be right */
        if (distance > limit || 2 * distance > (len > name_len ? len : name_len))
            continue;
        size_t s = score(word, *names, distance);
        if (best == NULL || s < best_score) {
            best = *names;
            best_score = s;
        }
    }
    return best;
}
