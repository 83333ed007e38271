/* HTTP for the mail server: connections, sign-in, the request line's query, and Pings that wait. One loop,
 * one thread. */
#ifndef STAGATE_MAILSIM_SERVER_H
#define STAGATE_MAILSIM_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "box.h"
#include "net/listener.h"
#include "net/netloop.h"

struct server;

struct server *server_new(struct netloop *loop, struct boxes *boxes);
/* Serves a bound socket (given). ctx: TLS (borrowed), or NULL for plain HTTP. control: takes POST /deliver
 * instead of ActiveSync. */
int server_listen(struct server *s, int fd, SSL_CTX *ctx, bool control);
/* Closes listeners and connections; frees itself when the last is closed. */
void server_close(struct server *s);

#endif
