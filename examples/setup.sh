# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# setup.sh - what quickstart.sh and tests/run.sh share: install what is missing, build.
#
# Sourced, not run, with the root of the project as the working directory. Every function says what
# it does and is quick when there is nothing to do. On failure it says what to do and exits 3.

setup_log=.cache/setup.log

say() { printf '==> %s\n' "$*"; }

fail() {
  printf '%s\n' "$*" >&2
  exit 3
}

# Is what a Debian package brings here? Asks for the thing itself, so that a machine that has it
# from elsewhere installs nothing.
setup_has() {
  case $1 in
  gcc) command -v cc || command -v gcc ;;
  libc6-dev) printf '#include <stdio.h>\n' | cc -E - ;;
  ninja-build) command -v ninja ;;
  pkg-config) command -v pkg-config ;;
  liblua5.4-dev) pkg-config --exists lua5.4 ;;
  libcmocka-dev) pkg-config --exists cmocka ;;
  g++) command -v c++ || command -v g++ ;;
  python3-numpy) python3 -c 'import numpy' ;;
  python3-venv) python3 -c 'import ensurepip, venv' ;;
  *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

# Installs the Debian packages that are missing: setup_packages gcc meson ...
setup_packages() {
  missing=
  for package in "$@"; do
    setup_has "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0

  # $missing and $root are lists of words
  install="apt-get install -y --no-install-recommends$missing"
  command -v apt-get >/dev/null ||
    fail "Missing:$missing (the names of Debian packages). Install them and start this again."
  if [ "$(id -u)" = 0 ]; then
    root=
  elif sudo -n true 2>/dev/null; then
    root="sudo -n"
  else
    fail "Missing packages, and no right to install them. As root, run

    apt-get update && $install

and start this again."
  fi
  say "Installing$missing"
  mkdir -p .cache
  # shellcheck disable=SC2086
  if ! $root env DEBIAN_FRONTEND=noninteractive $install >"$setup_log" 2>&1; then
    # the lists of a fresh machine are empty, those of an old one name files that are gone
    $root apt-get update >>"$setup_log" 2>&1 || true
    $root env DEBIAN_FRONTEND=noninteractive $install >>"$setup_log" 2>&1 || {
      tail -n 20 "$setup_log" >&2
      fail "This failed (all of it: $setup_log). Run it by hand and start again:

    apt-get update && $install"
    }
  fi
}

# The first of these folders that holds an NVRTC of CUDA 12 or 13, or nothing.
setup_find_nvrtc() {
  for dir in "$@"; do
    for lib in "$dir"/libnvrtc.so.1[23]; do
      [ -e "$lib" ] || continue
      echo "$dir"
      return
    done
  done
}

# Is there an NVRTC where libmaskc looks by itself? (See MASKC_NVRTC_PATH in docs/HACKING.md.)
setup_has_nvrtc() {
  [ -z "${MASKC_NVRTC_PATH-}" ] || return 0
  for toolkit in "${CUDA_HOME-}" "${CUDA_PATH-}" /usr/local/cuda; do
    [ -n "$toolkit" ] || continue
    [ -z "$(setup_find_nvrtc "$toolkit"/lib64 "$toolkit"/lib "$toolkit"/targets/*/lib)" ] || return 0
  done
  PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -q 'libnvrtc\.so\.1[23] '
}

# The packages that fetching NVRTC takes, so that all that is missing is named at once.
setup_nvrtc_packages() {
  setup_has_nvrtc || [ -n "$(setup_find_wheel)" ] || echo python3-venv
}

setup_find_wheel() { setup_find_nvrtc "$PWD"/.venv/lib/python3*/site-packages/nvidia/*/lib; }

# NVRTC comes from a CUDA toolkit where there is one, else from NVIDIA's wheel, in a virtual
# environment inside the project. Sets nvrtc_dir to the wheel's folder, else to nothing.
setup_nvrtc() {
  nvrtc_dir=
  setup_has_nvrtc && return 0
  nvrtc_dir=$(setup_find_wheel)
  [ -z "$nvrtc_dir" ] || return 0
  say "No CUDA toolkit: fetching NVRTC alone, the wheel nvidia-cuda-nvrtc, into .venv"
  mkdir -p .cache
  { python3 -m venv .venv && .venv/bin/pip install --disable-pip-version-check nvidia-cuda-nvrtc; } \
    >"$setup_log" 2>&1 || true
  nvrtc_dir=$(setup_find_wheel)
  [ -n "$nvrtc_dir" ] || {
    tail -n 20 "$setup_log" >&2
    fail "No NVRTC: the wheel could not be installed (all of it: $setup_log). Either run

    python3 -m venv .venv && .venv/bin/pip install nvidia-cuda-nvrtc

or install a CUDA toolkit and set CUDA_HOME to it; then start this again."
  }
}

# Configures and builds DIR, quietly: setup_build DIR OPTION...
# Keeps a build that was configured like this before, and here: Meson's folders cannot be moved.
setup_build() {
  dir=$1
  shift
  mkdir -p .cache
  set -- "$@" "-Dnvrtc_dir=$nvrtc_dir"
  there=$(head -n 1 "$dir/.setup" 2>/dev/null) || there=$PWD
  if [ -f "$dir/build.ninja" ] && [ "$there" = "$PWD" ]; then
    if [ "$(tail -n 1 "$dir/.setup" 2>/dev/null)" != "$*" ]; then
      say "Configuring $dir again"
      meson configure "$dir" "$@" >"$setup_log" 2>&1 || setup_build_failed
    fi
  else
    say "Configuring $dir"
    [ ! -d "$dir/meson-private" ] || rm -rf "$dir"
    meson setup "$dir" "$@" >"$setup_log" 2>&1 || setup_build_failed
  fi
  printf '%s\n' "$PWD" "$*" >"$dir/.setup"
  if ! ninja -C "$dir" -n | grep -q 'no work to do'; then
    say "Building $dir"
    ninja -C "$dir" >"$setup_log" 2>&1 || setup_build_failed
  fi
}

setup_build_failed() {
  tail -n 40 "$setup_log" >&2
  printf '%s\n' "The build failed; all of it is in $setup_log." >&2
  exit 1
}
