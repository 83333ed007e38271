/* easload merge: results of several processes or machines as one. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "commands.h"
#include "results.h"

static const char help[] = "Usage: easload merge [OPTION]... FILE...\n\n"
                           "Adds up what several `easload run --json FILE` have measured, and shows it.\n\n"
                           "      --json FILE        write it; - is standard output\n"
                           "      --report FILE.html write a report with plots\n"
                           "  -h, --help             this text\n";

static int by_start(const void *a, const void *b)
{
    const struct results *const *x = a, *const *y = b;
    return (*x)->started_ms < (*y)->started_ms ? -1 : (*x)->started_ms > (*y)->started_ms;
}

static struct results *load_file(const char *path)
{
    json_error_t error;
    const char *why;
    struct results *r = mem_zalloc(sizeof *r);
    json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    int rc = -1;
    if (doc == NULL && error.line < 0)
        fprintf(stderr, "easload: %s: %s\n", path, error.text);
    else if (doc == NULL)
        fprintf(stderr, "easload: %s:%d:%d: %s\n", path, error.line, error.column, error.text);
    else if ((rc = results_from_json(r, doc, &why)) < 0)
        fprintf(stderr, "easload: %s: %s\n", path, why);
    json_decref(doc);
    if (rc == 0)
        return r;
    results_deinit(r);
    free(r);
    return NULL;
}

static int merge(char **files, size_t n, const char *json, const char *report)
{
    struct results **all = mem_zalloc(n * sizeof *all);
    int status = 0;
    for (size_t i = 0; i < n; i++)
        if ((all[i] = load_file(files[i])) == NULL)
            status = 1;
    if (status == 0) {
        qsort(all, n, sizeof *all, by_start);
        for (size_t i = 1; i < n; i++)
            results_merge(all[0], all[i]);
        if (json == NULL || strcmp(json, "-") != 0)
            results_print(all[0], stdout);
        status = results_write(all[0], json, report);
    }
    for (size_t i = 0; i < n; i++) {
        if (all[i] != NULL)
            results_deinit(all[i]);
        free(all[i]);
    }
    free(all);
    return status;
}

int cmd_merge(int argc, char **argv)
{
    static const struct option options[] = {{"json", required_argument, NULL, 'j'},
                                            {"report", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *json = NULL, *report = NULL;
    int opt;
    optind = 1;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (opt == '?' || opt == ':') {
            fprintf(stderr, "easload: %s: %s\nTry `easload merge --help`.\n",
                    opt == ':' ? "needs a value" : "unknown option", argv[optind - 1]);
            return 2;
        }
        *(opt == 'j' ? &json : &report) = optarg;
    }
    if (optind == argc) {
        fprintf(stderr, "easload: which results?\nTry `easload merge --help`.\n");
        return 2;
    }
    return merge(argv + optind, (size_t)(argc - optind), json, report);
}
