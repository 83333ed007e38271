/* Tickets as text and as JSON. Called by both ways of the ticket command. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "ticket_impl.h"

static json_t *text_of(const char *s)
{
    json_t *j = json_string(s);
    return j != NULL ? j : json_string("(not UTF-8)");
}

static void print_json(const struct ticket_shown *t)
{
    json_t *services = json_array();
    for (size_t i = 0; i < t->service_count; i++)
        json_array_append_new(services, text_of(t->services[i]));
    json_t *d =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "ticket", t->fingerprint, "authority",
                  t->authority, "class", t->class, "state", t->state, "issued", t->issued, "expires",
                  t->expires, "user", text_of(t->user), "device", text_of(t->device), "services", services);
    if (t->refreshable)
        json_object_set_new(d, "refreshable", json_true());
    if (t->injected)
        json_object_set_new(d, "injected", json_true());
    char *text = json_dumps(d, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputs(text != NULL ? text : "null", stdout);
    free(text);
    json_decref(d);
}

/* Text of others on a terminal: no control characters. */
static void print_safe(const char *s)
{
    for (; *s != '\0'; s++)
        putchar(iscntrl((unsigned char)*s) ? '?' : *s);
}

static void print_text(const struct ticket_shown *t)
{
    printf("%-12s %-16s %-10s %-9s %.19sZ ", t->fingerprint, t->authority, t->class, t->state, t->expires);
    print_safe(t->user[0] ? t->user : "-");
    printf(" ");
    print_safe(t->device[0] ? t->device : "-");
    for (size_t i = 0; i < t->service_count; i++) {
        printf(i == 0 ? " " : ",");
        print_safe(t->services[i]);
    }
    printf("\n");
}

void ticket_print(struct ticket_printer *p, const struct ticket_shown *t)
{
    if (p->json)
        printf(p->count == 0 ? "[" : ",\n ");
    else if (p->count == 0)
        printf("%-12s %-16s %-10s %-9s %-20s USER DEVICE SERVICES\n", "TICKET", "AUTHORITY", "CLASS", "STATE",
               "EXPIRES");
    p->count++;
    if (p->json)
        print_json(t);
    else
        print_text(t);
}

void ticket_print_end(struct ticket_printer *p, bool say_none)
{
    if (p->json && (say_none || p->count > 0))
        printf(p->count == 0 ? "[]\n" : "]\n");
    else if (p->count == 0 && say_none)
        printf("no tickets\n");
}
