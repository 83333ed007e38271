/* The whole configuration file, service lists included, out of memory: every complaint must print, and what
 * is good must format again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    struct settings s;
    if (nowhere == NULL && (nowhere = fopen("/dev/null", "w")) == NULL)
        abort();
    struct conf *c = conf_read_text("fuzz.yaml", (const char *)data, size, &settings_schema, &s);
    int errors = conf_print(c, nowhere);
    if ((errors == 0) != conf_ok(c))
        abort();
    if (conf_ok(c)) {
        const struct hostport *listed = s.policy.services.items;
        for (size_t i = 0; i < s.policy.services.count; i++) {
            char text[HOSTPORT_TEXT];
            struct hostport again;
            hostport_format(&listed[i], text);
            if (hostport_parse(&again, text, strlen(text), HOSTPORT_ALLOW_WILDCARD, NULL) < 0 ||
                !hostport_equal(&again, &listed[i]))
                abort();
        }
    }
    conf_free(c);
    return 0;
}
