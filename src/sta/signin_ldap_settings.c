/* What is wrong with the settings of an LDAP directory, as far as they tell by themselves. Used before a
 * directory is opened, and by whoever reads a configuration. Contacts nobody.
 */
#include <ldap.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#include "signin_impl.h"
#include "sta/ldapfilter.h"

static int complain(const char **why, const char *text)
{
    *why = text;
    return ERR_SYNTAX;
}

static int check_parts(const LDAPURLDesc *u, bool starttls, const char **why)
{
    bool plain = strcmp(u->lud_scheme, "ldap") == 0, tls = strcmp(u->lud_scheme, "ldaps") == 0;
    bool local = strcmp(u->lud_scheme, "ldapi") == 0;
    bool host = u->lud_host && *u->lud_host;
    bool port = u->lud_port >= 0 && u->lud_port <= 65535;
    bool more = (u->lud_dn && *u->lud_dn) || u->lud_attrs || u->lud_filter || u->lud_exts;
    if (!plain && !tls && !local)
        return complain(why, "url begins with ldap://, ldaps:// or ldapi://");
    if (!local && !host)
        return complain(why, "url names no host");
    if (!port)
        return complain(why, "url has a port above 65535");
    if (more)
        return complain(why, "url is scheme, host and port only; base and filter are keys of their own");
    if (starttls && !plain)
        return complain(why, "starttls goes with ldap:// only");
    return 0;
}

static int check_url(const struct signin_ldap *l, const char **why)
{
    LDAPURLDesc *u = NULL;
    if (l->url == NULL || strchr(l->url, ' ') || ldap_url_parse(l->url, &u) != LDAP_URL_SUCCESS)
        return complain(why, "url is none: write ldap://host, ldaps://host or ldapi://path with %2F for /");
    int rc = check_parts(u, l->starttls, why);
    ldap_free_urldesc(u);
    return rc;
}

static bool is_dn(const char *text)
{
    LDAPDN dn = NULL;
    bool valid = ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && dn != NULL;
    ldap_dnfree(dn);
    return valid;
}

static bool is_attribute(const char *name)
{
    return *name &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.;") == strlen(name);
}

static int check_attributes(const struct signin_ldap *l, const char **why)
{
    if (l->user_attribute && !is_attribute(l->user_attribute))
        return complain(why, "user_attribute is no attribute's name");
    for (size_t i = 0; l->name_attributes && l->name_attributes[i]; i++) {
        if (i == SIGNIN_ATTRIBUTES_MAX)
            return complain(why, "name_attributes are 16 at most");
        if (!is_attribute(l->name_attributes[i]))
            return complain(why, "one of name_attributes is no attribute's name");
    }
    return 0;
}

int signin_ldap_check(const struct signin_ldap *l, const char **why)
{
    int rc = check_url(l, why);
    if (rc < 0)
        return rc;
    bool dn = l->bind_dn && *l->bind_dn, password = l->bind_password && *l->bind_password;
    if (l->bind_dn && !(dn && password))
        return complain(why, "bind_dn needs bind_password: without, the directory would bind anonymously");
    if (l->bind_password && !l->bind_dn)
        return complain(why, "bind_password needs bind_dn");
    if (l->base == NULL || *l->base == '\0')
        return complain(why, "base is missing: the DN below which users are");
    if (!is_dn(l->base))
        return complain(why, "base is no DN");
    if (l->group_base && !is_dn(l->group_base))
        return complain(why, "group_base is no DN");
    if (l->filter == NULL)
        return complain(why, "filter is missing, such as (uid=%u)");
    rc = ldapfilter_check(l->filter, "u", why);
    if (rc == 0 && l->group_filter)
        rc = ldapfilter_check(l->group_filter, "udn", why);
    if (rc == 0)
        rc = check_attributes(l, why);
    if (rc == 0 && l->timeout_ms < 0)
        rc = complain(why, "timeout is negative");
    return rc;
}
