#!/usr/bin/env bash
# Runs a command while it holds an exclusive lock of berth in etcd, with nothing but etcdctl and jq.
# It follows the layout of docs/lock-layout.md.
#
#     PREFIX=/berth TTL=15 etcd-lock.sh NAME COMMAND…
#
# ETCDCTL_ENDPOINTS and the other variables of etcdctl say where etcd is. Exits with the code of the
# command; with 2 for a name or TTL that can't be used; with 4 if somebody has disabled the lock; with 5
# if the lock was lost, which kills the command and everything that it has started, as does a signal to
# this script; with 6 if etcd does not answer.
set -uo pipefail
export ETCDCTL_API=3
prefix=${PREFIX:-/berth}
ttl=${TTL:-15}
name=${1:?needs the name of a lock}
shift
if [[ ! $name =~ ^[A-Za-z0-9._-]+$ ]]; then
  # Others are allowed, and are encoded in keys as by encodeURIComponent.
  echo 'etcd-lock: use letters, digits, ".", "_" and "-" in the name' >&2
  exit 2
fi

fail() {
  echo "etcd-lock: $2" >&2
  exit "$1"
}

# Time of the kernel, which a change of the clock does not move.
now() { cut -d. -f1 /proc/uptime; }
# A request takes 2 s at most, and no longer than the lock is known to be held.
deadline=
etcd() {
  local left=2
  [[ -z $deadline ]] || left=$((deadline - $(now)))
  ((left > 0)) || return 1
  timeout $((left < 2 ? left : 2)) etcdctl "$@"
}

# The session may not outlive the quarantine after a restore.
longestMs=$(etcd get --print-value-only "$prefix/history/current" | jq -r '.ttlMs // empty') || fail 6 'etcd does not answer'
[[ -z $longestMs ]] || ((longestMs == 0 || ttl * 1000 <= longestMs)) || fail 2 "use a TTL of at most $((longestMs / 1000)) s"

# The session is a lease; its decimal number is its name in keys and values.
lease=$(etcd lease grant "$ttl" | awk '{ print $2 }') || fail 6 'etcd does not answer'
session=$((16#$lease))
command=
end() {
  # Nothing of the command may go on when the lock is free.
  [[ -z $command ]] || kill -KILL -- "-$command" "$command" 2> /dev/null
  deadline=
  etcd lease revoke "$lease" > /dev/null
}
trap end EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP
provenAt=$(now)

ticket="$prefix/locks/$name/x/$session-0"
gate="$prefix/locks/$name/z"
quarantine="$prefix/history/quarantine"
history() { etcd get --print-value-only "$prefix/history/current" | jq -r .id; }
epoch=$(history) || fail 6 'etcd does not answer'

# One step of etcd queues the ticket, unless the lock is disabled.
nonce=$(cat /proc/sys/kernel/random/uuid)
value=$(jq -cn --arg session "$session" --arg nonce "$nonce" --arg name "$name" --arg host "$(hostname)" \
  --arg since "$(date -u +%FT%TZ)" --arg detail "$*" '{
    nonce: $nonce, session: $session, locks: [{ name: $name, mode: "exclusive" }], kind: "shell",
    owner: "shell.\($host)", holder: { host: $host, reason: "shell", since: $since, detail: $detail }
  }')
queued=$(etcd txn -w json << TXN
create("$ticket") = "0"
create("$gate") = "0"

put $ticket $(jq -R . <<< "$value") --lease=$lease


TXN
) || fail 6 'etcd does not answer'
[[ $(jq .succeeded <<< "$queued") == true ]] || fail 4 "the lock $name is disabled"
token=$(jq .header.revision <<< "$queued")

# The lock is ours when no lower ticket is left, outside a quarantine. One step looks at all of it.
look() {
  etcd txn -w json << TXN
create("$ticket") = "$token"
create("$gate") = "0"
create("$quarantine") = "0"

get $prefix/locks/$name/ --prefix

get $ticket
get $gate

TXN
}
# The keys in an answer that are older than a revision.
older() {
  jq -r --argjson than "$2" '.. | .kvs? // empty | .[] | select(.create_revision < $than) | .key | @base64d' <<< "$1"
}

# Proves that the session lives, the ticket stands, and etcd was not restored from a backup. Fails with
# 1 if etcd does not answer, with 2 if the answer says otherwise.
prove() {
  local before own id isRenewed
  before=$(now)
  etcd lease keep-alive --once "$lease" > /dev/null 2>&1
  isRenewed=$?
  own=$(etcd get -w json "$ticket" 2> /dev/null) && id=$(history 2> /dev/null) || return 1
  [[ $id == "$epoch" && $(jq '.kvs[0].create_revision' <<< "$own") == "$token" ]] || return 2
  ((isRenewed == 0)) || return 1
  provenAt=$before
}

while true; do
  if answer=$(look); then
    if [[ $(jq .succeeded <<< "$answer") == true ]]; then
      [[ -n $(older "$answer" "$token") ]] || break
    elif older "$answer" $((2 ** 53)) | grep -qxF "$gate"; then
      fail 4 "the lock $name is disabled"
    fi
  fi
  prove
  (($? != 2 && $(now) - provenAt < ttl)) || fail 5 'the request was lost while it waited'
  sleep 0.5 # A watch on the keys of the lock would spare this.
done
prove || fail 5 'the lock was lost at its grant'

# The command runs in a process group of its own, which is killed before the lease can end.
BERTH_LOCK_TOKEN=$token setsid "$@" &
command=$!
while kill -0 "$command" 2> /dev/null; do
  sleep $((ttl / 5 > 0 ? ttl / 5 : 1)) > /dev/null 2>&1 &
  wait -n
  deadline=$((provenAt + ttl * 2 / 3))
  prove
  if (($? == 2 || $(now) - provenAt >= ttl * 2 / 3)); then
    fail 5 "the lock $name was lost: the command was killed"
  fi
done
wait "$command"
code=$?
command=
exit "$code"
