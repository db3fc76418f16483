#!/usr/bin/env bash
# build.sh <directory>: compiles the scenarios against each client version into <directory>/java-<version> (classes, lib) and
# <directory>/go/interop. Skips what is newer than its sources. Needs JDK 17, Maven, Go.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=$1
JAVA_VERSIONS=${JAVA_VERSIONS:-4.9.8 5.3.3}

stale() { # stamp, sources...
  local stamp=$1; shift
  [ ! -e "$stamp" ] || [ -n "$(find "$@" -newer "$stamp" -type f -print -quit)" ]
}

for version in $JAVA_VERSIONS; do
  to=$OUT/java-$version
  stale "$to/built" "$HERE/java" || continue
  mkdir -p "$to"
  if stale "$to/fetched" "$HERE/java/pom.xml"; then
    mvn -B -q -f "$HERE/java/pom.xml" -Drocketmq.version="$version" -Dout="$to" \
      dependency:copy-dependencies -DoutputDirectory="$to/lib" -DincludeScope=runtime
    touch "$to/fetched"
  fi
  rm -rf "$to/classes"
  javac --release 17 -nowarn -Xlint:none -encoding UTF-8 -d "$to/classes" -cp "$to/lib/*" "$HERE"/java/src/main/java/interop/*.java
  touch "$to/built"
done

if stale "$OUT/go/built" "$HERE/go"; then
  mkdir -p "$OUT/go"
  (cd "$HERE/go" && go build -o "$OUT/go/interop" .)
  touch "$OUT/go/built"
fi
