#!/usr/bin/env bash
# capture.sh <directory with the jars of an Apache broker>: takes the golden frames again (needs JDK 17, Maven, Go, Python 3).
# env: BUILD=directory for the compiled scenarios  KEEP=1 leaves everything recorded behind
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
JARS=$1
RUN=$(mktemp -d)
BUILD=${BUILD:-$RUN/build}
SERVER=127.0.0.1 ANNOUNCED=127.0.0.2
source "$HERE/servers.sh"
cleanup() {
  stop_all
  [ -n "${KEEP:-}" ] && echo "kept $RUN" || rm -rf "$RUN"
}
trap cleanup EXIT

"$HERE/../../interop/build.sh" "$BUILD"
proxy

# First as registrations in the compact form that ask for the version before they register.
namesrv
broker small compressedRegister=true forceRegister=false
stop_last

# Then as installed, for every client in both spellings.
broker plain
EVERYTHING=(--groups core,more,slow,pop,sql)
for version in 4.9.8 5.3.3; do
  play_java $version "${EVERYTHING[@]}"
  play_java $version $BINARY "${EVERYTHING[@]}"
  play_java $version -Dorg.apache.rocketmq.client.sendSmartMsg=false quick_start request_reply
done
play_go -groups core,more,slow
stop_last
stop_last

# Then with servers that write binary headers themselves: the Apache broker answers and pushes in its own spelling, not the asker's.
SERVER_FLAG=$BINARY
namesrv
broker binary
for version in 4.9.8 5.3.3; do
  play_java $version $BINARY retry_once transaction_check_back create_topic view_by_offset_id transaction_ends \
    quick_start batch_send orderly pull_consumer pull_outside pull_tags pull_unknown_topic pull_long_poll search_offset request_reply \
    sql_push sql_refused query_by_key lite_subscribe broadcasting size_over
done
play_go go_quick_start go_orderly go_request_reply go_transaction
stop_all

# Last on a host without IPv4, where both hosts in a record are longer.
export HERE RUN JARS BUILD
unshare -rn "$HERE/capture-v6.sh" || echo "no network namespace: no IPv6 frames" >&2

python3 "$HERE/choose.py" "$RUN/frames" "$HERE/.." $NS
