#!/usr/bin/env bash
# Builds target/dist/tollbridge, the binary to ship: compiled twice, the second time with the profile
# of a run (profile-guided optimisation). The run is calls over loopback, as `make bench-sip` makes
# them, and the simulator's worlds, so that failures and transfers count too.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[[ -x $profdata ]] || profdata=$(command -v "llvm-profdata-$llvm" || true)
if [[ -z $profdata ]]; then
  echo "llvm-profdata of LLVM $llvm is missing; run: rustup component add llvm-tools," \
    "or: apt-get install llvm-$llvm" >&2
  exit 1
fi

dist=$PWD/target/dist
profiles=$dist/profiles
rm -rf "$profiles"
mkdir -p "$profiles"

# --target keeps the flags away from build scripts and macros.
build() {
  RUSTFLAGS=$2 CARGO_TARGET_DIR=$dist/$1 \
    cargo build --release --locked --bin tollbridge --target "$host"
}

build instrumented "-Cprofile-generate=$profiles"
instrumented=$dist/instrumented/$host/release/tollbridge
export LLVM_PROFILE_FILE=$profiles/%p.profraw
BENCH_BINARY=$instrumented benches/sip/bench.py --train 40
"$instrumented" sim --count 300 >/dev/null
unset LLVM_PROFILE_FILE
"$profdata" merge -o "$dist/tollbridge.profdata" "$profiles"/*.profraw

build optimised "-Cprofile-use=$dist/tollbridge.profdata"
install -m 755 "$dist/optimised/$host/release/tollbridge" "$dist/tollbridge"
echo "built target/dist/tollbridge"
