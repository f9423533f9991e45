#!/bin/sh
# SPDX-License-Identifier: MIT
# setup_test.sh - examples/setup.sh on machines that lack things: stand-ins for id, sudo and apt-get
# in a PATH that has little else. Prints what went wrong; exit status 0 when nothing did.
# shellcheck disable=SC2016 # the scripts that expect runs expand there
set -u
cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/maskc-setup-XXXXXX")
trap 'rm -rf "$dir"' EXIT
failed=0

for tool in sh cat dirname env mkdir rm tail grep; do
  ln -s "$(command -v $tool)" "$dir/$tool"
done

# stub NAME BODY: a program that appends its arguments to $dir/calls, then runs BODY.
stub() {
  printf '#!%s/sh\necho "%s $*" >>%s/calls\n%s\n' "$dir" "$1" "$dir" "$2" >"$dir/$1"
  chmod +x "$dir/$1"
}

# expect STATUS OUTPUT CALLS SCRIPT: runs SCRIPT after setup.sh in a folder of its own.
expect() {
  rm -f "$dir/calls"
  mkdir -p "$dir/tree"
  output=$(cd "$dir/tree" && PATH=$dir sh -c "set -eu; . '$OLDPWD/examples/setup.sh'; $4" 2>&1)
  status=$?
  calls=$(cat "$dir/calls" 2>/dev/null)
  [ "$status" = "$1" ] || { echo "$4: exit status $status, not $1" && failed=1; }
  case $output in
  *"$2"*) ;;
  *) echo "$4: printed '$output', not '$2'" && failed=1 ;;
  esac
  [ "$calls" = "$3" ] || { echo "$4: called '$calls', not '$3'" && failed=1; }
}

install="apt-get install -y --no-install-recommends meson ninja-build"

expect 3 "Missing: meson ninja-build (the names of Debian packages)" "" \
  'setup_packages meson ninja-build'

stub id 'echo 1000'
stub apt-get 'exit 1'
expect 3 "    apt-get update && $install" "id -u" 'setup_packages meson ninja-build'

stub sudo 'exit 1'
expect 3 "    apt-get update && $install" "id -u
sudo -n true" 'setup_packages meson ninja-build'

stub id 'echo 0'
expect 3 "This failed" "id -u
$install
apt-get update
$install" 'setup_packages meson ninja-build'

stub apt-get "[ \"\$1\" != update ] || exit 0; [ -e $dir/updated ] && exit 0; : >$dir/updated; exit 1"
expect 0 "==> Installing meson ninja-build
done" "id -u
$install
apt-get update
$install" 'setup_packages meson ninja-build; echo done'

stub meson ''
stub ninja ''
expect 0 "done" "" 'setup_packages meson ninja-build; echo done'

# NVRTC: named, in a toolkit, in the wheel's place, nowhere
expect 0 "<>" "" 'MASKC_NVRTC_PATH=/x setup_nvrtc; echo "<$nvrtc_dir>"'
mkdir -p "$dir/toolkit/lib64"
: >"$dir/toolkit/lib64/libnvrtc.so.12"
expect 0 "<>" "" "CUDA_HOME=$dir/toolkit; setup_nvrtc; echo \"<\$nvrtc_dir>\""
if [ ! -e /usr/local/cuda ] && ! PATH=$PATH:/sbin ldconfig -p 2>/dev/null | grep -q libnvrtc; then
  unset CUDA_HOME CUDA_PATH
  stub python3 'exit 1'
  expect 3 "python3 -m venv .venv && .venv/bin/pip install" "python3 -m venv .venv" 'setup_nvrtc'
  expect 0 "python3-venv" "" 'setup_nvrtc_packages'
  wheel=.venv/lib/python3.11/site-packages/nvidia/cu13/lib
  mkdir -p "$dir/tree/$wheel"
  : >"$dir/tree/$wheel/libnvrtc.so.13"
  expect 0 "/$wheel>" "" 'setup_nvrtc; echo "<$nvrtc_dir>"'
fi
exit $failed
