#!/usr/bin/env bash
# run.sh [--quick|--all] [--namesrv host:port] [--keep]
# Plays the scenarios with the real clients: Java 4.9.8, Java 5.3.3 and Go, and prints a table and, last, "N passed, N failed".
#   --quick    what must hold for a first message end to end (the default)
#   --all      everything: slow ones, POP, SQL92, both header spellings throughout, a network namespace with IPv6 only
#   --namesrv  a cluster that runs already; without it mqbroker is built, started on free ports with an empty data directory, and
#              restarted once in between (MQBROKER=path takes that binary instead of building one)
#   --keep     leaves logs and data behind and says where
# INTEROP_BUILD names where classes and jars are kept from one run to the next (default: target/interop).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
BUILD=${INTEROP_BUILD:-${CARGO_TARGET_DIR:-$ROOT/target}/interop}
MODE=quick NAMESRV='' KEEP=''
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) MODE=quick;;
    --all) MODE=all;;
    --namesrv) NAMESRV=$2; shift;;
    --keep) KEEP=1;;
    *) sed -n 2,10p "$0"; exit 2;;
  esac
  shift
done
for tool in java javac mvn go; do command -v $tool > /dev/null || { echo "interop needs $tool" >&2; exit 2; }; done

RUN=$(mktemp -d)
SUFFIX=$(date +%s)$RANDOM
BROKER_PID=''
finish() {
  [ -n "$BROKER_PID" ] && kill "$BROKER_PID" 2>/dev/null && wait "$BROKER_PID" 2>/dev/null
  [ -n "$KEEP" ] && echo "logs and data: $RUN" || rm -rf "$RUN"
}
trap finish EXIT
trap 'exit 130' INT TERM

listening() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_ports() { # sets NS_PORT and PORT (and leaves PORT - 2 free)
  local base
  for _ in $(seq 1 100); do
    base=$((20000 + RANDOM % 20000))
    listening $base || listening $((base + 8)) || listening $((base + 10)) || { NS_PORT=$base PORT=$((base + 10)); return; }
  done
  echo "no free ports" >&2; exit 2
}
write_conf() { # file, data directory
  printf '%s\n' "listenPort=$PORT" "namesrvListenPort=$NS_PORT" "storePathRootDir=$2" > "$1"
}
start_broker() {
  local before
  # Its own word counts, not the port: that may still be open in the remains of a killed predecessor.
  before=$(grep -c 'is ready after' "$RUN/broker.out" 2>/dev/null || true)
  "$MQBROKER" -c "$RUN/broker.conf" >> "$RUN/broker.out" 2>&1 &
  BROKER_PID=$!
  for _ in $(seq 1 200); do
    [ "$(grep -c 'is ready after' "$RUN/broker.out")" -gt "${before:-0}" ] && return 0
    kill -0 "$BROKER_PID" 2>/dev/null || break
    sleep 0.1
  done
  echo "the broker did not come up:" >&2; tail -20 "$RUN/broker.out" >&2
  exit 1
}
stop_broker() { # its exit code is the answer
  local code=0
  kill "$BROKER_PID"
  wait "$BROKER_PID" || code=$?
  BROKER_PID=''
  return $code
}

java_run() { # label, client version, properties and arguments...
  local label=$1 version=$2; shift 2
  local properties=()
  while [[ ${1:-} == -D* ]]; do properties+=("$1"); shift; done
  mkdir -p "$RUN/home-$label"
  java -Xmx600m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "${properties[@]}" -Dinterop.home="$RUN/home-$label" \
    -cp "$BUILD/java-$version/classes:$BUILD/java-$version/lib/*" interop.Main --namesrv "$NAMESRV" "$@" > "$RUN/$label.result" 2> "$RUN/$label.err" \
    || grep -q '^FAIL' "$RUN/$label.result" || echo "FAIL $label the client's process failed: $(tail -1 "$RUN/$label.err")" >> "$RUN/$label.result"
}
go_run() { # label, arguments...
  local label=$1; shift
  "$BUILD/go/interop" -namesrv "$NAMESRV" "$@" > "$RUN/$label.result" 2> "$RUN/$label.err" \
    || grep -q '^FAIL' "$RUN/$label.result" || echo "FAIL $label the client's process failed: $(tail -1 "$RUN/$label.err")" >> "$RUN/$label.result"
}
verdict() { # label, scenario, exit code, text
  if [ "$3" = 0 ]; then echo "PASS $2"; else echo "FAIL $2 $4"; fi >> "$RUN/$1.result"
}

"$HERE/build.sh" "$BUILD" 2>&1 | grep -v '^\s*$' | grep -v '^Note:' | sed 's/\x1b\[[0-9;]*m//g' | grep . >&2 || true
OURS=''
if [ -z "$NAMESRV" ]; then
  OURS=1
  if [ -z "${MQBROKER:-}" ]; then
    (cd "$ROOT" && cargo build --release -q -p ringmq-shards --bin mqbroker)
    MQBROKER=${CARGO_TARGET_DIR:-$ROOT/target}/release/mqbroker
  fi
  free_ports
  NAMESRV=127.0.0.1:$NS_PORT
  write_conf "$RUN/broker.conf" "$RUN/store"
  start_broker
fi

BINARY=-Drocketmq.serialize.type=ROCKETMQ
GROUPS_=core${OURS:+,ringmq}
[ $MODE = all ] && GROUPS_=$GROUPS_,more,slow,pop,sql
BASICS=(quick_start async_send batch_send oneway_send chosen_queue orderly pull_consumer lite_subscribe push_tags)
java_run java-4.9.8 4.9.8 --suffix "a$SUFFIX" --parallel 3 --groups "$GROUPS_" & JOBS=($!)
java_run java-5.3.3 5.3.3 --suffix "b$SUFFIX" --parallel 3 --groups "$GROUPS_" & JOBS+=($!)
go_run go-2.1.2 -suffix "c$SUFFIX" -parallel 3 -groups "core$([ $MODE = all ] && echo ,more,slow)" & JOBS+=($!)
wait "${JOBS[@]}"
if [ $MODE = all ]; then BASICS=(--groups core,more,sql); fi
java_run java-4.9.8-binary 4.9.8 $BINARY --suffix "d$SUFFIX" --parallel 3 "${BASICS[@]}" & JOBS=($!)
java_run java-5.3.3-binary 5.3.3 $BINARY --suffix "e$SUFFIX" --parallel 3 "${BASICS[@]}" & JOBS+=($!)
java_run ipv6 5.3.3 --suffix "f$SUFFIX" ipv6 & JOBS+=($!)
wait "${JOBS[@]}"

if [ -n "$OURS" ]; then
  java_run before-restart 5.3.3 --suffix "g$SUFFIX" offsets_before
  code=0; stop_broker || code=$?
  verdict before-restart broker_stops_with_0 $code "exit code $code"
  start_broker
  java_run after-restart 5.3.3 --suffix "g$SUFFIX" offsets_after
  # The older client lets its pulls time out before it goes on, which takes up to 30 s.
  for version in 5.3.3 $([ $MODE = all ] && echo 4.9.8); do
    java_run through-restart-$version $version --suffix "i$SUFFIX" through_restart & JOB=$!
    sleep 6
    kill -9 "$BROKER_PID"; wait "$BROKER_PID" 2>/dev/null || true
    start_broker
    wait $JOB
  done
  stop_broker || true
  echo autoCreateTopicEnable=false >> "$RUN/broker.conf"
  start_broker
  java_run no-auto-create 5.3.3 --suffix "h$SUFFIX" auto_create_refused
  if [ $MODE = all ]; then
    # A host whose only global address is IPv6: there the Java client's own message ids have 56 digits too.
    if unshare -rn true 2>/dev/null; then
      export MQBROKER RUN NS_PORT PORT BUILD
      unshare -rn "$HERE/ipv6-only.sh" > "$RUN/ipv6-only.result" 2> "$RUN/ipv6-only.err" || true
      grep -q '^PASS\|^FAIL' "$RUN/ipv6-only.result" || echo "FAIL ipv6-only $(tail -1 "$RUN/ipv6-only.err")" >> "$RUN/ipv6-only.result"
    else
      echo "SKIP ipv6-only no network namespaces for this user" > "$RUN/ipv6-only.result"
    fi
  fi
fi

PASSED=0 FAILED=0
for result in "$RUN"/*.result; do
  label=$(basename "$result" .result)
  p=$(grep -c '^PASS' "$result" || true) f=$(grep -c '^FAIL' "$result" || true) s=$(grep -c '^SKIP' "$result" || true)
  printf '%-18s %3d passed %3d failed %3d skipped\n' "$label" "$p" "$f" "$s"
  grep '^FAIL\|^SKIP' "$result" | sed 's/^/    /' || true
  PASSED=$((PASSED + p)) FAILED=$((FAILED + f))
done
[ -n "$KEEP" ] && grep -H '^PASS' "$RUN"/*.result | sed "s|$RUN/||" > "$RUN/passed.txt"
echo "$PASSED passed, $FAILED failed"
[ $FAILED = 0 ]
