#!/bin/sh
# Writes a file into DIRECTORY and reads it again.
#
# A probe without any library: it writes JSON to $KUBEPROBE_REPORT_FILE and exits with 0 (ok), 1 (not ok) or
# 2 (could not find out). Run by hand, it prints the report.
set -u

report=${KUBEPROBE_REPORT_FILE:-/dev/stdout}
directory=${DIRECTORY:-}
steps=

# A JSON string of a text: one line of printable ASCII, and not endless.
quoted() {
    printf '%s' "$1" | tr '\n\t' '  ' | LC_ALL=C tr -cd '\040-\176' | cut -c 1-500 | sed 's/[\\"]/\\&/g; s/^/"/; s/$/"/'
}

milliseconds() {
    awk '{printf "%d", $1 * 1000}' /proc/uptime
}

# step NAME COMMAND...: run it, time it; if it fails, report what it said and end.
step() {
    name=$1
    shift
    began=$(milliseconds)
    if said=$("$@" 2>&1); then ok=true; else ok=false; fi
    took=$(($(milliseconds) - began))
    steps="$steps${steps:+,}{\"name\":$(quoted "$name"),\"ms\":$took,\"ok\":$ok}"
    [ "$ok" = true ] || fail "$name: $said"
}

fail() {
    printf '{"ok":false,"errors":[%s],"steps":[%s]}\n' "$(quoted "$1")" "$steps" >"$report"
    exit 1
}

give_up() {
    printf '{"unknown":%s}\n' "$(quoted "$1")" >"$report"
    exit 2
}

write() {
    printf '%s' "$text" >"$file"
}

compare() {
    found=$(cat "$file") && [ "$found" = "$text" ] || { echo "$file does not hold what was written"; return 1; }
}

[ -n "$directory" ] || give_up "parameter DIRECTORY is not set"
file=$directory/probe.$$
text="written by ${KUBEPROBE_RUN_ID:-hand}"
trap 'rm -f "$file"' EXIT
trap 'exit 143' TERM INT # who is killed has not found out: no report

step write write
step read compare
printf '{"ok":true,"errors":[],"steps":[%s],"metrics":{"bytes":%d}}\n' "$steps" "${#text}" >"$report"
