/* SPDX-License-Identifier: MIT
 * test_pack_find.c - pack_find.c and pack_target.c: which op of a pack serves a request, which
 * architecture of it a GPU gets, and what is the nearest where none does.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "pack_fixture.h"

struct world {
  struct buf bytes;
  struct pack *pack;
};

static int setup(void **state) {
  struct world *w = calloc(1, sizeof *w);
  struct error err = {0};
  *state = w;
  return w && fixture_pack(0, &w->bytes) &&
                 !pack_open_memory(w->bytes.data, w->bytes.len, &w->pack, &err)
             ? 0
             : -1;
}

static int teardown(void **state) {
  struct world *w = *state;
  pack_close(w->pack);
  buf_finish(&w->bytes);
  free(w);
  return 0;
}

/* ---- targets ---- */

static int rank(const char *target, const char *code, enum pack_kind kind, int smem) {
  struct pack_target t = {.smem_bytes = smem};
  struct pack_code c = {.kind = kind, .source = {.smem_bytes = 100000}};
  snprintf(t.arch, sizeof t.arch, "%s", target);
  snprintf(c.source.arch, sizeof c.source.arch, "%s", code);
  return pack_target_rank(&t, &c);
}

static void test_what_runs_where(void **state) {
  (void)state;
  static const struct {
    const char *target;
    const char *runs[6], *not [6]; /* the best first */
  } cases[] = {
      {"sm_90a", {"sm_90a", "sm_90"}, {"sm_80", "sm_100a", "sm_100f", "sm_89"}},
      {"sm_90", {"sm_90", "sm_90a"}, {"sm_80", "sm_91"}},
      {"sm_89", {"sm_89", "sm_87", "sm_86", "sm_80"}, {"sm_90", "sm_75", "sm_90a"}},
      {"sm_80", {"sm_80"}, {"sm_86", "sm_90a"}},
      {"sm_103a", {"sm_103a", "sm_103f", "sm_100f", "sm_103", "sm_100"}, {"sm_100a", "sm_110f"}},
      {"sm_100a", {"sm_100a", "sm_100f", "sm_100"}, {"sm_103f", "sm_103", "sm_90"}},
      {"sm_121", {"sm_121", "sm_121a", "sm_120f", "sm_120"}, {"sm_120a", "sm_100f", "sm_110"}},
      {"sm_x", {NULL}, {"sm_80", "sm_x", "sm_-80", "80", ""}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int before = 1 << 30;
    for (int j = 0; j < 6 && cases[i].runs[j]; j++) {
      const int r = rank(cases[i].target, cases[i].runs[j], PACK_CUBIN, 0);
      assert_in_range(r, 1, before - 1);
      before = r;
    }
    for (int j = 0; j < 6 && cases[i].not [j]; j++)
      assert_int_equal(rank(cases[i].target, cases[i].not [j], PACK_CUBIN, 0), 0);
  }
}

static void test_ptx_comes_last(void **state) {
  (void)state;
  assert_true(rank("sm_120", "sm_80", PACK_PTX, 0) > 0);
  assert_true(rank("sm_120", "sm_86", PACK_PTX, 0) > rank("sm_120", "sm_80", PACK_PTX, 0));
  assert_true(rank("sm_86", "sm_80", PACK_CUBIN, 0) > rank("sm_86", "sm_86", PACK_PTX, 0));
  assert_int_equal(rank("sm_120", "sm_90a", PACK_PTX, 0), 0);
  assert_int_equal(rank("sm_120", "sm_100f", PACK_PTX, 0), 0);
  assert_int_equal(rank("sm_80", "sm_90", PACK_PTX, 0), 0);
}

static void test_shared_memory_has_to_fit(void **state) {
  (void)state;
  assert_true(rank("sm_86", "sm_80", PACK_CUBIN, 100000) > 0);
  assert_int_equal(rank("sm_86", "sm_80", PACK_CUBIN, 99999), 0);
  assert_int_equal(rank("sm_86", "sm_80", PACK_PTX, 99999), 0);
}

static void test_source_is_for_the_host(void **state) {
  (void)state;
  struct pack_target host = {.arch = "sm_80", .host = true, .any = true};
  struct pack_code code = {.kind = PACK_SOURCE, .source = {.arch = "sm_90a"}};
  assert_int_equal(rank("sm_80", "sm_80", PACK_SOURCE, 0), 0);
  const int other = pack_target_rank(&host, &code);
  assert_true(other > 0);
  strcpy(code.source.arch, "sm_80");
  assert_true(pack_target_rank(&host, &code) > other);
  host.any = false; /* the caller named an architecture */
  strcpy(code.source.arch, "sm_90a");
  assert_int_equal(pack_target_rank(&host, &code), 0);
}

/* ---- requests ---- */

static bool find(const struct world *w, const struct pack_request *r, struct pack_match *ret) {
  struct error err = {0};
  bool found;
  assert_int_equal(pack_find(w->pack, r, &found, ret, &err), MKC_OK);
  return found;
}

static void test_by_name(void **state) {
  struct pack_match m;
  struct pack_request r = fixture_request("sm_90a");
  assert_true(find(*state, &r, &m));
  assert_string_equal(m.code.source.arch, "sm_90a");
  assert_int_equal(m.code.kind, PACK_CUBIN);
  r = fixture_request("sm_86");
  assert_true(find(*state, &r, &m));
  assert_string_equal(m.code.source.arch, "sm_80");
  r = fixture_request("sm_120");
  assert_true(find(*state, &r, &m));
  assert_int_equal(m.code.kind, PACK_PTX);
  r.target.smem_bytes = 49999;
  assert_false(find(*state, &r, &m));
}

static void test_what_differs_is_not_it(void **state) {
  struct pack_match m;
  struct pack_request r = fixture_request("sm_80");
  const struct pack_request good = r;
  assert_true(find(*state, &r, &m));
  r.name = "to";
  assert_false(find(*state, &r, &m));
  r.name = "zzz";
  assert_false(find(*state, &r, &m));
  r = good, r.dk = 128;
  assert_false(find(*state, &r, &m));
  r = good, r.dv = 32;
  assert_false(find(*state, &r, &m));
  r = good, r.dtype = MKC_F16;
  assert_false(find(*state, &r, &m));
  r = good, r.pass = MKC_STEP;
  assert_false(find(*state, &r, &m));
  r = good, r.chunk = 32;
  assert_false(find(*state, &r, &m));
  r = good, r.chunk = 64;
  assert_true(find(*state, &r, &m));
  r = good, r.dv = 128; /* source alone */
  assert_false(find(*state, &r, &m));
  r.target.host = true;
  assert_true(find(*state, &r, &m));
}

static void test_by_digest(void **state) {
  unsigned char digest[SHA256_BYTES];
  struct pack_match m;
  struct pack_request r = fixture_request("sm_80");
  r.name = NULL;
  r.digest = digest;
  sha256(toy_text, strlen(toy_text), digest);
  assert_true(find(*state, &r, &m));
  digest[31] ^= 1;
  assert_false(find(*state, &r, &m));
}

static int window_of(const struct world *w, const struct pack_match *m) {
  struct pack_spec s;
  struct pack_option o;
  pack_spec_at(w->pack, m->op.spec, &s);
  pack_option_at(w->pack, s.first_option, &o);
  return o.value;
}

static void test_settings(void **state) {
  struct pack_match m;
  struct pack_request r = fixture_request("sm_80");
  mkc_setting settings[] = {{"window", 8}, {"taps", 4}};
  assert_true(find(*state, &r, &m));
  assert_int_equal(window_of(*state, &m), 64); /* the default */
  r.settings = settings;
  r.nsettings = 1;
  assert_true(find(*state, &r, &m));
  assert_int_equal(window_of(*state, &m), 8);
  settings[0].value = 64;
  assert_true(find(*state, &r, &m));
  assert_int_equal(window_of(*state, &m), 64);
  settings[0].value = 16;
  assert_false(find(*state, &r, &m));
  settings[0].value = 64;
  r.nsettings = 2; /* toy has no taps */
  assert_false(find(*state, &r, &m));
}

/* An op for arrays that are aligned less serves those that are aligned more, not the reverse. */
static void test_alignment(void **state) {
  struct pack_match m;
  struct pack_request r = fixture_request("sm_80");
  r.name = "wide";
  r.pass = MKC_STEP;
  r.dtype = MKC_F32;
  r.dk = r.dv = 32;
  static const int asked[] = {0, 16, 8, 4, 2}, got[] = {16, 16, 4, 4, 0};
  for (int i = 0; i < 5; i++) {
    r.align = asked[i];
    assert_int_equal(find(*state, &r, &m), got[i] != 0);
    if (got[i]) assert_int_equal(m.op.align, got[i]);
  }
}

static void test_nearest(void **state) {
  const struct world *w = *state;
  struct buf out = {0};
  struct pack_request r = fixture_request("sm_80");
  r.dv = 100;
  assert_true(pack_nearest(w->pack, &r, &out) > 0);
  assert_string_equal(buf_text(&out), "toy window=8 forward bf16 dk=64 dv=64, for sm_80");
  buf_finish(&out);
  r.name = "wide";
  assert_true(pack_nearest(w->pack, &r, &out) > 0);
  assert_string_equal(buf_text(&out), "wide step fp32 dk=32 dv=32 align=4, for sm_80");
  buf_finish(&out);
  r.name = "nothing";
  assert_int_equal(pack_nearest(w->pack, &r, &out), 0);
  assert_int_equal(out.len, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_runs_where),
      cmocka_unit_test(test_ptx_comes_last),
      cmocka_unit_test(test_shared_memory_has_to_fit),
      cmocka_unit_test(test_source_is_for_the_host),
      cmocka_unit_test(test_by_name),
      cmocka_unit_test(test_what_differs_is_not_it),
      cmocka_unit_test(test_by_digest),
      cmocka_unit_test(test_settings),
      cmocka_unit_test(test_alignment),
      cmocka_unit_test(test_nearest),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
