# shellcheck shell=bash
# What the scripts of hack/ share. Progress goes to stderr, one line a step with the seconds since
# the first script of a run began; stdout is for results (a path, an image name).
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=$ROOT/.tools
# Builds and downloads are kept per user, under names made of their inputs' hash, so that every
# clone on a machine finds them; .tools holds links into it and what belongs to one clone.
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/mynetwork-converter
LOGS=$TOOLS/logs
export HACK_STARTED=${HACK_STARTED:-$(date +%s)}
export PATH=$TOOLS/bin:$PATH
mkdir -p "$TOOLS/bin" "$TOOLS/kube" "$LOGS" "$CACHE"

BASE_IMAGE=debian:trixie-slim
# shellcheck disable=SC2034 # used by those who include this
KUBERNETES_VERSION=v1.37.2

step() { printf '[%4ds] %s\n' "$(($(date +%s) - HACK_STARTED))" "$*" >&2; }

die() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# run_logged NAME COMMAND…: its output goes to .tools/logs/NAME.log, and to the reader if it fails.
run_logged() {
  local log=$LOGS/$1.log
  shift
  "$@" >"$log" 2>&1 || {
    local code=$?
    tail -n 40 "$log" >&2
    die "\`$*\` failed with exit code $code; all of its output is in $log"
  }
}

# thrice COMMAND…: for what asks a container that has only just started. An exec fails now and then
# there, with `read init-p: connection reset by peer`.
thrice() {
  "$@" || { sleep 1 && "$@"; } || { sleep 5 && "$@"; }
}

# hash_of WORD…: 16 digits over the words on the command line and standard input.
# shellcheck disable=SC2120 # there may be no words
hash_of() { { printf '%s\n' "$@" && cat; } | sha256sum | cut -c1-16; }

# locked NAME COMMAND…: one at a time over all clones of this user.
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

# apt_install PACKAGE…: only those that are missing; the caller has made sure of root and Debian.
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

# The mirror this machine's own apt is set up with.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016 # apt's own variables
  mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Component: main' 2>/dev/null |
    awk '/\/debian\/?$/ && !found { found = $0 } END { print found }')
  [ -n "$mirror" ] || die "apt knows no Debian mirror on this machine (see /etc/apt/sources.list.d)"
  printf '%s\n' "$mirror"
}

# Whether a container registry can be used. Asked once, for ten minutes: a run must not pay a
# time-out for every image, nor mix pulled and built ones.
registry_answers() {
  local verdict=$TOOLS/registry
  if [ -z "$(find "$verdict" -mmin -10 2>/dev/null)" ]; then
    if timeout 5 docker manifest inspect "$BASE_IMAGE" >/dev/null 2>&1; then
      echo yes >"$verdict"
      step "a container registry answers: published images are used"
    else
      echo no >"$verdict"
      step "no container registry answers: images are built from Debian packages and Go modules"
    fi
  fi
  [ "$(cat "$verdict")" = yes ]
}

# kind_clusters PATTERN: the names of kind's clusters that match, half-deleted ones included.
kind_clusters() {
  docker ps --all --format '{{.Label "io.x-k8s.kind.cluster"}}' 2>/dev/null |
    sort -u | grep -xE "$1" || true
}
