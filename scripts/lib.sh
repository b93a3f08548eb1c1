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

# help_if_asked "$@": for -h and --help prints the comment at the script's head, and ends.
help_if_asked() {
  case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
}

need_root() { [ "$(id -u)" -eq 0 ] || die "needs root (packages, namespaces, KVM): run it with sudo"; }

# end_daemons FOLDER: those that commands have started for a $DRUPE_ROOT in it, or that is it.
end_daemons() {
  local file pid
  for file in $(find "$1" -maxdepth 3 -name druped.pid 2> /dev/null); do
    pid=$(cat "$file")
    kill "$pid" 2> /dev/null || continue
    for _ in $(seq 100); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
  done
}
