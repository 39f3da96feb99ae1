#!/usr/bin/env bash
# Makes dist/trilog, one file that needs nothing else: by `deno compile` where its runtime base can
# be had, else a self-extracting file (shell stub, bundle, deno). Says which one it made.
#
#   deno task compile [--target aarch64-unknown-linux-gnu]
#
# A build for another system is dist/trilog-TARGET.
#
# DENO            the deno to build with and, in a self-extracting file, to ship
# DENORT_BIN      a runtime base for `deno compile`, instead of the download
# DENO_BIN_TARGET the target's deno for a self-extracting cross build
set -euo pipefail
cd "$(dirname "$0")"

target=
while [ $# -gt 0 ]; do
  case $1 in
    --target=*) target=${1#*=}; shift ;;
    --target) target=${2:?"--target needs a value"}; shift 2 ;;
    *) echo "compile: unknown argument $1; did you mean --target?" >&2; exit 2 ;;
  esac
done

fail() {
  echo "compile: $1" >&2
  exit 1
}

find_deno() {
  if [ -n "${DENO:-}" ]; then
    echo "$DENO"
  elif command -v deno >/dev/null; then
    deno eval 'console.log(Deno.execPath())'
  else
    npx -y deno@2.9.6 eval 'console.log(Deno.execPath())'
  fi
}
deno=$(find_deno)
read -r version host < <("$deno" eval 'console.log(Deno.version.deno, Deno.build.target)')
target=${target:-$host}
output=dist/trilog
[ "$target" = "$host" ] || output=dist/trilog-$target
export DENO_NO_UPDATE_CHECK=1 NO_COLOR=1

# The least that works: files anywhere (data directories, tokens), the network, our own variables,
# the free space of a disk, and starting ourselves again (`trilog up`).
permissions=(--allow-read --allow-write --allow-net --allow-sys=statfs '--allow-env=TRILOG_*,TEXT_ENCODING,HOME,XDG_STATE_HOME')

mkdir -p dist
work=$(mktemp -d "$PWD/dist/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Returns 0 when the file was made, 1 when the base cannot be had. That outcome is remembered for
# a day, so that only the first build waits for a download that fails.
compile_with_base() {
  local remembered="dist/.no-base-$version-$target"
  if [ -z "${DENORT_BIN:-}" ] && [ -n "$(find "$remembered" -mmin -1440 2>/dev/null)" ]; then
    return 1
  fi
  if timeout 120 "$deno" compile --quiet --no-check --no-prompt --target "$target" --allow-run \
    "${permissions[@]}" --output "$work/trilog" main.ts 2>"$work/log"; then
    rm -f "$remembered"
    return 0
  fi
  if [ $? -ne 124 ] && ! grep -q "Setting up base binary" "$work/log"; then
    cat "$work/log" >&2
    fail "Cannot compile trilog: see above"
  fi
  touch "$remembered"
  return 1
}

# Prints the path of the deno that runs on the target.
target_deno() {
  if [ -n "${DENO_BIN_TARGET:-}" ]; then
    echo "$DENO_BIN_TARGET"
    return
  fi
  if [ "$target" = "$host" ]; then
    echo "$deno"
    return
  fi
  local package
  case $target in
    x86_64-unknown-linux-gnu) package=linux-x64-glibc ;;
    aarch64-unknown-linux-gnu) package=linux-arm64-glibc ;;
    x86_64-apple-darwin) package=darwin-x64 ;;
    aarch64-apple-darwin) package=darwin-arm64 ;;
    *) fail "Cannot build for $target: the runtime base cannot be had, and a self-extracting file needs a Unix shell" ;;
  esac
  (cd "$work" && npm pack --silent "@deno/$package@$version" >/dev/null 2>&1 &&
    tar -xzf ./*.tgz package/deno) ||
    fail "Cannot build for $target: neither the runtime base nor npm's @deno/$package@$version can be had; name a deno for it in DENO_BIN_TARGET"
  echo "$work/package/deno"
}

size_of() { wc -c <"$1" | tr -d ' '; }
sum_of() { cksum <"$1" | cut -d ' ' -f 1; }
hash_of() { "$deno" eval 'const h = await crypto.subtle.digest("SHA-256", Deno.readFileSync(Deno.args[0])); console.log(new Uint8Array(h).toHex().slice(0, 16));' "$1"; }

build_self_extracting() {
  local runtime bundle="$work/trilog.js" stub="$work/stub" mark=@STUB_SIZE@ size
  runtime=$(target_deno)
  [ -f "$runtime" ] || fail "Cannot build for $target: there is no file $runtime"
  "$deno" bundle --quiet --platform deno --output "$bundle" main.ts
  sed -e "s|@BUNDLE_HASH@|$(hash_of "$bundle")|" -e "s|@BUNDLE_SIZE@|$(size_of "$bundle")|" \
    -e "s|@BUNDLE_SUM@|$(sum_of "$bundle")|" -e "s|@DENO_HASH@|$(hash_of "$runtime")|" \
    -e "s|@DENO_SIZE@|$(size_of "$runtime")|" -e "s|@DENO_SUM@|$(sum_of "$runtime")|" \
    -e "s|@PERMISSIONS@|${permissions[*]@Q}|" lib/cli/self_extracting.sh >"$stub.sized"
  # The stub says its own size in ten digits, whose number does not change the size.
  size=$(($(size_of "$stub.sized") - ${#mark} + 10))
  sed -e "s|$mark|$(printf '%010d' "$size")|" "$stub.sized" >"$stub"
  cat "$stub" "$bundle" "$runtime" >"$work/trilog"
  chmod 755 "$work/trilog"
}
if compile_with_base; then
  kind="compiled with deno's runtime base"
else
  build_self_extracting
  kind="self-extracting (the runtime base of deno $version for $target cannot be had)"
fi
mv -f "$work/trilog" "$output"
echo "$output: $target, $kind, $(size_of "$output") bytes"
