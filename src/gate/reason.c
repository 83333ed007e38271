/* The table of reasons. Whoever adds a row adds it here only; everything else is made from it. */
#include "gate/reason.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

static const struct reason_info table[REASON_COUNT] = {
    [REASON_OK] = {"ok", 200, 0, 0, "The tunnel was open and has ended in the ordinary way.", "Nothing."},
    [REASON_TICKET_MISSING] =
        {"ticket_missing", 407, 2, 0, "The request carries no ticket.",
         "Send the ticket: as SOCKS5 destination or password, or in Proxy-Authorization (Basic: any "
         "user name, the ticket as password; Bearer: the ticket)."},
    [REASON_TICKET_MALFORMED] =
        {"ticket_malformed", 407, 2, 0, "What was sent as a ticket is not a ticket string.",
         "A ticket string is ;40;STAID;TICKET, or ;42;STAID1;TICKET1;STAID2;TICKET2, tickets of 30 "
         "or 32 characters."},
    [REASON_TICKET_UNKNOWN] =
        {"ticket_unknown", 407, 2, 0, "The authority does not know this ticket.",
         "Get a new ticket. A memory store loses its tickets at a restart; a ticket lives only on "
         "the authority that issued it."},
    [REASON_TICKET_EXPIRED] =
        {"ticket_expired", 407, 2, 0, "The ticket's lifetime is over.",
         "Sign in again for a new ticket, or raise background-services-ticket-expiration."},
    [REASON_TICKET_USED] = {"ticket_used", 407, 2, 0, "The ticket was for one connection and has been used.",
                            "Get a new ticket, or issue one of class background."},
    [REASON_TICKET_REVOKED] = {"ticket_revoked", 407, 2, 0, "The ticket was revoked.",
                               "Sign in again for a new ticket."},
    [REASON_AUTHORITY_UNKNOWN] =
        {"authority_unknown", 403, 2, 0,
         "The ticket names an authority that this gateway is not configured with.",
         "Make the lists of authorities of issuer and gateway the same: add the ID under "
         "authorities."},
    [REASON_AUTHORITY_DOWN] = {"authority_down", 503, 1, 0,
                               "The authority that issued the ticket is known, but gave no answer.",
                               "Look at the detail: the store or the service behind that authority failed."},
    [REASON_SERVICE_NOT_LISTED] =
        {"service_not_listed", 403, 2, 0, "The host and port are not among the background network services.",
         "Add the host with its port to background-network-services in the policy."},
    [REASON_SERVICE_NOT_IN_TICKET] =
        {"service_not_in_ticket", 403, 2, 0,
         "The policy lists the service, but this ticket was issued for others.",
         "Issue a ticket that holds the service, or one without a list of its own."},
    [REASON_ADDRESS_NOT_ALLOWED] =
        {"address_not_allowed", 403, 2, 0,
         "The service's name leads to a loopback, link-local or own address.",
         "Correct the name's addresses, or name the address in the service's connect override."},
    [REASON_NETWORK_UNRESTRICTED] =
        {"network_unrestricted", 403, 2, 0,
         "Network access is unrestricted: clients go straight to the mail server.",
         "Set network-access to tunneled if clients are to use this gateway."},
    [REASON_NETWORK_BLOCKED] = {"network_blocked", 403, 2, 0, "Network access is blocked by policy.",
                                "Set network-access to tunneled."},
    [REASON_WRONG_GATEWAY] = {"wrong_gateway", 421, 2, 0, "The policy sends this client to another gateway.",
                              "Connect to the background-network-service-gateway of the policy."},
    [REASON_REQUEST_MALFORMED] = {"request_malformed", 400, 1, 0, "The request breaks its protocol.",
                                  "Look at the detail for what was wrong with it."},
    [REASON_PROTOCOL_CGP] = {"protocol_cgp", 0, 0, 0,
                             "The client speaks CGP, which is for virtual desktops and not for mail.",
                             "Point a mail client at this gateway; session reliability is not spoken here."},
    [REASON_PROTOCOL_UNKNOWN] =
        {"protocol_unknown", 0, 0, 0, "The first bytes inside TLS belong to no open door.",
         "Speak SOCKS5 or HTTP CONNECT inside TLS, and open that door on the listener."},
    [REASON_HANDSHAKE_TIMEOUT] =
        {"handshake_timeout", 0, 0, 0, "The TLS handshake was not finished in time.",
         "Look whether the client really speaks TLS here, or raise timeouts.handshake."},
    [REASON_REQUEST_TIMEOUT] = {"request_timeout", 408, 0, 0, "The request was not complete in time.",
                                "Send the CONNECT or SOCKS request at once, or raise timeouts.request."},
    [REASON_IDLE_TIMEOUT] = {"idle_timeout", 0, 0, 0, "No byte passed the tunnel for the idle time.",
                             "Raise timeouts.idle above the longest heartbeat (3540 s)."},
    [REASON_FORCED_TIMEOUT] = {"forced_timeout", 407, 2, 0, "The forced time-out of the session has come.",
                               "Sign in again for a new ticket, or raise forced-timeout in the policy."},
    [REASON_TLS_FLOOR] = {"tls_floor", 0, 0, 70, "The TLS version offered or chosen is below the floor.",
                          "Raise the peer's version, or lower tls-floor of the listener or service."},
    [REASON_TLS_LIBRARY] = {"tls_library", 0, 0, 70,
                            "SSLv3 is allowed here, but the TLS library of this build cannot speak it.",
                            "Use a build against an OpenSSL with SSLv3, or a client that speaks TLS."},
    [REASON_TLS_HANDSHAKE] =
        {"tls_handshake", 0, 0, 0, "The TLS handshake with the client failed.",
         "Look at the detail; often the client does not trust the gateway's certificate."},
    [REASON_SNI_MISMATCH] = {"sni_mismatch", 0, 0, 112,
                             "The server name in the inner handshake is not the service's.",
                             "Connect with the service's name, or set sni to any for the service."},
    [REASON_NOT_TLS] =
        {"not_tls", 403, 2, 0, "What was sent is not TLS.",
         "Speak TLS, or set tls-floor to none for a service that is plain (Traveler on port 80)."},
    [REASON_ACTIVESYNC_FLOOR] =
        {"activesync_floor", 400, 0, 0,
         "The client speaks an ActiveSync version outside of what the service allows.",
         "Let the client use a version that OPTIONS lists, or change activesync-floor or activesync-ceiling. "
         "Claims of 14.0 and later get HTTP 200 with Status 138."},
    [REASON_NOT_ACTIVESYNC] = {"not_activesync", 403, 0, 0,
                               "The request is not for an ActiveSync path of the service.",
                               "Use /Microsoft-Server-ActiveSync, or add the path to the service's paths."},
    [REASON_SYNCML] = {"syncml", 403, 0, 0, "The client speaks SyncML, which is not ActiveSync.",
                       "Set the client up with an ActiveSync (Exchange) account instead of Traveler's own."},
    [REASON_DEVICE_BLOCKED] = {"device_blocked", 403, 0, 0,
                               "A device rule of the service blocks this device.",
                               "Change the service's devices: the first rule that matches decides."},
    [REASON_COMMAND_MISMATCH] =
        {"command_mismatch", 400, 0, 0, "The command in the URL and the document in the body disagree.",
         "Send the document that belongs to Cmd: servers go by the document, rules by both."},
    [REASON_USER_MISMATCH] = {"user_mismatch", 403, 0, 0,
                              "The user who signs in to the mail server is not the ticket's.",
                              "Sign in with the ticket's user, or set the service's bind-user to no."},
    [REASON_BACKEND_UNRESOLVED] = {"backend_unresolved", 502, 4, 0, "The service's name has no address.",
                                   "Correct DNS, or give the service a connect override."},
    [REASON_BACKEND_REFUSED] = {"backend_refused", 502, 5, 0,
                                "The mail server did not accept the connection.",
                                "Look whether the mail server runs, and at its address and port."},
    [REASON_BACKEND_TIMEOUT] =
        {"backend_timeout", 504, 4, 0, "The mail server did not answer in time.",
         "Look at firewalls and routes to the mail server, or raise timeouts.connect or timeouts.response."},
    [REASON_BACKEND_TLS] =
        {"backend_tls", 502, 5, 0, "The TLS handshake with the mail server failed.",
         "Look at the detail; set backend-tls to no where the mail server speaks plain HTTP."},
    [REASON_BACKEND_CERTIFICATE] =
        {"backend_certificate", 502, 5, 0, "The mail server's certificate is not good for the service.",
         "Give the service the right ca or pin, or the mail server a certificate with the service's name."},
    [REASON_BACKEND_TLS_FLOOR] =
        {"backend_tls_floor", 502, 5, 0, "The mail server speaks no TLS version at or above the floor.",
         "Raise the mail server's version (Traveler 9.0 can TLS 1.2), or lower backend-tls-floor."},
    [REASON_BACKEND_SSL3] =
        {"backend_ssl3", 502, 5, 0, "The mail server speaks SSLv3 only, which is broken (POODLE).",
         "Enable TLS on it: Traveler 9.0 and later speak TLS 1.2, Domino 8.5.1 to 9.0 need a fix level "
         "that holds LO82423."},
    [REASON_BACKEND_LOGIN_FORM] =
        {"backend_login_form", 502, 0, 0, "The mail server answered ActiveSync with a login page.",
         "Domino: add an Internet Site rule that overrides session authentication for /traveler* and "
         "/Microsoft-Server-ActiveSync*. Others: allow Basic authentication on these paths."},
    [REASON_BACKEND_MALFORMED] = {"backend_malformed", 502, 0, 0, "The mail server's answer breaks HTTP.",
                                  "Look at the detail for what was wrong with it."},
    [REASON_OVERLOADED] = {"overloaded", 503, 1, 0, "The gateway has as many connections as it may have.",
                           "Raise limits.connections and the limit of open files, or add a gateway."},
    [REASON_SHUTTING_DOWN] = {"shutting_down", 503, 1, 0, "The gateway is stopping.",
                              "Connect again, or to another gateway."},
    [REASON_CLIENT_GONE] = {"client_gone", 0, 0, 0,
                            "The client went away without ending the connection properly.",
                            "Look at the client, or at the network between."},
    [REASON_BACKEND_GONE] = {"backend_gone", 502, 0, 0,
                             "The mail server went away without ending the connection properly.",
                             "Look at the mail server's log, or at the network between."},
};

const struct reason_info *reason_info(enum reason r)
{
    assert(r >= 0 && r < REASON_COUNT && table[r].id != NULL);
    return &table[r];
}

enum reason reason_by_id(const char *id)
{
    for (int i = 0; i < REASON_COUNT; i++) {
        if (strcmp(table[i].id, id) == 0)
            return (enum reason)i;
    }
    return REASON_COUNT;
}
