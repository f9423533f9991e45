/* SPDX-License-Identifier: MIT
 * cmd_cache.c - maskc cache: what is kept on disk, and removing it.
 */
#define _POSIX_C_SOURCE 200809L /* gmtime_r */
#include "cli.h"

#include "../../runtime/cache.h"
#include "../../runtime/cache_dir.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* "512 bytes", "1.5 MiB" */
static void put_size(struct buf *out, uint64_t bytes) {
  static const char *const units[] = {"KiB", "MiB", "GiB"};
  double size = (double)bytes;
  int unit = -1;
  while (size >= 1024 && unit < 2) {
    size /= 1024;
    unit++;
  }
  if (unit < 0)
    buf_printf(out, "%" PRIu64 " bytes", bytes);
  else
    buf_printf(out, "%.*f %s", size < 9.95 ? 1 : 0, size, units[unit]);
}

static void put_entries(struct buf *out, const struct cache_usage *u) {
  buf_printf(out, "%zu %s, ", u->entries, u->entries == 1 ? "entry" : "entries");
  put_size(out, u->bytes);
}

static void put_time(struct buf *out, int64_t seconds) {
  const time_t t = (time_t)seconds;
  struct tm tm;
  char text[40];
  if (gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm))
    buf_puts(out, text);
}

static void usage_json(struct json *j, const char *key, const struct cache_usage *u) {
  json_object(j, key);
  json_integer(j, "entries", (int64_t)u->entries);
  json_integer(j, "bytes", (int64_t)u->bytes);
  json_end(j);
}

/* ---- path ---- */

/* Only the name: nothing is opened or made. */
static mkc_status show_path(struct cli *cli, struct error *err) {
  char dir[4096];
  if (!cache_dir_path(NULL, dir, sizeof dir))
    return error_set(err, MKC_E_SYSTEM,
                     "there is no cache directory: neither MASKC_CACHE_DIR nor XDG_CACHE_HOME nor "
                     "HOME names one");
  if (!cli->json) {
    buf_printf(&cli->out, "%s\n", dir);
    return MKC_OK;
  }
  struct json j = {.out = &cli->out};
  json_object(&j, NULL);
  json_string(&j, "dir", dir);
  json_end(&j);
  return MKC_OK;
}

/* ---- stat ---- */

struct cache_state {
  const char *dir, *why;
  bool usable;  /* entries are read and written */
  bool counted; /* usage is known */
  struct cache_usage usage;
  uint64_t max_bytes;
};

static void print_state(struct buf *out, const struct cache_state *s) {
  buf_printf(out, "directory  %s\n", *s->dir ? s->dir : "none");
  buf_printf(out, "state      %s%s\n", s->usable || s->counted ? "" : "in memory only: ", s->why);
  if (!s->counted) return;
  buf_puts(out, "holds      ");
  put_entries(out, &s->usage);
  if (s->max_bytes != UINT64_MAX) {
    buf_puts(out, " of ");
    put_size(out, s->max_bytes);
  }
  buf_puts(out, "\n");
  if (s->usage.entries == 0) return;
  buf_puts(out, "last used  ");
  put_time(out, s->usage.oldest);
  buf_puts(out, " (the oldest) to ");
  put_time(out, s->usage.newest);
  buf_puts(out, "\n");
}

static void state_json(struct buf *out, const struct cache_state *s) {
  struct json j = {.out = out};
  const bool dated = s->counted && s->usage.entries > 0;
  json_object(&j, NULL);
  json_string(&j, "dir", *s->dir ? s->dir : NULL);
  json_bool(&j, "usable", s->usable);
  json_string(&j, "state", s->why);
  json_number(&j, "entries", s->counted ? (double)s->usage.entries : HUGE_VAL);
  json_number(&j, "bytes", s->counted ? (double)s->usage.bytes : HUGE_VAL);
  json_number(&j, "max_bytes", s->max_bytes == UINT64_MAX ? HUGE_VAL : (double)s->max_bytes);
  json_number(&j, "oldest", dated ? (double)s->usage.oldest : HUGE_VAL);
  json_number(&j, "newest", dated ? (double)s->usage.newest : HUGE_VAL);
  json_end(&j);
}

static mkc_status show_state(struct cli *cli, struct cache *cache) {
  struct cache_state s = {.max_bytes = cache_max_bytes(cache)};
  s.usable = cache_usable(cache, &s.why);
  s.dir = cache_dir(cache);
  s.counted = cache_stat(cache, &s.usage);
  if (cli->json)
    state_json(&cli->out, &s);
  else
    print_state(&cli->out, &s);
  return MKC_OK;
}

/* ---- prune, clear ---- */

static mkc_status prune(struct cli *cli, struct cache *cache, uint64_t max_bytes,
                        struct error *err) {
  struct cache_usage removed, left;
  const mkc_status status = cache_prune(cache, max_bytes, &removed, &left, err);
  if (status && removed.entries == 0) return status;
  if (cli->json) {
    struct json j = {.out = &cli->out};
    json_object(&j, NULL);
    usage_json(&j, "removed", &removed);
    usage_json(&j, "left", &left);
    json_end(&j);
  } else {
    buf_puts(&cli->out, "removed  ");
    put_entries(&cli->out, &removed);
    buf_puts(&cli->out, "\nleft     ");
    put_entries(&cli->out, &left);
    buf_puts(&cli->out, "\n");
  }
  return status;
}

/* ---- the command ---- */

/* The limit of prune, from --max-bytes or the environment. */
static mkc_status prune_limit(const struct cli *cli, const struct cache *cache, uint64_t *ret,
                              struct error *err) {
  const char *text = args_text(&cli->args, OPTION_MAX_BYTES, NULL);
  *ret = cache_max_bytes(cache);
  if (!text || cache_size_parse(text, ret)) return MKC_OK;
  return error_set(err, MKC_E_USAGE, "--max-bytes=%s: expected bytes, as 500000, 500K, 64M or 2G",
                   text);
}

mkc_status cmd_cache(struct cli *cli, struct error *err) {
  const char *action = cli->args.operands[0];
  const bool is_prune = strcmp(action, "prune") == 0;
  if (!is_prune && args_flag(&cli->args, OPTION_MAX_BYTES))
    return error_set(err, MKC_E_USAGE, "--max-bytes is for 'maskc cache prune' alone");
  if (strcmp(action, "path") == 0) return show_path(cli, err);
  const struct cache_options options = {0};
  struct cache *cache = cache_create(&options);
  if (!cache) return error_set(err, MKC_E_OUT_OF_MEMORY, "out of memory");
  uint64_t max_bytes = 0;
  mkc_status status = is_prune ? prune_limit(cli, cache, &max_bytes, err) : MKC_OK;
  if (!status && strcmp(action, "stat") == 0)
    status = show_state(cli, cache);
  else if (!status && (is_prune || strcmp(action, "clear") == 0))
    status = prune(cli, cache, max_bytes, err);
  else if (!status)
    status = error_set(err, MKC_E_INTERNAL, "'maskc cache %s' is not done", action);
  cache_destroy(cache);
  return status;
}
