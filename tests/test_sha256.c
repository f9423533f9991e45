/* SPDX-License-Identifier: MIT
 * The digests that NIST publishes (FIPS 180-4 examples, and the SHA-256 test vectors), and that a
 * message's digest does not depend on how it is cut into updates.
 */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"

static void expect(const void *data, size_t len, const char *hex) {
  unsigned char digest[SHA256_BYTES];
  char text[2 * SHA256_BYTES + 1];
  sha256(data, len, digest);
  sha256_hex(digest, text);
  assert_string_equal(text, hex);
}

static void test_nist(void **state) {
  (void)state;
  expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  expect("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
         "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         112, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  expect("\xbd", 1, "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b");
  expect("\xc9\x8c\x8e\x55", 4, "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504");
}

static void expect_repeated(int byte, size_t len, const char *hex) {
  char *data = malloc(len);
  assert_non_null(data);
  memset(data, byte, len);
  expect(data, len, hex);
  free(data);
}

/* Lengths around the padding's edges, and longer messages. */
static void test_nist_repeated(void **state) {
  (void)state;
  expect_repeated(0, 55, "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7");
  expect_repeated(0, 56, "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb");
  expect_repeated(0, 57, "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785");
  expect_repeated(0, 64, "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
  expect_repeated(0, 1000, "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53");
  expect_repeated('A', 1000, "c2e686823489ced2017f6059b8b239318b6364f6dcd835d0a519105a1eadd6e4");
  expect_repeated('a', 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_updates(void **state) {
  (void)state;
  unsigned char data[300], whole[SHA256_BYTES], parts[SHA256_BYTES];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 7 + 1);
  sha256(data, sizeof data, whole);
  for (size_t step = 1; step <= sizeof data; step++) {
    struct sha256 s;
    sha256_init(&s);
    for (size_t at = 0; at < sizeof data; at += step)
      sha256_update(&s, data + at, at + step < sizeof data ? step : sizeof data - at);
    sha256_finish(&s, parts);
    assert_memory_equal(parts, whole, sizeof whole);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nist),
      cmocka_unit_test(test_nist_repeated),
      cmocka_unit_test(test_updates),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
