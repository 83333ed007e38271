/* Names are looked up once, before the run: a load test of a gateway is none of the resolver. */
#include "setup.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/tlsctx.h"
#include "proto/eas.h"
#include "proto/url.h"
#include "system.h"

#define SERVICE_PATH "/Microsoft-Server-ActiveSync"

static int complain(const char *what, const char *value, const char *why)
{
    fprintf(stderr, "easload: %s %s: %s\n", what, value, why);
    return 2;
}

/* ---- addresses ---- */

static void add_address(struct address_pool *p, const struct sockaddr *sa, socklen_t len)
{
    p->items = mem_realloc(p->items, (p->count + 1) * sizeof *p->items);
    memset(&p->items[p->count], 0, sizeof *p->items);
    memcpy(&p->items[p->count++], sa, len);
}

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

/* The first address of a name, or the address that it is. */
static int look_up(struct address_pool *p, const struct hostport *hp, const char *what)
{
    struct sockaddr_storage sa;
    char port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (hostport_sockaddr(hp, &sa) == 0) {
        add_address(p, (struct sockaddr *)&sa,
                    sa.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        return 0;
    }
    snprintf(port, sizeof port, "%u", hp->port);
    int rc = getaddrinfo(hp->host, port, &hints, &list);
    if (rc != 0) {
        fprintf(stderr, "easload: %s %s: %s (in a lab, --connect or --gateway-connect says where it is)\n",
                what, hp->host, gai_strerror(rc));
        return 1;
    }
    add_address(p, list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return 0;
}

static int look_up_text(struct address_pool *p, const char *text, const char *what)
{
    struct hostport hp;
    const char *why;
    if (hostport_parse(&hp, text, strlen(text), 0, &why) < 0)
        return complain(what, text, why);
    return look_up(p, &hp, what);
}

/* "127.0.1.1" or "127.0.1.1-127.0.1.20". */
static int add_sources(struct address_pool *p, const char *text)
{
    struct in_addr from, to;
    char first[64];
    const char *dash = strchr(text, '-');
    size_t n = dash != NULL ? (size_t)(dash - text) : strlen(text);
    struct in6_addr v6;
    if (n >= sizeof first)
        return complain("--source", text, "not an address, or a first and a last one: 127.0.1.1-127.0.1.20");
    memcpy(first, text, n);
    first[n] = '\0';
    if (dash == NULL && inet_pton(AF_INET6, first, &v6) == 1) {
        struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = v6};
        add_address(p, (struct sockaddr *)&sa, sizeof sa);
        return 0;
    }
    if (inet_pton(AF_INET, first, &from) != 1 ||
        inet_pton(AF_INET, dash != NULL ? dash + 1 : first, &to) != 1 ||
        ntohl(to.s_addr) < ntohl(from.s_addr) || ntohl(to.s_addr) - ntohl(from.s_addr) > 65535)
        return complain("--source", text, "not an address, or a first and a last one: 127.0.1.1-127.0.1.20");
    for (uint32_t a = ntohl(from.s_addr); a <= ntohl(to.s_addr); a++) {
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(a)}};
        add_address(p, (struct sockaddr *)&sa, sizeof sa);
    }
    return 0;
}

static int check_owned(const struct address_pool *p, const struct settings *s)
{
    for (size_t i = 0; i < p->count; i++) {
        char text[INET6_ADDRSTRLEN] = "";
        const struct sockaddr *sa = (const struct sockaddr *)&p->items[i];
        if (s->own_target || is_loopback(sa))
            continue;
        getnameinfo(sa, sizeof p->items[i], text, sizeof text, NULL, 0, NI_NUMERICHOST);
        fprintf(
            stderr,
            "easload: %s is not on loopback. Load, and the sign-ins it makes, belong on what is yours: say\n"
            "--i-own-this-target if it is.\n",
            text);
        return 2;
    }
    return 0;
}

/* ---- the way ---- */

static int parse_target(struct setup *u, const struct settings *s, struct url *url)
{
    if (url_parse(url, s->target, strlen(s->target)) < 0)
        return complain("--target", s->target, "not an http:// or https:// URL");
    const char *path = s->target + url->path;
    if (strpbrk(path, "?#") != NULL)
        return complain("--target", s->target, "the query is the phone's own: give the path only");
    u->path = mem_strdup(*path != '\0' && strcmp(path, "/") != 0 ? path : SERVICE_PATH);
    u->route.target = url->origin;
    return 0;
}

static int add_gateways(struct setup *u, const struct settings *s)
{
    const char *const *list = s->gateways.items, *const *connect = s->gateway_connect.items;
    struct route *r = &u->route;
    int status = 0;
    for (size_t i = 0; status == 0 && i < s->gateways.count; i++) {
        struct url url;
        if (url_parse(&url, list[i], strlen(list[i])) < 0)
            return complain("--gateway", list[i], "not an http:// or https:// URL");
        if (i > 0 && (url.tls != r->outer_tls || strcmp(url.origin.host, r->outer_name) != 0))
            return complain(
                "--gateway", list[i],
                "several gateways have one name, and differ in their addresses: --gateway-connect");
        r->outer_tls = url.tls;
        strcpy(r->outer_name, url.origin.host);
        if (s->gateway_connect.count == 0)
            status = look_up(&r->hops, &url.origin, "--gateway");
    }
    for (size_t i = 0; status == 0 && i < s->gateway_connect.count; i++)
        status = look_up_text(&r->hops, connect[i], "--gateway-connect");
    return status;
}

static int make_route(struct setup *u, const struct settings *s)
{
    struct route *r = &u->route;
    const char *const *sources = s->sources.items;
    struct url url;
    int status = parse_target(u, s, &url);
    if (status == 0 && s->gateways.count > 0) {
        r->door = s->topology == TOPOLOGY_STA && s->door == 0 ? DOOR_SOCKS : DOOR_CONNECT;
        r->user_credential = s->topology == TOPOLOGY_MICRO_VPN;
        r->inner_tls = url.tls;
        status = add_gateways(u, s);
    } else if (status == 0) {
        r->outer_tls = url.tls;
        strcpy(r->outer_name, url.origin.host);
        r->ticket_header = s->topology == TOPOLOGY_RELAY;
        status = s->connect != NULL ? look_up_text(&r->hops, s->connect, "--connect")
                                    : look_up(&r->hops, &url.origin, "--target");
    }
    if (status == 0)
        status = check_owned(&r->hops, s);
    for (size_t i = 0; status == 0 && i < s->sources.count; i++)
        status = add_sources(&r->sources, sources[i]);
    return status;
}

/* ---- kinds ---- */

static int make_context(SSL_CTX **out, const struct settings *s, const struct client_system *system)
{
    const struct tlsctx_client_options o = {.ca = s->ca, .verify = !s->insecure, .floor = system->tls_min};
    char why[512];
    if (tlsctx_new_client(out, &o, why, sizeof why) < 0) {
        fprintf(stderr, "easload: %s\n", why);
        return 1;
    }
    SSL_CTX_set_max_proto_version(*out, system->tls_max);
    channel_prepare_context(*out);
    return 0;
}

static unsigned folder_bits(const struct conf_list *l)
{
    unsigned bits = 0;
    for (size_t i = 0; i < l->count; i++)
        bits |= 1u << ((const int *)l->items)[i];
    return bits;
}

static int make_kind(struct setup *u, struct phone_kind *k, const struct settings *s,
                     const struct kind_settings *o)
{
    const struct client_system *system = client_system_by_name(o->system);
    int status = 0;
    *k = (struct phone_kind){.route = &u->route,
                             .password = s->password,
                             .tickets = u->tickets,
                             .ticket_lifetime = o->ticket_lifetime,
                             .keep_alive = o->keep_alive};
    k->device = (struct device_options){
        .type = system->type,
        .agent = system->agent,
        .system = system->name,
        .path = u->path,
        .version = o->protocol != NULL ? eas_version_parse(o->protocol, strlen(o->protocol)) : 0,
        .ceiling = system->ceiling,
        .folders = folder_bits(&o->folders),
        .heartbeat_s = o->heartbeat_ms != 0 ? (unsigned)(o->heartbeat_ms / 1000) : system->heartbeat_s,
        .window = (unsigned)o->window,
        .truncation = (unsigned)o->truncation,
        .mail_bytes = (unsigned)o->mail_size,
        .recipient = o->recipient,
        .domain = s->domain};
    if (u->route.outer_tls)
        status = make_context(&k->offer.outer, s, system);
    if (status == 0 && u->route.inner_tls)
        status = make_context(&k->offer.inner, s, system);
    return status;
}

static int make_kinds(struct setup *u, const struct settings *s)
{
    const struct kind_settings *list = s->kinds.count > 0 ? s->kinds.items : &s->kind;
    int status = 0;
    u->kind_count = s->kinds.count > 0 ? s->kinds.count : 1;
    u->kinds = mem_zalloc(u->kind_count * sizeof *u->kinds);
    for (size_t i = 0; status == 0 && i < u->kind_count; i++)
        status = make_kind(u, &u->kinds[i], s, &list[i]);
    return status;
}

/* ---- tickets ---- */

static int read_tickets(struct setup *u, const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (f == NULL) {
        perror(path);
        return 1;
    }
    while ((n = getline(&line, &cap, f)) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0' || line[0] == '#')
            continue;
        u->ticket_list = mem_realloc(u->ticket_list, (u->ticket_count + 1) * sizeof *u->ticket_list);
        u->ticket_list[u->ticket_count++] = mem_strdup(line);
    }
    if (line != NULL)
        mem_wipe(line, cap);
    free(line);
    fclose(f);
    return u->ticket_count > 0 ? 0 : complain("--tickets", path, "there is no ticket in it");
}

static int make_tickets(struct setup *u, const struct settings *s, struct netloop *loop,
                        unsigned deadline_list)
{
    const char *why;
    char text[512];
    struct url url;
    struct address_pool pool = {0};
    if (s->tickets != NULL)
        return read_tickets(u, s->tickets);
    if (s->ticket != NULL) {
        u->ticket_list = mem_alloc(sizeof *u->ticket_list);
        u->ticket_list[u->ticket_count++] = mem_strdup(s->ticket);
        return 0;
    }
    if (s->sign_in == NULL || s->topology == TOPOLOGY_DIRECT || s->topology == TOPOLOGY_MICRO_VPN)
        return 0;
    if (url_parse(&url, s->sign_in, strlen(s->sign_in)) < 0)
        return complain("--sign-in", s->sign_in, "not an http:// or https:// URL");
    int status = look_up(&pool, &url.origin, "--sign-in");
    if (status == 0)
        status = check_owned(&pool, s);
    free(pool.items);
    if (status != 0)
        return status;
    const struct tlsctx_client_options tls = {.ca = s->ca, .verify = !s->insecure};
    if (url.tls && tlsctx_new_client(&u->tickets_tls, &tls, text, sizeof text) < 0)
        return complain("--sign-in", s->sign_in, text);
    const struct ticket_source_options o = {.url = s->sign_in,
                                            .tls = u->tickets_tls,
                                            .connections = 16,
                                            .answer_ms = (uint64_t)s->timeout_ms,
                                            .deadline_list = deadline_list};
    u->tickets = ticket_source_new(loop, &o, &why);
    return u->tickets != NULL ? 0 : complain("--sign-in", s->sign_in, why);
}

/* ---- all of it ---- */

int setup_make(struct setup *u, const struct settings *s, struct netloop *loop, unsigned deadline_list)
{
    *u = (struct setup){0};
    int status = make_route(u, s);
    if (status == 0)
        status = make_tickets(u, s, loop, deadline_list);
    if (status == 0)
        status = make_kinds(u, s);
    return status;
}

void setup_close(struct setup *u)
{
    ticket_source_close(u->tickets);
    u->tickets = NULL;
}

void setup_deinit(struct setup *u)
{
    for (size_t i = 0; i < u->kind_count; i++) {
        SSL_CTX_free(u->kinds[i].offer.outer);
        SSL_CTX_free(u->kinds[i].offer.inner);
    }
    for (size_t i = 0; i < u->ticket_count; i++) {
        mem_wipe(u->ticket_list[i], strlen(u->ticket_list[i]));
        free(u->ticket_list[i]);
    }
    free(u->ticket_list);
    free(u->kinds);
    free(u->path);
    free(u->route.hops.items);
    free(u->route.sources.items);
    SSL_CTX_free(u->tickets_tls);
}

char *setup_name(const char *pattern, unsigned number)
{
    const char *p = strstr(pattern, "%d");
    return p == NULL ? mem_strdup(pattern)
                     : mem_printf("%.*s%u%s", (int)(p - pattern), pattern, number, p + 2);
}
