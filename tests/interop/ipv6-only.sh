#!/usr/bin/env bash
# Called by run.sh inside a network namespace of its own: gives loopback a global IPv6 address, which is then the only one a client
# finds, starts the broker there and plays the IPv6 scenario. Wants MQBROKER, RUN, NS_PORT, PORT and BUILD.
set -euo pipefail
ip link set lo up
ip addr add fd00::9/128 dev lo
printf '%s\n' "listenPort=$PORT" "namesrvListenPort=$NS_PORT" "storePathRootDir=$RUN/store-ipv6" > "$RUN/ipv6.conf"
"$MQBROKER" -c "$RUN/ipv6.conf" > "$RUN/broker-ipv6.out" 2>&1 &
BROKER=$!
trap 'kill $BROKER; wait $BROKER || true' EXIT
for _ in $(seq 1 100); do (exec 3<> "/dev/tcp/::1/$PORT") 2>/dev/null && break; sleep 0.1; done
for version in 4.9.8 5.3.3; do
  java -Xmx300m -XX:TieredStopAtLevel=1 -Dinterop.home="$RUN/home-ipv6-$version" -cp "$BUILD/java-$version/classes:$BUILD/java-$version/lib/*" \
    interop.Main --namesrv "[fd00::9]:$NS_PORT" ipv6 || true
done
