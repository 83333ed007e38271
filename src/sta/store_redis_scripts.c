/* What the ticket store does on a Redis server: one Lua script for each kind of operation, so that each is
 * one round trip and happens as a whole. Used by store_redis_ops.c, which makes the arguments and reads the
 * answers.
 *
 * Keys, behind the prefix (p is RECORD_HASH raw bytes, u and d are STORE_KEY):
 *   :t:p  string: user key, device key, then the record as record_encode wrote it. Expires by itself an hour
 * after its tombstone's end, should nobody purge. :all  sorted set of p, all scores 0: hash order. :end
 * sorted set of p by time. A ticket without an end of its own has its expiry as score; one that was ended has
 *         that time, negative. So what is above now is alive, and one range around 0 is what may be purged.
 *   :u:u  a user's tickets by time of issue, which is negative once they are over.
 *   :d:d  a device's live tickets by time of issue.
 * A ticket that expires stays positive in :u and :d until somebody counts.
 *
 * Times come from the caller: the server's clock decides nothing. Redis 7 is needed for "#!lua", which is
 * what lets tickets end while no memory is left to issue new ones.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store_redis_impl.h"

/* Offsets count from 1: the record begins at 33, its strings at 62 (version 1) or 71 (version 2). */
static const char prelude[] =
    "local P, now, tombstone = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "local call, sub = redis.call, string.sub\n"
    "local LIVE, USED, REVOKED, FORGOTTEN = 0, 2, 3, 4\n"
    "local ALL, END = P .. ':all', P .. ':end'\n"
    "local function key(h) return P .. ':t:' .. h end\n"
    "local function user(v) return P .. ':u:' .. sub(v, 1, 16) end\n"
    "local function device(v) return P .. ':d:' .. sub(v, 17, 32) end\n"
    "local function parse(v)\n"
    "  local r = {v = v, flags = 0, refresh = 0}\n"
    "  r.version, r.class, r.state = struct.unpack('<BBB', v, 33)\n"
    "  if r.version ~= 1 and r.version ~= 2 then error({err = 'BADRECORD of another version'}) end\n"
    "  r.issued, r.expires, r.ended = struct.unpack('<i8i8i8', v, 38)\n"
    "  if r.version == 2 then r.flags, r.refresh = struct.unpack('<Bi8', v, 62) end\n"
    "  return r\n"
    "end\n"
    "local function alive(r) return r.state == LIVE and r.expires > now end\n"
    "local function last(k, px) if call('PTTL', k) < px then call('PEXPIRE', k, px) end end\n"
    /* Writes index entries and the record, changed or new. */
    "local function index(h, r)\n"
    "  local u, d, at = user(r.v), device(r.v), math.max(r.issued, 1)\n"
    "  local px = (r.state == LIVE and r.expires or r.ended) + tombstone - now\n"
    "  px = math.max(px, 0) + 3600000\n"
    "  call('SET', key(h), r.v, 'PX', px)\n"
    "  call('ZADD', END, r.state == LIVE and r.expires or -r.ended, h)\n"
    "  if alive(r) then\n"
    "    call('ZADD', u, at, h)\n"
    "    call('ZADD', d, at, h)\n"
    "    last(d, px)\n"
    "  else\n"
    "    call('ZADD', u, -at, h)\n"
    "    call('ZREM', d, h)\n"
    "  end\n"
    "  last(u, px)\n"
    "end\n"
    "local function put(h, r)\n"
    "  local v = r.v\n"
    "  local rest = sub(v, r.version == 2 and 71 or 62)\n"
    "  if r.flags ~= 0 then r.version = 2 end\n"
    "  local times = struct.pack('<i8i8', r.expires, r.ended)\n"
    "  if r.version == 2 then times = times .. struct.pack('<Bi8', r.flags, r.refresh) end\n"
    "  r.v = sub(v, 1, 32) .. string.char(r.version, r.class, r.state) .. sub(v, 36, 45) .. times .. rest\n"
    "  index(h, r)\n"
    "end\n"
    "local function tell(how, h) call('PUBLISH', P .. ':ended', how .. h) end\n"
    "local function revoke(h, r)\n"
    "  r.state, r.ended = REVOKED, now\n"
    "  put(h, r)\n"
    "  tell('r', h)\n"
    "end\n"
    /* A fault; silent: not told one by one. */
    "local function fault(h, r, what, silent)\n"
    "  if r.flags % 2 == 0 then r.flags = r.flags + 1 end\n"
    "  if what == 'forget' then r.state, r.ended = FORGOTTEN, now else r.expires = now end\n"
    "  put(h, r)\n"
    "  if what == 'expire' and not silent then tell('x', h) end\n"
    "end\n"
    /* The ticket behind an index entry, alive; entries of dead ones are set right. */
    "local function look(k, h, of_user)\n"
    "  local v = call('GET', key(h))\n"
    "  if not v then call('ZREM', k, h) return nil end\n"
    "  local r = parse(v)\n"
    "  if alive(r) then return r end\n"
    "  if of_user then call('ZADD', k, -math.max(r.issued, 1), h) else call('ZREM', k, h) end\n"
    "  return nil\n"
    "end\n";

/* ARGV: P, now, tombstone, hash, user key, device key, record, limits per user, per device, in all, evict.
 * Answers 0, 1: exists, 2: a limit. All limits are looked at before anything gives way. */
static const char issue_text[] =
    "local h, v = ARGV[4], ARGV[5] .. ARGV[6] .. ARGV[7]\n"
    "local per_user, per_device, total = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])\n"
    "local evict = ARGV[11] == '1'\n"
    "if call('EXISTS', key(h)) == 1 then return 1 end\n"
    "local r = parse(v)\n"
    /* those that have to go to make room for one more, oldest first; after a limit was lowered far, a few
       each time */
    "local function surplus(k, limit, of_user)\n"
    "  local found, most = {}, evict and limit + 15 or limit\n"
    "  if limit == 0 or call('ZCOUNT', k, '(0', '+inf') < limit then return found, 0 end\n"
    "  repeat\n" /* what is dead has left the range, what is alive has not */
    "    local some = call('ZRANGEBYSCORE', k, '(0', '+inf', 'LIMIT', #found, 100)\n"
    "    for _, m in ipairs(some) do\n"
    "      local t = look(k, m, of_user)\n"
    "      if t then found[#found + 1] = {m, t} end\n"
    "      if #found == most then break end\n"
    "    end\n"
    "  until #found == most or #some == 0\n"
    "  return found, #found - limit + 1\n"
    "end\n"
    "local function clear(found, n)\n"
    "  for i = 1, n do revoke(found[i][1], found[i][2]) end\n"
    "end\n"
    "if alive(r) then\n"
    "  local found, n = surplus(device(v), per_device, false)\n" /* first: its tickets are the user's too */
    "  if n > 0 and not evict then return 2 end\n"
    "  clear(found, n)\n"
    "  found, n = surplus(user(v), per_user, true)\n"
    "  if n > 0 and not evict then return 2 end\n"
    "  clear(found, n)\n"
    "  n = total == 0 and 0 or call('ZCOUNT', END, '(' .. ARGV[2], '+inf') - total + 1\n"
    "  if n > 0 and not evict then return 2 end\n"
    "  if n > 0 then\n"
    "    for _, m in ipairs(call('ZRANGEBYSCORE', END, '(' .. ARGV[2], '+inf', 'LIMIT', 0, math.min(n, 16))) "
    "do\n"
    "      local t = call('GET', key(m))\n"
    "      if t then revoke(m, parse(t)) else call('ZREM', END, m) end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "call('ZADD', ALL, 0, h)\n"
    "index(h, r)\n"
    "return 0\n";

/* ARGV: P, now, tombstone, hash. Answers nil, or whether it was good, and the record as it is now. */
static const char redeem_text[] = "local v = call('GET', key(ARGV[4]))\n"
                                  "if not v then return false end\n"
                                  "local r = parse(v)\n"
                                  "local good = alive(r)\n"
                                  "if good and r.class == 1 and r.refresh == 0 then\n"
                                  "  r.state, r.ended = USED, now\n"
                                  "  put(ARGV[4], r)\n"
                                  "end\n"
                                  "return {good and 1 or 0, sub(r.v, 33)}\n";

/* The same. */
static const char refresh_text[] = "local v = call('GET', key(ARGV[4]))\n"
                                   "if not v then return false end\n"
                                   "local r = parse(v)\n"
                                   "local good = alive(r)\n"
                                   "if good and r.refresh > 0 and now + r.refresh > r.expires then\n"
                                   "  r.expires = now + r.refresh\n"
                                   "  put(ARGV[4], r)\n"
                                   "end\n"
                                   "return {good and 1 or 0, sub(r.v, 33)}\n";

/* ARGV: P, now, tombstone, hash. Answers nil or 1. */
static const char revoke_text[] =
    "local v = call('GET', key(ARGV[4]))\n"
    "if not v then return false end\n"
    "local r = parse(v)\n"
    "if alive(r) then revoke(ARGV[4], r)\n"
    "elseif r.state ~= REVOKED and r.state ~= FORGOTTEN then tell('r', ARGV[4]) end\n"
    "return 1\n";

/* ARGV: P, now, tombstone, hash, "expire" or "forget". Answers nil or 1. */
static const char end_text[] = "local v = call('GET', key(ARGV[4]))\n"
                               "if not v then return false end\n"
                               "local r = parse(v)\n"
                               "if alive(r) then fault(ARGV[4], r, ARGV[5]) end\n"
                               "return 1\n";

/* ARGV: P, now, tombstone, what, batch size, user key or "", hash after which to go on or "", how many there
 * were in earlier batches. Answers how many, and the last hash looked at, or "" when there is nothing more.
 */
static const char sweep_text[] =
    "local what, limit, after, count, at = ARGV[4], tonumber(ARGV[5]), ARGV[7], 0, ''\n"
    "local hashes\n"
    "if ARGV[6] ~= '' then\n"
    "  local u = P .. ':u:' .. ARGV[6]\n"
    "  hashes = call('ZRANGEBYSCORE', u, '(0', '+inf', 'LIMIT', 0, limit)\n"
    "  for _, h in ipairs(hashes) do\n"
    "    local r = look(u, h, true)\n"
    "    if r then fault(h, r, what, false) count = count + 1 end\n"
    "  end\n"
    "else\n"
    "  hashes = call('ZRANGEBYLEX', ALL, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit)\n"
    "  for _, h in ipairs(hashes) do\n"
    "    local v = call('GET', key(h))\n"
    "    local r = v and parse(v)\n"
    "    if r and alive(r) then fault(h, r, what, true) count = count + 1 end\n"
    "  end\n"
    "end\n"
    "if #hashes == limit then at = hashes[limit] end\n"
    "if ARGV[6] == '' and at == '' and what == 'expire' and count + tonumber(ARGV[8]) > 0 then tell('x', '') "
    "end\n"
    "return {count, at}\n";

/* ARGV: P, now, tombstone, limit, user key or "", lowest hash, highest hash, "(" or "[" for the lowest,
 * fingerprint in lower case or "" (with a user: Lua compares strings by the server's locale). Answers pairs
 * of hash and record, one more than the limit where there are more. */
static const char list_text[] =
    "local limit, low, high, begin = tonumber(ARGV[4]) + 1, ARGV[6], ARGV[7], ARGV[9]\n"
    "local found, n = {}, 0\n"
    "local function take(k, h)\n"
    "  local v = call('GET', key(h))\n"
    "  if not v then call('ZREM', k, h) return end\n"
    "  found[#found + 1], found[#found + 2] = h, sub(v, 33)\n"
    "  n = n + 1\n"
    "end\n"
    "if ARGV[5] == '' then\n"
    "  local from = ARGV[8] .. low\n"
    "  while n < limit do\n"
    "    local hashes = call('ZRANGEBYLEX', ALL, from, '[' .. high, 'LIMIT', 0, limit - n)\n"
    "    for _, h in ipairs(hashes) do take(ALL, h) end\n"
    "    if #hashes == 0 then break end\n"
    "    from = '(' .. hashes[#hashes]\n"
    "  end\n"
    "  return found\n"
    "end\n"
    /* newest first: the live ones from the top of the set, the others from its bottom, merged by time */
    "local u = P .. ':u:' .. ARGV[5]\n"
    "local function walk(command, from, to)\n"
    "  local page, i, offset = {}, 1, 0\n"
    "  return function(next)\n"
    "    if next then i = i + 2 end\n"
    "    if i > #page then\n"
    "      page, i = call(command, u, from, to, 'WITHSCORES', 'LIMIT', offset, 100), 1\n"
    "      offset = offset + #page / 2\n"
    "    end\n"
    "    if page[i] then return page[i], math.abs(tonumber(page[i + 1])) end\n"
    "    return nil, -1\n"
    "  end\n"
    "end\n"
    "local up, down = walk('ZREVRANGEBYSCORE', '+inf', '(0'), walk('ZRANGEBYSCORE', '-inf', '(0')\n"
    "local a, a_at = up()\n"
    "local b, b_at = down()\n"
    "local gone = {}\n"
    "local function matches(h)\n"
    "  local digits = string.gsub(h, '.', function(c) return string.format('%02x', string.byte(c)) end)\n"
    "  return sub(digits, 1, #begin) == begin\n"
    "end\n"
    "while n < limit and (a or b) do\n"
    "  local h\n"
    "  if b == nil or (a and a_at >= b_at) then h = a a, a_at = up(true) else h = b b, b_at = down(true) "
    "end\n"
    "  if begin == '' or matches(h) then\n"
    "    local v = call('GET', key(h))\n"
    "    if v then\n"
    "      found[#found + 1] = h\n"
    "      found[#found + 1] = sub(v, 33)\n"
    "      n = n + 1\n"
    "    else gone[#gone + 1] = h end\n"
    "  end\n"
    "end\n"
    "for _, h in ipairs(gone) do call('ZREM', u, h) end\n"
    "return found\n";

/* ARGV: P, now, tombstone, limit. Answers how many went. */
static const char purge_text[] =
    "local cut = now - tombstone\n"
    "if cut < 0 then return 0 end\n"
    "local hashes = call('ZRANGEBYSCORE', END, -cut, cut, 'LIMIT', 0, tonumber(ARGV[4]))\n"
    "for _, h in ipairs(hashes) do\n"
    "  local v = call('GET', key(h))\n"
    "  if v then\n"
    "    call('ZREM', user(v), h)\n"
    "    call('ZREM', device(v), h)\n"
    "    call('DEL', key(h))\n"
    "  end\n"
    "  call('ZREM', ALL, h)\n"
    "  call('ZREM', END, h)\n"
    "end\n"
    "return #hashes\n";

#define ENDS_TOO                                                                                             \
    "#!lua flags=allow-oom\n" /* what only changes or removes tickets does so in a full server too */

const char redis_script_probe[] = ENDS_TOO "return 1\n";

static const struct {
    const char *head, *body;
} texts[REDIS_SCRIPTS] = {
    [STORE_ISSUE] = {"#!lua\n", issue_text},    [STORE_REDEEM] = {ENDS_TOO, redeem_text},
    [STORE_REFRESH] = {ENDS_TOO, refresh_text}, [STORE_REVOKE] = {ENDS_TOO, revoke_text},
    [STORE_END] = {ENDS_TOO, end_text},         [STORE_SWEEP] = {ENDS_TOO, sweep_text},
    [STORE_LIST] = {ENDS_TOO, list_text},       [STORE_PURGE] = {ENDS_TOO, purge_text},
};

/* SHA-1 is how Redis names scripts; nothing rests on its strength. */
static void name_script(struct redis_script *s)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t hash[20];
    if (!EVP_Digest(s->text, s->len, hash, NULL, EVP_sha1(), NULL))
        mem_wipe(hash, sizeof hash); /* an unknown name: the text goes along each time */
    for (size_t i = 0; i < sizeof hash; i++) {
        s->sha[2 * i] = digits[hash[i] >> 4];
        s->sha[2 * i + 1] = digits[hash[i] & 15];
    }
}

void redis_scripts_init(struct redis_script scripts[REDIS_SCRIPTS])
{
    for (size_t i = 0; i < REDIS_SCRIPTS; i++) {
        scripts[i] =
            (struct redis_script){.text = mem_printf("%s%s%s", texts[i].head, prelude, texts[i].body)};
        scripts[i].len = strlen(scripts[i].text);
        name_script(&scripts[i]);
    }
}

void redis_scripts_deinit(struct redis_script scripts[REDIS_SCRIPTS])
{
    for (size_t i = 0; i < REDIS_SCRIPTS; i++)
        free(scripts[i].text);
}
