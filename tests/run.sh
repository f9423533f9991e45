#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh - sets up a machine and runs every test and check of the project.
#
#   sh tests/run.sh [--full]
#
# Installs what is missing, builds build/ and build-asan/, runs the suites of tests/meson.build, the
# unit and golden tests again under AddressSanitizer and UBSan, a little fuzzing, the formatter check,
# the linters.
# --full: a build with clang as well, and more shapes. The last line of the output is "N passed, N failed, N skipped".
# Exit status: 0 nothing failed, 1 something did, 2 usage, 3 something could not be installed.
set -u
cd "$(dirname "$0")/.." || exit 3
. examples/setup.sh

full=
case ${1-} in
'') ;;
--full) full=yes ;;
*)
  echo "usage: sh tests/run.sh [--full]" >&2
  exit 2
  ;;
esac

passed=0 failed=0 skipped=0
log=.cache/check.log
mkdir -p .cache

# What is running now, on a terminal; overwritten by what came of it.
progress() { [ ! -t 1 ] || printf '    %s ...\r' "$1"; }

# The cmocka tests in a log of meson test, one record a program, as "passed failed skipped". A
# program that dies counts as one failure, one that uses no cmocka as one test.
count() {
  awk '
    function flush() {
      if (!seen) return
      if (result !~ /exit status 0/ && f == 0) { if (result ~ /exit status 77/) s++; else f++ }
      else if (p + f + s == 0) p++
      P += p; F += f; S += s; p = f = s = 0; split("", names)
    }
    /^=+ [0-9]+\/[0-9]+ =+$/ { flush(); seen = 1; result = "" }
    /^result: / { result = $0 }
    /^\[       OK \] / { p++ }
    /^\[  FAILED  \] / && !/test\(s\), listed below/ { if (!($0 in names)) f++; names[$0] = 1 }
    /^\[  SKIPPED \] / && !/test\(s\)/ { if (!($0 in names)) s++; names[$0] = 1 }
    END { flush(); print P + 0, F + 0, S + 0 }' "$1"
}

# The records of the programs that failed.
print_failures() {
  awk '
    /^=+ [0-9]+\/[0-9]+ =+$/ { if (bad) printf "%s", text; text = ""; bad = 0 }
    /^result: / { bad = !/exit status (0|77)$/ }
    /^Summary of Failures/ { exit }
    { text = text $0 "\n" }
    END { if (bad) printf "%s", text }' "$1"
}

# suite BUILD NAME...: runs suites and adds up their tests.
suites() {
  build=$1
  shift
  progress "$build: $*"
  start=$(date +%s)
  base=$(echo "$*" | tr ' ' -)
  rm -f "$build/meson-logs/$base.txt"
  arguments=
  for name in "$@"; do
    arguments="$arguments --suite $name"
  done
  # shellcheck disable=SC2086
  meson test -C "$build" --no-rebuild --logbase "$base" $arguments >"$log" 2>&1
  status=$?
  # shellcheck disable=SC2046
  set -- "$*" $(count "$build/meson-logs/$base.txt" 2>/dev/null || echo 0 0 0)
  if [ "$status" != 0 ] && [ "$3" = 0 ]; then
    cat "$log"
    set -- "$1" "$2" 1 "$4"
  elif [ "$3" != 0 ]; then
    print_failures "$build/meson-logs/$base.txt"
  fi
  passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
  say "$build: $1: $2 passed, $3 failed, $4 skipped ($(($(date +%s) - start)) s)"
}

# check NAME COMMAND...: one test, which passes when the command succeeds, and is skipped at 77.
check() {
  label=$1
  shift
  progress "$label"
  start=$(date +%s)
  "$@" >"$log" 2>&1
  case $? in
  0) passed=$((passed + 1)) verdict=passed ;;
  77) skipped=$((skipped + 1)) verdict="skipped: $(tail -n 1 "$log")" ;;
  *)
    failed=$((failed + 1)) verdict=FAILED
    grep -E '(error|warning): ' "$log" | head -n 20
    tail -n 40 "$log"
    ;;
  esac
  say "$label: $verdict ($(($(date +%s) - start)) s)"
}

# Our C files; what maskc emitted (tests/golden) is formatted by its template.
sources() {
  find gen runtime examples tests \( -name '*.[ch]' -o -name '*.cpp' \) ! -path '*/golden/*' \
    ! -path '*/specs/*'
}

# Other versions of clang-format format other things; Debian 12 has 14.
check_format() {
  clang-format --version | grep -q 'version 14\.' || {
    echo "clang-format is not version 14"
    return 77
  }
  sources | xargs clang-format --dry-run -Werror
}

# Without what compilers see better (uninitvar) and what this one gets wrong (a macro of luaconf.h, a
# table slot that is looked up again).
check_cppcheck() {
  cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr -j 2 \
    --suppress='*:*embedded.c' --suppress=preprocessorErrorDirective \
    --suppress=identicalInnerCondition --suppress=uninitvar --suppress=legacyUninitvar \
    --suppress='*:tests/*' --error-exitcode=1 --project=build/compile_commands.json
}

check_tidy() {
  (cd build && sed -n 's/.*"file": "\(.*\)".*/\1/p' compile_commands.json | grep -vE 'embedded\.c|\.S$' |
    sort -u | xargs -n 4 -P 2 clang-tidy --quiet -p .)
}

# What docs/ARCHITECTURE.md promises of the folders, and nothing but the API in the library.
check_layers() {
  ! grep -nE '#include <(cuda|nvrtc)' gen runtime examples -r --include='*.[ch]' &&
    ! grep -nE '#include [<"]([^"]*/)?(ir|plan|front|lua|lauxlib)\.h' runtime -r --include='*.[ch]' &&
    ! grep -n '#include "../runtime/' gen/*.[ch] | grep -vE 'runtime/(base/|source\.h)' &&
    ! grep -nE '__global__|__shared__|__syncthreads' gen -r --include='*.[ch]' &&
    ! nm -D --defined-only build/libmaskc.so | grep -v ' mkc_'
}

# Meson asks this too, but only when it configures.
check_listed() {
  for file in tests/test_*.c; do
    test=${file#tests/test_}
    grep -q "\['${test%.c}'," tests/meson.build || {
      echo "$file is not listed in tests/meson.build"
      return 1
    }
  done
}

# What `meson install` puts in place, and how a program finds it there.
install_maskc() {
  at=$PWD/build/installed
  rm -rf "$at"
  DESTDIR=$at meson install -C build --no-rebuild --quiet || return 1
  pc=$(find "$at" -name maskc.pc) || return 1
  lib=${pc%/pkgconfig/maskc.pc}
  export PKG_CONFIG_SYSROOT_DIR="$at" PKG_CONFIG_PATH="${pc%/maskc.pc}" LD_LIBRARY_PATH="$lib"
  export MASKC_CACHE_DIR="$PWD/build/test-cache"
}

# Programs built by hand, with pkg-config alone: C, with the shared and the static library, C++; and
# Python, which needs the library only.
check_install() (
  install_maskc || exit 1
  flags=$(pkg-config --cflags --libs maskc)
  static=$(pkg-config --static --cflags --libs maskc | sed 's/-lmaskc/-l:libmaskc.a/')
  # shellcheck disable=SC2086
  cc examples/01_simple_gla.c -o "$at/c" $flags -lm -ldl && "$at/c" cpu &&
    cc examples/03_own_spec.c -o "$at/static" $static && "$at/static" &&
    ! ldd "$at/static" | grep maskc &&
    c++ -std=c++17 examples/04_host.cpp -o "$at/cpp" $flags && "$at/cpp" || exit 1
  python3 examples/05_numpy.py libmaskc.so.0 || [ $? = 77 ]
)

# tests/host/ in a folder of its own, with further arguments for meson setup.
build_host() {
  host=$PWD/build/host
  rm -rf "$host"
  mkdir -p "$host" && cp tests/host/meson.build examples/0*.c examples/0*.cpp "$host" || return 1
  [ $# = 0 ] || { mkdir "$host/subprojects" && cp "$1" "$host/subprojects"; } || return 1
  meson setup "$host/build" "$host" && ninja -C "$host/build" &&
    meson test -C "$host/build" --print-errorlogs
}

# A separate Meson project, with the installed library and program.
check_meson() (
  install_maskc && PATH=$(dirname "$(find "$at" -name maskc -type f -perm -1)"):$PATH || exit 1
  build_host
)

# The same with maskc as its subproject, by a wrap file as docs/c-api.md has it.
check_wrap() (
  printf '[wrap-git]\nurl = file://%s\nrevision = HEAD\n\n[provide]\n%s\n%s\n' "$PWD" \
    'dependency_names = maskc' 'program_names = maskc' >.cache/maskc.wrap
  build_host .cache/maskc.wrap
)

# What a few seconds of fuzzing find, from the kept inputs on: check_fuzz NAME OPTION|FOLDER... What
# breaks it stays in build-fuzz/.
check_fuzz() {
  name=$1
  found=build-fuzz/found/$name
  shift
  mkdir -p "$found"
  "build-fuzz/tests/fuzz/fuzz_$name" -max_total_time=5 -rss_limit_mb=3000 -timeout=20 \
    -max_len=4096 -artifact_prefix="$found-" "$found" "$@"
}

# The library without the generator: no Lua, and the same names.
check_pack_only() {
  (setup_build build-packs -Dgenerator=false) &&
    ! readelf -d build-packs/libmaskc.so | grep NEEDED | grep lua &&
    names=$(nm -D --defined-only build/libmaskc.so | cut -d ' ' -f 3) &&
    [ "$names" = "$(nm -D --defined-only build-packs/libmaskc.so | cut -d ' ' -f 3)" ]
}

check_scripts() { shellcheck -x examples/*.sh tests/*.sh .ci/run; }

# shellcheck disable=SC2046 # a list of words
setup_packages gcc libc6-dev meson ninja-build pkg-config liblua5.4-dev libcmocka-dev \
  g++ python3-numpy clang clang-format clang-tidy cppcheck shellcheck $(setup_nvrtc_packages)
setup_nvrtc

# build DIR OPTION...: one failure when it does not build.
build() {
  (setup_build "$@") && return
  failed=$((failed + 1))
  say "$1: FAILED to build"
  return 1
}

fuzz() {
  export CC=clang
  build build-fuzz -Dfuzz=true -Dtests=false -Db_lundef=false && {
    check "fuzzing specs" check_fuzz spec -dict=tests/fuzz/spec.dict tests/specs tests/specs_bad
    check "fuzzing .npy files" check_fuzz npy tests/fuzz/seeds/npy
    check "fuzzing cache entries" check_fuzz cache_entry tests/fuzz/seeds/cache_entry
    check "fuzzing packs" check_fuzz pack -max_len=8192 tests/fuzz/seeds/pack
  }
  unset CC
}

# A second compiler, the op over all its shapes, and more random specs.
full_run() {
  export CC=clang
  build build-clang -Dtests=true && suites build-clang unit golden cpu
  unset CC
  check "a wrap file" check_wrap
  check "op_sweep --full" build/tests/op_sweep cpu --full
  check "property, 600 cases" build/tests/test_property --cases 600
  check "mutate --full" build/tests/mutate --full
}

if build build -Dtests=true; then
  suites build unit golden
  suites build cpu
  suites build nvrtc
  [ -z "$full" ] || full_run
  # werror: gcc's warnings misfire in instrumented code
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  build build-asan -Dtests=true -Dwerror=false -Db_sanitize=address,undefined -Db_lundef=false &&
    suites build-asan unit golden
  check "install, pkg-config" check_install
  check "install, Meson" check_meson
  check "without the generator" check_pack_only
  check "cppcheck" check_cppcheck
  check "clang-tidy" check_tidy
  fuzz
fi
check "layers" check_layers
check "tests are listed" check_listed
check "setup" sh tests/setup_test.sh
check "clang-format" check_format
check "shellcheck" check_scripts

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
