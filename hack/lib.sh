# shellcheck shell=bash
# Functions that the scripts in hack/ share. Progress goes to stderr, one line per step, with the
# seconds since the first script of the run started. stdout is for results (a path, an image name).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=$ROOT/.tools
# Builds and downloads are cached per user, under names that contain the hash of their inputs, so
# that all clones on a machine share them. .tools has links to them, and the files of one clone.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mynetwork-converter
LOGS=$TOOLS/logs
export HACK_STARTED=${HACK_STARTED:-$(date +%s)}
export PATH=$TOOLS/bin:$PATH
mkdir -p "$TOOLS/bin" "$TOOLS/kube" "$LOGS" "$CACHE"

BASE_IMAGE=debian:trixie-slim
# shellcheck disable=SC2034 # used by the scripts that source this file
KUBERNETES_VERSION=v1.37.2 ETCD_VERSION=3.7.0-0

step() { printf '[%4ds] %s\n' "$(($(date +%s) - HACK_STARTED))" "$*" >&2; }

die() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# run_logged NAME COMMAND…: writes the output to .tools/logs/NAME.log; on error also to stderr.
run_logged() {
  local log=$LOGS/$1.log
  shift
  "$@" >"$log" 2>&1 || {
    local code=$?
    tail -n 40 "$log" >&2
    die "\`$*\` failed with exit code $code; its whole output is in $log"
  }
}

# thrice COMMAND…: tries a command up to three times. An exec into a container that has just
# started sometimes fails with `read init-p: connection reset by peer`.
thrice() {
  "$@" || { sleep 1 && "$@"; } || { sleep 5 && "$@"; }
}

# hash_of WORD…: prints 16 digits of the hash of its arguments and standard input.
# shellcheck disable=SC2120 # the words are optional
hash_of() { { printf '%s\n' "$@" && cat; } | sha256sum | cut -c1-16; }

# locked NAME COMMAND…: runs one such command at a time, over all clones of this user.
locked() {
  local what=$1
  shift
  (
    flock --nonblock 9 || {
      step "waiting for another run to finish with: $what"
      flock 9
    }
    "$@"
  ) 9>"$CACHE/$what.lock"
}

is_root() { [ "$(id -u)" = 0 ]; }

is_debian_like() { command -v apt-get >/dev/null && [ -e /etc/debian_version ]; }

# apt_install PACKAGE…: installs missing packages. The caller has checked for root and Debian.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  step "installing Debian packages: ${missing[*]}"
  run_logged apt-update apt-get update
  run_logged apt-install env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# Prints the mirror that this machine's apt uses.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016 # apt's own variables
  mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Component: main' 2>/dev/null |
    awk '/\/debian\/?$/ && !found { found = $0 } END { print found }')
  [ -n "$mirror" ] || die "apt has no Debian mirror on this machine (see /etc/apt/sources.list.d)"
  printf '%s\n' "$mirror"
}

# Prints the mirror of Debian's security suite. If apt uses none, that beside the mirror.
debian_security_mirror() {
  local mirror
  # shellcheck disable=SC2016 # apt's own variables
  mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Component: main' 2>/dev/null |
    awk '/\/debian-security\/?$/ && !found { found = $0 } END { print found }')
  [ -n "$mirror" ] || { mirror=$(debian_mirror) && mirror=${mirror%/}-security; }
  printf '%s\n' "$mirror"
}

# Succeeds if a container registry responds. The result is kept for ten minutes, so that a run does
# not wait for a timeout at every image, and does not mix pulled and built images.
registry_answers() {
  local verdict=$TOOLS/registry
  if [ -z "$(find "$verdict" -mmin -10 2>/dev/null)" ]; then
    if timeout 5 docker manifest inspect "$BASE_IMAGE" >/dev/null 2>&1; then
      echo yes >"$verdict"
      step "a container registry answers: using published images"
    else
      echo no >"$verdict"
      step "no container registry answers: building images from Debian packages and Go modules"
    fi
  fi
  [ "$(cat "$verdict")" = yes ]
}

# kind_clusters PATTERN: prints the names of matching kind clusters, including half-deleted ones.
kind_clusters() {
  docker ps --all --format '{{.Label "io.x-k8s.kind.cluster"}}' 2>/dev/null |
    sort -u | grep -xE "$1" || true
}
