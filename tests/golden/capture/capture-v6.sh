#!/usr/bin/env bash
# Called by capture.sh inside a network namespace of its own: the same with IPv6 addresses only.
set -euo pipefail
ip link set lo up
ip addr add fd00::9/128 dev lo
ip addr add fd00::a/128 dev lo
SERVER='[fd00::9]' ANNOUNCED='[fd00::a]'
source "$HERE/servers.sh"
trap stop_all EXIT
rm -rf "$RUN/store"
proxy
namesrv
broker six
for version in 4.9.8 5.3.3; do
  play_java $version ipv6 send_answer
  play_java $version $BINARY ipv6
done
