#!/bin/sh
# trilog as one file: this stub, the program's bundle, and deno. The first start unpacks both into
# the cache; each appears there only whole, under a name of its content, so that many first starts
# at once, or a crash in the middle, do no harm. Made by compile.sh.
set -u
self=$0
stub_size=1@STUB_SIZE@
stub_size=$((stub_size - 10000000000))
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/trilog
deno=$cache/deno-@DENO_HASH@
bundle=$cache/trilog-@BUNDLE_HASH@.js

fail() {
  echo "trilog: Cannot unpack into $cache: $1; set XDG_CACHE_HOME to a directory of your own" >&2
  exit 1
}

# unpack OFFSET SIZE CHECKSUM MODE FILE
unpack() {
  temporary=$5.$$.tmp
  trap 'rm -f "$temporary"' EXIT
  trap 'exit 130' INT TERM HUP
  tail -c "+$(($1 + 1))" "$self" 2>/dev/null | head -c "$2" >"$temporary" || fail "no space"
  [ "$(cksum <"$temporary")" = "$3 $2" ] || fail "the bytes on disk are not those written"
  chmod "$4" "$temporary" || fail "no permission"
  # A name that survives a power failure must not be left with a file that does not.
  sync "$temporary" 2>/dev/null || sync
  mv -f "$temporary" "$5" || fail "no permission"
  trap - EXIT INT TERM HUP
}

if [ ! -x "$deno" ] || [ ! -f "$bundle" ]; then
  mkdir -p "$cache" 2>/dev/null || fail "no permission"
  # What starts that were killed have left behind.
  find "$cache" -name '*.tmp' -mmin +60 -exec rm -f {} + 2>/dev/null
  [ -f "$bundle" ] || unpack "$stub_size" @BUNDLE_SIZE@ @BUNDLE_SUM@ 644 "$bundle"
  [ -x "$deno" ] || unpack "$((stub_size + @BUNDLE_SIZE@))" @DENO_SIZE@ @DENO_SUM@ 755 "$deno"
fi

case $self in
  /*) TRILOG_EXECUTABLE=$self ;;
  *) TRILOG_EXECUTABLE=$PWD/$self ;;
esac
# Deno raises the limit to the hard one, and does not let the program ask the system for it.
TRILOG_OPEN_FILES=$(ulimit -Hn 2>/dev/null)
export TRILOG_OPEN_FILES TRILOG_EXECUTABLE DENO_DIR="$cache/runtime" DENO_NO_UPDATE_CHECK=1
# The right to start this file again (`trilog up`), and nothing else. Under variables of the
# dynamic linker deno asks for the right to start anything, and a comma would make a list.
run=--allow-run=$TRILOG_EXECUTABLE
linker=${LD_PRELOAD-}${LD_LIBRARY_PATH-}${LD_AUDIT-}${DYLD_LIBRARY_PATH-}${DYLD_INSERT_LIBRARIES-}
case ${linker:+,}$TRILOG_EXECUTABLE in
  *,*) run=--allow-run ;;
esac
exec "$deno" run --quiet --no-prompt --no-config --no-lock --no-remote --no-npm --no-check \
  @PERMISSIONS@ "$run" "$bundle" "$@"
