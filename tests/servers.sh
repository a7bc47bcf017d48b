#!/usr/bin/env bash
# Brings the real servers that the tests run against: tests/servers.sh kafka PYTHON | redis | chromium | wrk
# What cannot be had is said in red, and its tests are skipped (CLICKTIDE_REQUIRE_KAFKA=1: an error).
set -uo pipefail
cd "$(dirname "$0")"
LOG=$(mktemp) && trap 'rm -f "$LOG"' EXIT

have() { type -P "$1" >/dev/null; } # a program: functions here have the names of some

missing() { # WHAT ENDS_WITH
    if [ -n "${NO_COLOR:-}" ]; then echo "$1" >&2; else printf '\033[1;31m%s\033[0m\n' "$1" >&2; fi
    exit "$2"
}

apt() { # nothing asks, no service is started, and no lock or mirror holds us for long
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 timeout -k 10 300 apt-get \
        -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 -y "$@" </dev/null >>"$LOG" 2>&1
}

install() { # PACKAGES: by Debian's apt, where we may
    if [ "$(id -u)" != 0 ] || ! have apt-get; then return 1; fi
    echo "installing $* (once)"
    apt install --no-install-recommends "$@" && return
    apt update && apt install --no-install-recommends "$@" && return
    tail -n 5 "$LOG" >&2
    return 1
}

kafka() { # PYTHON
    local required=$((${CLICKTIDE_REQUIRE_KAFKA:+1} + 0))
    case "${CLICKTIDE_TEST_KAFKA:-start}" in
        start) ;;
        off) missing "KAFKA WILL NOT BE TESTED: CLICKTIDE_TEST_KAFKA=off" 0 ;;
        *) return 0 ;; # a broker of the user's
    esac
    have java || install default-jre-headless
    if ! have java; then
        missing "KAFKA WILL NOT BE TESTED: no java. Fix: install a Java runtime 17 or newer" "$required"
    fi
    "$1" kafka/broker_jars.py >"$LOG" 2>&1 && return # they are there, or Maven is
    have mvn || { install maven && "$1" kafka/broker_jars.py >"$LOG" 2>&1 && return; }
    missing "KAFKA WILL NOT BE TESTED: $(tail -n 3 "$LOG")" "$required"
}

redis() {
    have redis-server || install redis-server
    have redis-server ||
        missing "REDIS WILL NOT BE TESTED: no redis-server on the PATH. Fix: install Redis" 0
}

chromium() {
    have chromium || install chromium
    have chromium ||
        missing "PAGES WILL NOT BE TESTED: no chromium on the PATH. Fix: install Chromium" 0
}

wrk() {
    have wrk || install wrk
    have wrk || missing "NO wrk ON THE PATH: a slower load generator stands in. Fix: install wrk" 0
}

"$@"
