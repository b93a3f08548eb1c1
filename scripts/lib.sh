# Shared by the scripts in this folder; source it: . "$(dirname "$0")/lib.sh"
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${DRUPE_CACHE:-${HOME:-/root}/.cache/drupe}
export DRUPE_CACHE=$cache

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }

# step TITLE COMMAND...: runs it, says how long it took, keeps its exit status.
step_times=()
step() {
  local title=$1 started=$SECONDS rc=0
  shift
  printf '\n==> %s\n' "$title" >&2
  "$@" || rc=$?
  local took=$((SECONDS - started))
  step_times+=("$(printf '%5d s  %s%s' "$took" "$title" "$([ "$rc" -eq 0 ] || echo "  FAILED ($rc)")")")
  printf '==> %s: %s after %d s\n' "$title" "$([ "$rc" -eq 0 ] && echo done || echo "FAILED ($rc)")" "$took" >&2
  return "$rc"
}

print_step_times() { [ ${#step_times[@]} -eq 0 ] || printf '%s\n' '' 'Time by step:' "${step_times[@]}" >&2; }

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root (packages, namespaces, KVM): run it with sudo"; }
