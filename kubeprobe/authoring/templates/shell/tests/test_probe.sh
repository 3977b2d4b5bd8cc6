#!/bin/sh
# `sh tests/test_probe.sh` in the probe's folder.
set -eu

expect() { # CODE PATTERN DIRECTORY
    code=0
    said=$(DIRECTORY=$3 KUBEPROBE_REPORT_FILE=/dev/stdout sh probe.sh) || code=$?
    case $said in
    *"$2"*) [ "$code" = "$1" ] && return ;;
    esac
    echo "DIRECTORY='$3': exit code $code and $said; expected $1 and $2"
    exit 1
}

expect 0 '"ok":true' "${TMPDIR:-/tmp}"
expect 1 '"errors":["write: ' /nowhere/at/all
expect 2 '{"unknown":"parameter DIRECTORY is not set"}' ''
echo ok
