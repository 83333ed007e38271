/* What a mailsim is told: by options, and by a configuration file with the same names, which options stand
 * above. */
#ifndef STAGATE_MAILSIM_CONFIG_H
#define STAGATE_MAILSIM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/log.h"

struct config {
    struct conf_list listen; /* of const char *: URLs */
    const char *certificate, *key;
    int tls_floor, tls_ceiling; /* 0: TLS 1.0 ... 3: TLS 1.3 */
    int personality;            /* its number */
    int policy;                 /* enum policy */
    const char *users;
    int64_t mailbox, seed, arrivals;
    const char *newest;
    int64_t newest_ms; /* 0: an hour ago */
    bool sign_in_form, syncml, quiet;
    struct conf_list faults; /* of const char * */
    const char *control;
    int log; /* enum log_format */
};

/* Reads argv, and the file that -c names. The strings belong to *conf (free with conf_free, after the
 * config's last use) or to argv. -1 to go on; an exit code where everything is said: a mistake on standard
 * error, or --help. */
int config_read(int argc, char **argv, struct config *out, struct conf **conf);

#endif
