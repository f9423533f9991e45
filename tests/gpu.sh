#!/bin/sh
# SPDX-License-Identifier: MIT
# gpu.sh - what only a GPU can show: the conformance kernels against the CPU device, the sweep of ops
# against the float64 reference, packs, compute-sanitizer, and times beside the card's copy bandwidth.
#
#   sh tests/gpu.sh BUILD [OUT]       BUILD: a build folder; OUT: where full logs go (default BUILD)
#
# Ends in a line "N passed, N failed". Exit 0 only if all passed.
set -u
build=${1:?usage: sh tests/gpu.sh BUILD [OUT]}
out=${2:-$build}
device=${MASKC_TEST_DEVICE:-cuda:0}
maskc=$build/gen/cli/maskc
sweep=$build/tests/op_sweep
property=$build/tests/test_property
conformance=$build/tests/conformance
passed=0
failed=0

# step NAME LOG COMMAND...: runs it, shows the log's last line
step() {
  name=$1
  log=$out/$2
  shift 2
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    verdict=ok
  else
    failed=$((failed + 1))
    verdict=FAILED
  fi
  printf '%-6s %-34s %s\n' "$verdict" "$name" "$(tail -n 1 "$log")"
}

sanitizer() {
  compute-sanitizer --tool "$1" --error-exitcode 9 "$sweep" "$device"
}

sanitizer_of_decode() {
  MASKC_TEST_DEVICE=$device compute-sanitizer --tool "$1" --error-exitcode 9 "$build/tests/$2"
}

# A run that is compared with the reference (exit 5 when it is out of tolerance) and timed.
timed() {
  "$maskc" run "$1" --pass "$pass" ${positions:+--positions "$positions"} --device "$device" \
    --shape "$2" --repeat 21 --reference
}

# Ops from a pack of these architectures, where there is no compiler and no cache: from_pack ARCHS
from_pack() {
  "$maskc" build simple_gla --emit=pack --arch="$1" --dk=64 --dv=64 --pass=forward,step \
    -o "$out/$1.mkp" || return
  for pass in forward step; do
    MASKC_NVRTC_PATH=/nonexistent MASKC_CACHE_DISABLE=1 "$maskc" run simple_gla --pass "$pass" \
      --pack "$out/$1.mkp" --device "$device" -v || return
  done
}

step "conformance, GPU = CPU device" conformance.log "$conformance" --device "${device#cuda:}" --record "$out/conformance.gpu"
step "sweep against the reference" sweep.log "$sweep" "$device" --full
step "decode, pools, drafts" decode.log env MASKC_TEST_DEVICE="$device" "$build/tests/test_step"
step "prefill in pieces" pieces.log env MASKC_TEST_DEVICE="$device" "$build/tests/test_pieces"
step "offsets beyond 2^32" big_offsets.log env MASKC_TEST_DEVICE="$device" "$build/tests/test_big_offsets"
for name in fenwick fenwick_eager delta normaliser; do
  step "test_$name" "$name.log" env MASKC_TEST_DEVICE="$device" "$build/tests/test_$name"
done
step "decode under a Fenwick mask" fenwick.log env MASKC_TEST_DEVICE="$device" "$build/tests/test_step_fenwick"
step "random specs against the reference" property.log "$property" --device "$device" --cases 100
step "a pack, cubins" pack.log from_pack all
step "a pack, its PTX" ptx.log from_pack sm_121
if command -v compute-sanitizer >/dev/null 2>&1; then
  for tool in memcheck racecheck synccheck initcheck; do
    step "compute-sanitizer $tool" "$tool.log" sanitizer "$tool"
    step "compute-sanitizer $tool, decode" "$tool.decode.log" sanitizer_of_decode "$tool" test_step
    step "compute-sanitizer $tool, fenwick" "$tool.fenwick.log" sanitizer_of_decode "$tool" test_step_fenwick
  done
fi
# measure SHAPE SPEC..., of the pass in $pass, at the position in $positions
positions=
measure() {
  shape=$1
  shift
  for spec; do
    timing=$(echo "$(basename "$spec" .lua).$pass.$shape${positions:+.$positions}.log" | tr ',=' '_-')
    step "$spec $shape${positions:+ at $positions}" "$timing" timed "$spec" "$shape"
    grep -E 'error|time|moved' "$out/$timing" | sed 's/^/         /'
  done
}
pass=forward
measure B=8,T=8192,H=16,dk=128,dv=128 linear_attention retnet lightning2 simple_gla gla hgrn2 kda
measure B=8,T=2048,H=33,dk=64,dv=64 linear_attention retnet lightning2 simple_gla gla hgrn2 kda
measure B=2,T=32768,H=48,Hqk=1,dk=128,dv=64 mamba2_core mamba2
pass=step
specs=$(dirname "$0")/specs
set -- linear_attention simple_gla mamba2 deltanet gated_deltanet gla kda gdn2 "$specs/rwkv7.lua"
measure B=256,T=1,H=32,dk=128,dv=128 "$@"
measure B=32,T=4,H=32,dk=128,dv=128 "$@"
measure B=3,T=9,H=4,Hqk=2,dk=60,dv=100 "$@"
measure B=5,T=1,H=8,dk=256,dv=256 "$@"
# under a Fenwick mask: 13 slots are live, and 1 after the token; 7, and 7
for positions in 8191 5461; do
  measure B=256,T=1,H=32,dk=128,dv=128 log_linear_attention log_linear_mamba2 \
    "$specs/log_linear_gated_deltanet.lua" "$specs/log_linear_kda.lua"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
