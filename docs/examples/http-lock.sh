#!/usr/bin/env bash
# Runs a command while it holds an exclusive lock of `berth lock serve` (docs/lock-server.md), with curl and jq.
#
#     LOCKS=http://127.0.0.1:7020 http-lock.sh NAME COMMAND…
#
# TOKEN_FILE names a file with the server's token, CA the certificate that signed the server's; WAIT_MS limits the
# wait. Exits with the code of the command; with 4 if another holds the lock or it is disabled; with 5 if the
# lock was lost, which kills the command and everything that it has started; with 6 if the server or its store does
# not answer, or refuses the request.
set -uo pipefail
server=${LOCKS:-http://127.0.0.1:7020}
name=${1:?needs the name of a lock}
shift

fail() {
  echo "http-lock: $2" >&2
  exit "$1"
}
# Other users choose the words of their requests: no control character of theirs reaches the terminal.
show() { jq -r "$1 | tostring | gsub(\"[[:cntrl:]]\"; \"?\")" <<< "$2"; }
# Hundredths of a second of the kernel's time, which a change of the clock does not move.
now() {
  local up
  read -r up _ < /proc/uptime
  echo "${up/./}"
}

options=(--silent --show-error --no-buffer --connect-timeout 10)
[[ -z ${CA:-} ]] || options+=(--cacert "$CA")
# The token may not be an argument, which every user of the machine can read.
header() { [[ -z ${TOKEN_FILE:-} ]] || printf 'Authorization: Bearer %s\n' "$(< "$TOKEN_FILE")"; }
body=$(jq -cn --arg host "$(hostname)" --arg detail "$*" --arg wait "${WAIT_MS:-}" \
  '{ owner: $host, reason: "shell", detail: $detail[:200] } + if $wait == "" then {} else { waitMs: ($wait | tonumber) } end')
path="v1/locks/$(jq -rn --arg name "$name" '$name | @uri')"

# The lock is held as long as this curl runs.
exec {lines}< <(exec curl "${options[@]}" --header @<(header) --data "$body" "$server/$path")
connection=$!
command=
end() {
  # Nothing of the command may go on when the lock is free.
  [[ -z $command ]] || kill -KILL -- "-$command" "$command" 2> /dev/null
  kill "$connection" 2> /dev/null
}
trap end EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP

heardAt=$(now)
silence=
begun= # The begin of a line whose end has not come yet.
while true; do
  read -r -t 0.2 -u "$lines" line
  result=$?
  line=$begun$line
  begun=$line
  if ((result == 0)); then
    begun=
    heardAt=$(now)
    case $(jq -r '.event // .error.code' <<< "$line") in
      waiting) show '.holders[] | "http-lock: waiting for host \(.host) (\(.reason)), since \(.since)"' "$line" >&2 ;;
      granted)
        silence=$(($(jq .maxSilenceMs <<< "$line") / 10))
        # The command runs in a process group of its own.
        BERTH_LOCK_TOKEN=$(jq .token <<< "$line") setsid "$@" &
        command=$!
        ;;
      stopping | lost) fail 5 "the lock $name was lost: $(show .message "$line")" ;;
      released) fail 5 "the lock $name was released by another request" ;;
      alive) ;;
      *)
        # A request is refused with `error`, and fails after its first line with the event `error`.
        why=$(show '.error.message // .message // .' "$line")
        case $(jq -r '.error.code // .code' <<< "$line") in
          contended | timeout | disabled) fail 4 "$why" ;;
          *) fail 6 "$why" ;;
        esac
        ;;
    esac
  elif ((result <= 128)); then
    # The end of the lines; a time-out of `read` is above 128.
    [[ -n $command ]] || fail 6 'the lock server does not answer'
    fail 5 "the lock $name was lost: the connection has ended"
  fi
  [[ -n $command ]] || continue
  kill -0 "$command" 2> /dev/null || break
  (($(now) - heardAt < silence)) || fail 5 "the lock $name was lost: the server says nothing"
done
wait "$command"
code=$?
command=
exit "$code"
