/* HTTP for the mail server: connections, sign-in, which request is which, answers that wait. One loop, one
 * thread. */
#ifndef STAGATE_MAILSIM_SERVER_H
#define STAGATE_MAILSIM_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "box.h"
#include "command.h"
#include "faults.h"
#include "net/listener.h"
#include "net/netloop.h"
#include "users.h"

struct server;

struct server_options { /* all borrowed for the server's life */
    struct netloop *loop;
    struct boxes *boxes;
    struct faults *faults;
    struct users *users; /* NULL: any name with any password */
    const struct personality *personality;
    enum policy policy;
    bool sign_in_form; /* Traveler without "override session authentication": a form instead of 401 */
    bool syncml_only;  /* Traveler with SyncML as primary: ActiveSync is refused */
};

enum listener_kind { LISTENER_PLAIN, LISTENER_TLS, LISTENER_SSL3 /* says no to every TLS there is */ };

struct server *server_new(const struct server_options *options);
/* Serves a bound socket (given). ctx: borrowed, for LISTENER_TLS. */
int server_listen(struct server *s, int fd, enum listener_kind kind, SSL_CTX *ctx);
/* Closes listeners and connections; frees itself when the last is closed. */
void server_close(struct server *s);
/* boxes_options.on_woken. */
void server_on_woken(struct server *s);

struct server_counts {
    uint64_t connections, requests;
    size_t open, waiting;
};
struct server_counts server_counts(const struct server *s);

#endif
