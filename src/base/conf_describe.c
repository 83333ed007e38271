/* The reference of a configuration's keys, made from its schema: what `check --keys` prints and
 * docs/configuration.md holds. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/conf.h"

static void print_type(const struct conf_key *k, FILE *to)
{
    static const char *const names[] = {
        [CONF_STRING] = "text",    [CONF_PATH] = "path",   [CONF_BOOL] = "yes or no",
        [CONF_INT] = "number",     [CONF_SIZE] = "size",   [CONF_DURATION] = "duration",
        [CONF_HOURS] = "duration", [CONF_CUSTOM] = "text", [CONF_SECTION] = "section",
    };
    if (k->flags & CONF_LIST)
        fprintf(to, "list of ");
    if (k->type != CONF_ENUM) {
        fprintf(to, "%s", names[k->type]);
        return;
    }
    for (size_t i = 0; k->names[i] != NULL; i++)
        fprintf(to, "%s`%s`", i == 0 ? "" : ", ", k->names[i]);
}

static void print_default(const struct conf_key *k, FILE *to)
{
    if (k->flags & CONF_REQUIRED)
        fprintf(to, "required");
    else if (k->def != NULL)
        fprintf(to, "`%s`", k->def);
    else
        fprintf(to, "none");
}

static void describe(const struct conf_section *section, const char *path, FILE *to)
{
    fprintf(to, "\n## %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            path[0] ? path : "top level");
    for (const struct conf_key *k = section->keys; k->name != NULL; k++) {
        if (k->flags & CONF_UNSUPPORTED)
            continue;
        fprintf(to, "| `%s` | ", k->name);
        print_type(k, to);
        fprintf(to, " | ");
        print_default(k, to);
        fprintf(to, " | %s |\n", k->help ? k->help : "");
    }
    for (const struct conf_key *k = section->keys; k->name != NULL; k++) {
        char below[128];
        if (k->type != CONF_SECTION || (k->flags & CONF_UNSUPPORTED) != 0)
            continue;
        snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "", k->name);
        describe(k->section, below, to);
    }
}

void conf_describe(const struct conf_section *section, FILE *to)
{
    describe(section, "", to);
}
