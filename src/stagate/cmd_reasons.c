/* stagate reasons: the table, as text, as JSON for scripts, or as the Markdown of docs/reasons.md. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "gate/reason.h"

static const char help[] =
    "Usage: stagate reasons [--json | --markdown]\n\n"
    "Prints every reason why a connection is refused, cut or ends: its name, what a client is\n"
    "told (HTTP status, SOCKS reply, TLS alert), what it means and what to change.\n\n"
    "      --json      one JSON array\n"
    "      --markdown  the table of docs/reasons.md\n"
    "  -h, --help      this text\n";

static const char *number(char dst[8], unsigned n)
{
    snprintf(dst, 8, n != 0 ? "%u" : "-", n);
    return dst;
}

static void print_text(void)
{
    char http[8], socks[8], alert[8];
    printf("%-22s %-5s %-6s %-6s %s\n", "REASON", "HTTP", "SOCKS", "ALERT", "WHAT IT MEANS, WHAT TO CHANGE");
    for (int i = 0; i < REASON_COUNT; i++) {
        const struct reason_info *r = reason_info((enum reason)i);
        printf("%-22s %-5s %-6s %-6s %s\n%42s %s\n", r->id, number(http, r->http),
               i == REASON_OK ? "0" : number(socks, r->socks), number(alert, r->alert), r->sentence, "",
               r->advice);
    }
}

static void print_markdown(void)
{
    char http[8], socks[8], alert[8];
    printf("| reason | HTTP | SOCKS | TLS alert | what it means | what to change "
           "|\n|---|---|---|---|---|---|\n");
    for (int i = 0; i < REASON_COUNT; i++) {
        const struct reason_info *r = reason_info((enum reason)i);
        printf("| `%s` | %s | %s | %s | %s | %s |\n", r->id, number(http, r->http),
               i == REASON_OK ? "0" : number(socks, r->socks), number(alert, r->alert), r->sentence,
               r->advice);
    }
}

/* The table's texts hold nothing that JSON would have to escape; a unit test holds them to it. */
static void print_json(void)
{
    for (int i = 0; i < REASON_COUNT; i++) {
        const struct reason_info *r = reason_info((enum reason)i);
        printf("%s{\"reason\":\"%s\",\"http\":%u,\"socks\":%u,\"alert\":%u,\"sentence\":\"%s\",\"advice\":\"%"
               "s\"}",
               i == 0 ? "[" : ",\n ", r->id, r->http, r->socks, r->alert, r->sentence, r->advice);
    }
    printf("]\n");
}

int cmd_reasons(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"markdown", no_argument, NULL, 'm'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    void (*print)(void) = print_text;
    int opt;
    opterr = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (opt == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (opt == '?')
            return option_error(argv[0], opt, argv);
        print = opt == 'j' ? print_json : print_markdown;
    }
    if (optind < argc)
        return usage_error(argv[0], "unexpected argument \"%s\"", argv[optind]);
    print();
    return 0;
}
