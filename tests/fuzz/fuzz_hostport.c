/* Host and port: whatever is taken is in normal form, is no number to any resolver, and survives being
 * written and read again. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "proto/hostport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const struct hostport *hp, size_t len)
{
    struct in_addr ignored;
    assert(strspn(hp->host, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len);
    assert(hp->host[0] != '.' && hp->host[len - 1] != '.' && strstr(hp->host, "..") == NULL);
    assert(hp->host[0] != '-' && hp->host[len - 1] != '-');
    assert(inet_aton(hp->host, &ignored) == 0); /* it takes "127.1", "0x7f000001" and the like */
}

static void check_normal_form(const struct hostport *hp)
{
    size_t len = strlen(hp->host);
    struct sockaddr_storage sa;
    assert(len > 0 && len <= HOSTPORT_HOST_MAX);
    assert(!hp->wildcard || hp->kind == HOSTPORT_NAME);
    if (hp->kind == HOSTPORT_NAME)
        check_name(hp, len);
    assert(hostport_sockaddr(hp, &sa) == (hp->kind == HOSTPORT_NAME ? ERR_UNSUPPORTED : 0));
    assert(hostport_equal(hp, hp));
    assert(hp->wildcard || hostport_matches(hp, hp));
}

static void check_round_trip(const struct hostport *hp)
{
    struct hostport again;
    char text[HOSTPORT_TEXT];
    char twice[HOSTPORT_TEXT];
    hostport_format(hp, text);
    int rc = hostport_parse(&again, text, strlen(text), HOSTPORT_ALLOW_WILDCARD, NULL);
    assert(rc == 0 && hostport_equal(hp, &again));
    hostport_format(&again, twice);
    assert(strcmp(text, twice) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct hostport strict;
    struct hostport hp;
    int rc_strict = hostport_parse(&strict, text, size, 0, NULL);
    for (unsigned flags = 0; flags <= (HOSTPORT_ALLOW_WILDCARD | HOSTPORT_ALLOW_BLANKS); flags++) {
        const char *why = NULL;
        int rc = hostport_parse(&hp, text, size, flags, &why);
        if (rc < 0) {
            assert(rc == ERR_SYNTAX && why != NULL && hp.host[0] == '\0' && hp.port == 0);
            assert(rc_strict < 0); /* flags only allow more */
            continue;
        }
        assert(hp.port != 0);
        assert(rc_strict < 0 || hostport_equal(&strict, &hp));
        check_normal_form(&hp);
        check_round_trip(&hp);
    }
    const char *why = NULL;
    if (hostport_parse_host(&hp, text, size, &why) < 0) {
        assert(why != NULL && hp.host[0] == '\0');
        return 0;
    }
    assert(hp.port == 0 && !hp.wildcard);
    check_normal_form(&hp);
    hp.port = 1;
    check_round_trip(&hp);
    return 0;
}
