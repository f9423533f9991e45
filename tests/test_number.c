/* SPDX-License-Identifier: MIT
 * test_number.c - tests gen/cli/number.c: rounding to the 16-bit types.
 */
#include "support.h"

#include "cli/number.h"

#include <math.h>
#include <string.h>

/* Every value of the type comes back as itself. */
static void all_values_survive(void **state) {
  (void)state;
  for (unsigned u = 0; u < 0x10000; u++) {
    const uint16_t x = (uint16_t)u;
    const float b = bf16_to_float(x), h = fp16_to_float(x);
    assert_true(isnan(b) ? isnan(bf16_to_float(bf16_from_float(b))) : bf16_from_float(b) == x);
    assert_true(isnan(h) ? isnan(fp16_to_float(fp16_from_float(h))) : fp16_from_float(h) == x);
  }
}

/* Halfway between neighbours goes to the even one; a little more or less, to the nearer. */
static void halves_go_to_even(void **state) {
  (void)state;
  for (unsigned u = 0; u < 0x7bff; u++) {
    const uint16_t even = (uint16_t)(u & 1 ? u + 1 : u);
    const float bf16 = (bf16_to_float((uint16_t)u) + bf16_to_float((uint16_t)(u + 1))) / 2;
    const float fp16 = (fp16_to_float((uint16_t)u) + fp16_to_float((uint16_t)(u + 1))) / 2;
    assert_int_equal(bf16_from_float(bf16), even);
    assert_int_equal(fp16_from_float(fp16), even);
    assert_int_equal(fp16_from_float(-fp16), even | 0x8000);
    assert_int_equal(bf16_from_float(nextafterf(bf16, INFINITY)), u + 1);
    assert_int_equal(fp16_from_float(nextafterf(fp16, INFINITY)), u + 1);
    assert_int_equal(bf16_from_float(nextafterf(bf16, 0)), u);
    assert_int_equal(fp16_from_float(nextafterf(fp16, 0)), u);
  }
}

static void ends_of_the_range(void **state) {
  (void)state;
  assert_int_equal(bf16_from_float(3.4028234e38f), 0x7f80); /* FLT_MAX is nearer to 2^128 */
  assert_int_equal(bf16_from_float(-INFINITY), 0xff80);
  assert_int_equal(fp16_from_float(65519.0f), 0x7bff);
  assert_int_equal(fp16_from_float(65520.0f), 0x7c00);
  assert_int_equal(fp16_from_float(1e30f), 0x7c00);
  assert_int_equal(fp16_from_float(-0.0f), 0x8000);
}

static void nan_stays_nan(void **state) {
  (void)state;
  /* the payload is in the bits that are cut off */
  const uint32_t bits[] = {0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000};
  for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
    float x;
    memcpy(&x, &bits[i], sizeof x);
    assert_true(isnan(bf16_to_float(bf16_from_float(x))));
    assert_true(isnan(fp16_to_float(fp16_from_float(x))));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_values_survive),
      cmocka_unit_test(halves_go_to_even),
      cmocka_unit_test(ends_of_the_range),
      cmocka_unit_test(nan_stays_nan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
