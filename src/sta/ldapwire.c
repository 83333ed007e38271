/* The layer that keeps libldap's deadlines, put into its stack of layers (lber.h). Used by sign-in. Knows
 * nothing of what the bytes are.
 */
#include "ldapwire.h"

#include <errno.h>
#include <lber.h>
#include <poll.h>

#include "base/clock.h"

#define LEVEL ((LBER_SBIOD_LEVEL_PROVIDER + LBER_SBIOD_LEVEL_TRANSPORT) / 2) /* socket, this, TLS */

bool ldapwire_late(const struct ldapwire *w)
{
    return clock_mono_ms() >= w->deadline_ms || atomic_load(w->cancelled);
}

/* 0, or -1 with errno. Not EAGAIN: that is what TLS would wait for without end. */
static int wait_for(const Sockbuf_IO_Desc *d, short events)
{
    ber_socket_t fd;
    if (d->sbiod_next == NULL || ber_sockbuf_ctrl(d->sbiod_sb, LBER_SB_OPT_GET_FD, &fd) != 1) {
        errno = ENOTCONN;
        return -1;
    }
    while (!ldapwire_late(d->sbiod_pvt)) {
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, LDAPWIRE_SLICE_MS);
        if (n > 0) /* an error or the end too: the socket will say which */
            return 0;
        if (n < 0 && errno != EINTR)
            return -1;
    }
    errno = ETIMEDOUT;
    return -1;
}

static int wire_setup(Sockbuf_IO_Desc *d, void *arg)
{
    d->sbiod_pvt = arg;
    return 0;
}

static int wire_remove(Sockbuf_IO_Desc *d)
{
    d->sbiod_pvt = NULL; /* the check's own */
    return 0;
}

static int wire_ctrl(Sockbuf_IO_Desc *d, int option, void *arg)
{
    return LBER_SBIOD_CTRL_NEXT(d, option, arg);
}

static ber_slen_t wire_read(Sockbuf_IO_Desc *d, void *to, ber_len_t len)
{
    return wait_for(d, POLLIN) < 0 ? -1 : LBER_SBIOD_READ_NEXT(d, to, len);
}

static ber_slen_t wire_write(Sockbuf_IO_Desc *d, void *from, ber_len_t len)
{
    return wait_for(d, POLLOUT) < 0 ? -1 : LBER_SBIOD_WRITE_NEXT(d, from, len);
}

static int wire_close(Sockbuf_IO_Desc *d)
{
    (void)d; /* the socket's own layer closes it */
    return 0;
}

int ldapwire_add(LDAP *ld, struct ldapwire *w)
{
    static Sockbuf_IO io = {wire_setup, wire_remove, wire_ctrl, wire_read, wire_write, wire_close};
    Sockbuf *sb = NULL;
    if (ldap_get_option(ld, LDAP_OPT_SOCKBUF, &sb) != LDAP_OPT_SUCCESS || sb == NULL)
        return LDAP_LOCAL_ERROR;
    return ber_sockbuf_add_io(sb, &io, LEVEL, w) == 0 ? LDAP_SUCCESS : LDAP_LOCAL_ERROR;
}
