#!/bin/sh
# SPDX-License-Identifier: MIT
# quickstart.sh - from a fresh Debian 12 machine to a running kernel.
#
#   sh examples/quickstart.sh
#
# Installs what is missing, builds maskc in build/, then does the main job on specs/simple_gla.lua:
# understand it, draw it, emit its CUDA kernel, compile that for two GPUs, run it and compare it with
# the float64 reference. A second start has nothing to install or build and takes seconds.
# Exit status: 0 done, 3 something is missing and could not be installed, else that of maskc.
set -eu
cd "$(dirname "$0")/.."
. examples/setup.sh

spec=specs/simple_gla.lua
out=build/quickstart
maskc=build/gen/cli/maskc

# shellcheck disable=SC2046 # a list of words
setup_packages gcc libc6-dev meson ninja-build pkg-config liblua5.4-dev \
  $(setup_nvrtc_packages)
setup_nvrtc
tests=false
[ ! -f build/.setup ] || ! grep -q 'tests=true' build/.setup || tests=true
setup_build build "-Dtests=$tests"
mkdir -p "$out"

# Runs maskc, after showing how to do the same by hand.
run() {
  echo
  say "maskc $*"
  "$maskc" "$@"
}

say "The spec, $spec:"
echo
sed 's/^/    /' "$spec"
run check "$spec"
run show "$spec"
run build "$spec" --emit=cu --arch=sm_90a -o "$out/simple_gla.cu"
run build "$spec" --emit=cubin --arch=sm_80,sm_90a -o "$out/%n.%a.cubin"
run run "$spec" --device cpu --shape B=1,T=200,H=2,dk=64,dv=64
if "$maskc" doctor | grep -q '^--device cuda *ready'; then
  run run "$spec" --device cuda:0 --shape B=8,T=8192,H=16,dk=128,dv=128
else
  echo
  say "No GPU here (maskc doctor says why): the CPU device ran the same emitted source."
fi
echo
say "The kernel: $out/simple_gla.cu ($(wc -l <"$out/simple_gla.cu") lines, worth reading)"
for cubin in "$out"/*.cubin; do
  say "Its cubin:  $cubin ($(wc -c <"$cubin") bytes)"
done
say "Next: change $spec and start this again, or see '$maskc help'."
