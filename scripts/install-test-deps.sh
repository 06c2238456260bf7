#!/usr/bin/env bash
# Installs what the tests need besides Rust; with --bench, what `make bench-sip` needs too.
# Does nothing when all is there. Debian and Ubuntu; elsewhere it names what is missing.
set -euo pipefail

# command or file -> package that has it
wanted=(
  "sipp sip-tester"
  "baresip baresip-core"
  "kamailio kamailio"
  "redis-server redis-server"
  "chromium chromium"
  "chromedriver chromium-driver"
  "cc gcc"
  # librdkafka is compiled, with the TLS of the system.
  "c++ g++"
  "make make"
  "pkg-config pkg-config"
  "/usr/include/openssl/ssl.h libssl-dev"
)
if [[ "${1:-}" == --bench ]]; then
  wanted+=(
    "/usr/lib/*/kamailio/modules/ndb_redis.so kamailio-redis-modules"
    "/usr/lib/*/kamailio/modules/tmx.so kamailio-extra-modules"
    "python3 python3"
    "taskset util-linux"
  )
fi

packages=()
for line in "${wanted[@]}"; do
  read -r thing package <<<"$line"
  if [[ $thing == /* ]]; then
    compgen -G "$thing" >/dev/null || packages+=("$package")
  else
    PATH="$PATH:/usr/sbin:/sbin" command -v "$thing" >/dev/null || packages+=("$package")
  fi
done
((${#packages[@]})) || exit 0

echo "missing: ${packages[*]}"
if ! command -v apt-get >/dev/null; then
  echo "this is not Debian or Ubuntu: install them by hand (names are Debian's)" >&2
  exit 1
fi
install=(apt-get install -y --no-install-recommends "${packages[@]}")
if ((EUID == 0)); then
  as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  echo "neither root nor password-less sudo; run: sudo ${install[*]}" >&2
  exit 1
fi

# Kamailio and Redis must not start by themselves and take the ports of SIP and of the benchmark.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
try() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >/dev/null; }
try "${install[@]}" || { try apt-get update && try "${install[@]}"; }
