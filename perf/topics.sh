#!/usr/bin/env bash
# A broker with very many topics: how fast they are made, what they cost in memory, and how long it takes to start with them.
#
#   perf/topics.sh [TOPICS] [QUEUES] [used]        (default 125000 x 8: a million queues)
#
# With "used" every queue gets a message before the starts are measured, and a million messages more are sent before the last
# kill -9; routes, sends beside it and deletions are left out.
# Needs release builds of mqbroker and perfgen. BIN names their directory, DIR an empty one for the data (removed at the end),
# CONF further lines for broker.conf, PORT the broker's port (the name server is at PORT + 1).
set -euo pipefail
topics=${1:-125000} queues=${2:-8} used=${3:-}
bin=${BIN:-${CARGO_TARGET_DIR:-target}/release}
dir=${DIR:-$(mktemp -d)}
port=${PORT:-21911}
pid=

cat > "$dir/broker.conf" <<CONF
storePathRootDir=$dir/store
listenPort=$port
namesrvListenPort=$((port + 1))
${CONF:-}
CONF

cleanup() {
    if [[ -n $pid ]]; then kill -9 "$pid" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT

# Resident memory now and at most so far, MB.
memory() { awk '/VmRSS|VmHWM/ { value[$1] = int($2 / 1024) } END { print value["VmRSS:"] " MB resident, " value["VmHWM:"] " MB at most" }' "/proc/$pid/status"; }

# Starts the broker and waits until it answers; prints how long that took.
start() {
    local from=${EPOCHREALTIME/./}
    "$bin/mqbroker" -c "$dir/broker.conf" >> "$dir/out" 2>&1 &
    pid=$!
    until "$bin/perfgen" topics create --server "127.0.0.1:$port" --topic ready --topics 1 --queues 1 -c 1 > "$dir/ready" 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null; then tail -5 "$dir/out" >&2; exit 1; fi
    done
    echo "$1: answers after $(((${EPOCHREALTIME/./} - from) / 1000)) ms, $(memory)"
}

stop() {
    local from=${EPOCHREALTIME/./}
    kill "-$1" "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    echo "stopped by $1 in $(((${EPOCHREALTIME/./} - from) / 1000)) ms"
}

run() { "$bin/perfgen" topics "$@"; }

start "empty"
run create --server "127.0.0.1:$port" --topics "$topics" --queues "$queues"
echo "after creating: $(memory)"
if [[ $used == used ]]; then
    run fill --server "127.0.0.1:$port" --topics "$topics" --queues "$queues"
    echo "after a message in every queue: $(memory)"
    stop 9
    start "after kill -9"
    stop TERM
    start "after a clean stop"
    run fill --server "127.0.0.1:$port" --topics "$topics" --queues "$queues"
    echo "after one more: $(memory)"
    stop 9
    start "after kill -9"
    grep -h "shard" "$dir/out" | tail -4
    stop TERM
    start "after a clean stop"
    du -sh --apparent-size "$dir"/store/shard-*/checkpoint-*
    stop TERM
    exit
fi
stop 9
start "after kill -9"
stop TERM
start "after a clean stop"
run routes --server "127.0.0.1:$((port + 1))" --topics "$topics"
echo "after all routes: $(memory)"
"$bin/perfgen" send --broker "127.0.0.1:$port" --topic probe --create --queues 4 --rate 1000 -c 2 -d 8 -w 1s -q > "$dir/alone"
"$bin/perfgen" send --broker "127.0.0.1:$port" --topic probe --queues 4 --rate 1000 -c 2 -d 8 -w 1s -q > "$dir/beside" &
probe=$!
run create --server "127.0.0.1:$port" --topic more --topics "$topics" --queues 1 -c 2 -f 64
wait "$probe" || true
echo "send latency alone, then while creating:"
grep -h -i -E "p99|lat|sent" "$dir/alone" "$dir/beside" || cat "$dir/alone" "$dir/beside"
run delete --server "127.0.0.1:$port" --topic more --topics "$topics"
run delete --server "127.0.0.1:$port" --topics "$topics"
echo "after deleting: $(memory)"
stop TERM
start "after deleting and a clean stop"
stop TERM
