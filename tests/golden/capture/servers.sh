# Sourced by capture.sh and capture-v6.sh: an Apache name server and broker that listen on $SERVER but announce $ANNOUNCED, where the
# recording proxy answers on the same ports. Wants RUN, JARS, BUILD, SERVER and ANNOUNCED (IPv6 addresses in brackets).
NS=39876 BROKER=40911
BINARY=-Drocketmq.serialize.type=ROCKETMQ
PIDS=()

until_says() { # file, text
  for _ in $(seq 1 200); do grep -q "$2" "$1" 2>/dev/null && return 0; sleep 0.2; done
  echo "no '$2' in $1:" >&2; tail -20 "$1" >&2; return 1
}
stop_last() {
  kill "${PIDS[-1]}"
  wait "${PIDS[-1]}" || true
  unset 'PIDS[-1]'
}
stop_all() { while [ ${#PIDS[@]} -gt 0 ]; do stop_last 2>/dev/null; done; }

proxy() {
  python3 "$HERE/proxy.py" "$RUN/frames" "$ANNOUNCED:$NS=$SERVER:$NS" "$ANNOUNCED:$BROKER=$SERVER:$BROKER" > "$RUN/proxy.out" &
  PIDS+=($!)
  until_says "$RUN/proxy.out" ready
}
apache() { # name, main class, arguments...
  local name=$1; shift
  rm -f "$RUN/$name.out"
  ROCKETMQ_HOME=$RUN java ${SERVER_FLAG:-} -Xms512m -Xmx512m -XX:MaxDirectMemorySize=512m -XX:+UseSerialGC \
    --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED \
    -Duser.home="$RUN" -cp "$JARS/*" "$@" > "$RUN/$name.out" 2>&1 &
  PIDS+=($!)
  until_says "$RUN/$name.out" "boot success"
}
namesrv() {
  printf '%s\n' listenPort=$NS bindAddress="${SERVER//[\[\]]/}" kvConfigPath="$RUN/kv.json" > "$RUN/namesrv.conf"
  apache namesrv org.apache.rocketmq.namesrv.NamesrvStartup -c "$RUN/namesrv.conf"
}
broker() { # name, more settings...
  local name=$1; shift
  {
    printf '%s\n' brokerClusterName=DefaultCluster brokerName=broker-a brokerId=0 bindAddress="${SERVER//[\[\]]/}" brokerIP1="$ANNOUNCED" \
      brokerIP2="$ANNOUNCED" listenPort=$BROKER storePathRootDir="$RUN/store" storePathCommitLog="$RUN/store/commitlog" \
      mappedFileSizeCommitLog=67108864 diskMaxUsedSpaceRatio=95 autoCreateTopicEnable=true enablePropertyFilter=true \
      transactionCheckInterval=5000 "$@"
  } > "$RUN/$name.conf"
  apache "$name" org.apache.rocketmq.broker.BrokerStartup -n "$ANNOUNCED:$NS" -c "$RUN/$name.conf"
  # It registers up to ten seconds after it says so.
  sleep 13
}
play_java() { # version, properties and arguments...
  local version=$1; shift
  local properties=()
  while [[ ${1:-} == -D* ]]; do properties+=("$1"); shift; done
  java -Xmx500m -XX:TieredStopAtLevel=1 "${properties[@]}" -cp "$BUILD/java-$version/classes:$BUILD/java-$version/lib/*" \
    interop.Main --namesrv "$ANNOUNCED:$NS" --parallel 6 "$@" || true
}
play_go() { # arguments...
  "$BUILD/go/interop" -namesrv "$ANNOUNCED:$NS" -parallel 4 "$@" || true
}
